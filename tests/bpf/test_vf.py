"""A VF in a pod: sender, policy, conntrack and services as at a veth's end on the node, with the ways turned round."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from maps import abi
from maps.abi import DropReason, NodeFlag
from tests.bpf.cpus import FIRST_CPU, on_cpu
from tests.bpf.datapath import (
    NODE,
    NODE6,
    OTHER,
    POD,
    POD6,
    POD_MAC,
    REMOTE,
    REMOTE6,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    VIP,
    VIP6,
    Datapath,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses, answer
from tests.bpf.policed import routes
from tests.bpf.rules import ACCEPT, ALL, DENY, EVERYBODY, NOTHING, said
from tests.bpf.test_fragment import fragments
from tests.bpf.vf import PEER, PEER6, PEER_MAC, SLOT, VF, VF6, VF_LINK, VF_MAC, PodVf, passes, pod_vf

__all__ = ["routes"]

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

BOTH = pytest.mark.parametrize(
    ("own", "peer", "vip"), [pytest.param(VF, PEER, VIP, id="IPv4"), pytest.param(VF6, PEER6, VIP6, id="IPv6")]
)
INGRESS, EGRESS = DropReason.DROP_POLICY_INGRESS, DropReason.DROP_POLICY_EGRESS
TCP_80 = said(DENY, (6, 80, 80, ACCEPT))
ALL_NODES = "ff02::1"
LONG_S = 90000
FROM, HERE = ICMPv6NDOptSrcLLAddr(lladdr=VF_MAC), ICMPv6NDOptDstLLAddr(lladdr=VF_MAC)


@pytest.fixture(scope="module")
def programs(loaded: Datapath) -> Iterator[PodVf]:
    """The VF's programs."""
    with pod_vf(loaded) as found:
        yield found


@pytest.fixture
def vf(node: Datapath, programs: PodVf) -> Iterator[PodVf]:
    """A VF whose pod no policy selects, on one CPU."""
    mac = bytes.fromhex(VF_MAC.replace(":", ""))
    node.tables["attachments"].update([(SLOT, abi.Attachment(0, 77, SLOT, mac, abi.AttachmentFlag(0)))])
    with on_cpu(FIRST_CPU):
        programs.policed()
        yield programs
    node.tables["pod_policies"].update([(SLOT, abi.PodPolicy(0, 0, abi.PodPolicyFlag(0), 0))])
    node.node()


@BOTH
def test_a_pod_without_policy_speaks_and_is_spoken_to(vf: PodVf, own: str, peer: str, vip: str) -> None:
    del own, vip
    there = vf.sends(peer, syn())
    assert passes(there)
    assert checksums_hold(there.packet)
    assert passes(vf.run("vf_ingress", answer(there.packet, PEER_MAC)))
    assert passes(vf.is_sent(peer, datagram()))


@BOTH
def test_what_policy_denies_neither_comes_nor_goes(vf: PodVf, own: str, peer: str, vip: str) -> None:
    del own, vip
    held = vf.policed(ingress={EVERYBODY: TCP_80}, egress=NOTHING)
    held.forget_drops()
    assert vf.is_sent(peer, syn(dport=81)).reason is INGRESS
    assert vf.is_sent(peer, datagram(dport=80)).reason is INGRESS
    assert vf.sends(peer, syn()).reason is EGRESS
    came = vf.is_sent(peer, syn(dport=80))
    assert passes(came)
    assert passes(vf.run("vf_egress", answer(came.packet, VF_MAC))), "what answers needs no rule"
    assert [(one.reason, one.sender, one.receiver) for one in held.drops()] == [
        (INGRESS, 0, SLOT),
        (INGRESS, 0, SLOT),
        (EGRESS, SLOT, 0),
    ]


@BOTH
def test_a_flow_is_judged_anew_when_policy_changes(vf: PodVf, own: str, peer: str, vip: str) -> None:
    del own, vip
    assert passes(vf.is_sent(peer, datagram(4000, 53)))
    vf.policed(ingress=NOTHING)
    assert vf.is_sent(peer, datagram(4000, 53)).reason is INGRESS


def test_a_pod_of_whom_nothing_is_known_is_cut_off(vf: PodVf) -> None:
    vf.node.tables["pod_policies"].update(
        [(SLOT, abi.PodPolicy(abi.RULES_UNKNOWN, abi.RULES_UNKNOWN, abi.PodPolicyFlag(0), 0))]
    )
    assert vf.sends(PEER, syn()).reason is DropReason.DROP_POLICY_UNKNOWN
    assert vf.is_sent(PEER, syn()).reason is DropReason.DROP_POLICY_UNKNOWN


def test_what_is_audited_passes_and_is_counted(vf: PodVf) -> None:
    held = vf.policed(ingress=NOTHING, audited=True)
    held.forget_drops()
    assert passes(vf.is_sent(PEER, syn()))
    (event,) = held.drops()
    assert (event.reason, event.flags) == (INGRESS, abi.DropFlag.DROP_AUDITED)


@pytest.mark.parametrize("src", [pytest.param(NODE, id="IPv4"), pytest.param(NODE6, id="IPv6")])
def test_the_nodes_address_opens_nothing_on_the_wire(vf: PodVf, src: str) -> None:
    vf.policed(ingress=NOTHING)
    assert vf.is_sent(src, syn()).reason is INGRESS


def test_pods_of_this_node_are_known_by_their_labels_and_judged_at_their_own_devices(vf: PodVf) -> None:
    held = vf.policed(ingress={EVERYBODY: said(DENY), 7: said(ACCEPT)})
    held.pod(POD, egress=NOTHING, peer_class=7)
    held.pod(OTHER, peer_class=8)
    assert passes(vf.is_sent(POD, syn())), "its egress was judged where it left"
    assert vf.is_sent(OTHER, syn()).reason is INGRESS


@pytest.mark.parametrize("other", [pytest.param(REMOTE, id="IPv4"), pytest.param(REMOTE6, id="IPv6")])
def test_pods_of_other_nodes_are_known_by_their_addresses(vf: PodVf, other: str) -> None:
    held = vf.policed(egress={EVERYBODY: said(DENY), 9: said(ACCEPT)})
    assert vf.sends(other, syn()).reason is EGRESS
    held.peer(other, 9)
    assert passes(vf.sends(other, syn()))


# ---- who sends ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("src", "dst", "mac", "reason"),
    [
        pytest.param(POD, PEER, POD_MAC, DropReason.DROP_SOURCE_ADDRESS, id="another pod's address and MAC"),
        pytest.param(POD, PEER, VF_MAC, DropReason.DROP_SOURCE_ADDRESS, id="another pod's address"),
        pytest.param(POD6, PEER6, VF_MAC, DropReason.DROP_SOURCE_ADDRESS, id="another pod's IPv6 address"),
        pytest.param(NODE, PEER, VF_MAC, DropReason.DROP_SOURCE_ADDRESS, id="the node's address"),
        pytest.param("10.9.0.9", PEER, VF_MAC, DropReason.DROP_SOURCE_ADDRESS, id="nobody's address"),
        pytest.param(VF, PEER, POD_MAC, DropReason.DROP_SOURCE_MAC, id="another MAC"),
        pytest.param(VF6, PEER6, POD_MAC, DropReason.DROP_SOURCE_MAC, id="another MAC, IPv6"),
    ],
)
def test_a_pod_speaks_under_its_own_name_alone(vf: PodVf, src: str, dst: str, mac: str, reason: DropReason) -> None:
    assert vf.sends(dst, syn(), src=src, mac=mac).reason is reason


def test_a_veths_pod_has_not_the_address_of_a_vf(vf: PodVf, node: Datapath) -> None:
    spoofed = node.run("pod_ingress", frame(VF, PEER, syn(), mac=POD_MAC))
    assert spoofed.reason is DropReason.DROP_SOURCE_ADDRESS
    assert passes(vf.sends(PEER, syn())), "the node remembers nothing of it for others"


@pytest.mark.parametrize("src", [pytest.param(VF, id="its own"), pytest.param(VF6, id="its own, IPv6")])
def test_nobody_on_the_wire_has_the_pods_address(vf: PodVf, src: str) -> None:
    assert vf.is_sent(src, syn()).reason is DropReason.DROP_OWN_SOURCE


def test_nobody_on_the_wire_is_a_service(vf: PodVf, node: Datapath) -> None:
    node.service_address(VIP)
    assert vf.is_sent(VIP, syn()).reason is DropReason.DROP_SERVICE_SOURCE


def test_a_tagged_frame_is_of_another_network(vf: PodVf) -> None:
    plain = frame(VF, PEER, syn(), mac=VF_MAC, to=PEER_MAC)
    tagged = Ether(src=VF_MAC, dst=PEER_MAC) / Dot1Q(vlan=5) / plain[IP]
    assert not passes(vf.run("vf_egress", Ether(bytes(tagged))))


def arp(operation: int, sender: str, target: str, mac: str = VF_MAC) -> Packet:
    return Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op=operation, hwsrc=mac, psrc=sender, pdst=target)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        pytest.param(arp(1, VF, PEER), DropReason.DROP_NONE, id="a question"),
        pytest.param(arp(1, VF, VF), DropReason.DROP_NONE, id="where it is now"),
        pytest.param(arp(2, PEER, VF), DropReason.DROP_ARP, id="another's answer"),
        pytest.param(arp(1, PEER, PEER), DropReason.DROP_ARP, id="where another would be"),
    ],
)
def test_arp_speaks_of_the_pod_alone(vf: PodVf, packet: Packet, reason: DropReason) -> None:
    vf.policed(egress=NOTHING)
    assert vf.run("vf_egress", Ether(bytes(packet))).reason is reason


@pytest.mark.parametrize(
    ("src", "dst", "message", "reason"),
    [
        pytest.param(VF_LINK, PEER6, ICMPv6ND_NS(tgt=PEER6) / FROM, "NONE", id="a question"),
        pytest.param(VF6, ALL_NODES, ICMPv6ND_NA(tgt=VF6, S=0) / HERE, "NONE", id="where it is now"),
        pytest.param(VF6, ALL_NODES, ICMPv6ND_NA(tgt=PEER6, S=0) / HERE, "ND", id="where another would be"),
        pytest.param(VF_LINK, ALL_NODES, ICMPv6ND_RA(), "ND", id="a router's words"),
    ],
)
def test_neighbour_discovery_speaks_of_the_pod_alone(
    vf: PodVf, src: str, dst: str, message: Packet, reason: str
) -> None:
    vf.policed(egress=NOTHING, ingress=NOTHING)
    packet = Ether(src=VF_MAC, dst=PEER_MAC) / IPv6(src=src, dst=dst, hlim=255) / message
    assert vf.run("vf_egress", Ether(bytes(packet))).reason is DropReason[f"DROP_{reason}"]


def test_neighbours_are_heard_whatever_policy_says(vf: PodVf) -> None:
    vf.policed(ingress=NOTHING)
    asks = Ether(src=PEER_MAC, dst=VF_MAC) / IPv6(src=PEER6, dst=VF6, hlim=255) / ICMPv6ND_NS(tgt=VF6)
    assert passes(vf.run("vf_ingress", Ether(bytes(asks))))
    assert passes(vf.run("vf_ingress", Ether(bytes(arp(1, PEER, VF, PEER_MAC)))))
    assert vf.is_sent(PEER6, ICMPv6EchoRequest()).reason is INGRESS
    assert vf.is_sent(PEER, ICMP()).reason is INGRESS


def test_a_groups_packets_are_the_pods(vf: PodVf) -> None:
    group = frame(PEER, "224.0.0.251", datagram(dport=5353), mac=PEER_MAC, to="01:00:5e:00:00:fb")
    assert passes(vf.run("vf_ingress", group))
    vf.policed(ingress={EVERYBODY: said(DENY, (17, 5353, 5353, ACCEPT))})
    assert passes(vf.run("vf_ingress", group))
    vf.policed(ingress=NOTHING, egress=NOTHING)
    assert vf.run("vf_ingress", group).reason is INGRESS
    assert vf.sends("224.0.0.251", datagram(dport=5353)).reason is EGRESS


# ---- networks -----------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("network", "meant"),
    [
        pytest.param(0, 5, id="the cluster's"),
        pytest.param(7, 6, id="a network"),
        pytest.param(8, 9, id="another"),
        pytest.param(9, 4, id="where nobody is known it is its range"),
    ],
)
def test_an_address_is_somebody_else_on_each_network(
    vf: PodVf, own: str, peer: str, vip: str, network: int, meant: int
) -> None:
    del own, vip
    for one, other, passed in ((ACCEPT, DENY, True), (DENY, ACCEPT, False)):
        rules = {EVERYBODY: said(other), **{of: said(one if of == meant else other) for of in (4, 5, 6, 9)}}
        held = vf.policed(ingress=rules, egress=rules, network=network)
        for number, of in ((0, 5), (7, 6), (8, 9)):
            held.peer(peer, of, number)
        held.range("10.9.0.0/24" if peer is PEER else "fd09::/64", 4)
        assert passes(vf.is_sent(peer, datagram(sport=1000 + passed))) == passed
        assert passes(vf.sends(peer, datagram(sport=2000 + passed))) == passed


@BOTH
def test_a_pod_of_the_node_is_nobody_on_another_network(vf: PodVf, own: str, peer: str, vip: str) -> None:
    """The cluster's network has a pod at the same address, behind a device of this node's."""
    del own, vip
    pod = POD if peer is PEER else POD6
    rules = {EVERYBODY: said(DENY), 5: said(ACCEPT)}
    held = vf.policed()
    held.pod(POD, peer_class=5)
    try:
        for network, passed in ((0, True), (7, False)):
            vf.policed(ingress=rules, network=network)
            assert passes(vf.is_sent(pod, datagram(sport=3000 + network))) == passed
    finally:
        held.pod(POD)


@BOTH
def test_a_fragment_of_another_network_says_no_ports(vf: PodVf, node: Datapath, own: str, peer: str, vip: str) -> None:
    """A datagram has the same ends and number on the cluster's network, where its ports may be reached."""
    del vip
    vf.policed(ingress={EVERYBODY: said(DENY, (17, 80, 80, ACCEPT))})
    first, later = parts(peer, own, PEER_MAC, 9)[:2]
    for each in (first, later):
        each[Ether].dst = VF_MAC
    node.run("uplink_ingress", first)
    waits = vf.run("vf_ingress", later)
    assert (waits.verdict, waits.reasons) == (TC_ACT_SHOT, {}), "it waits for its own first one"


# ---- services -----------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("l4", "protocol"),
    [
        pytest.param(syn(), 6, id="TCP"),
        pytest.param(data(), 6, id="TCP with data"),
        pytest.param(datagram(dport=80), 17, id="UDP"),
    ],
)
@pytest.mark.parametrize("flags", [NodeFlag(0), NodeFlag.NODE_MASQUERADE | NodeFlag.NODE_MASQUERADE_ALL])
def test_a_service_is_its_backend_there_and_itself_back(
    vf: PodVf, node: Datapath, own: str, peer: str, vip: str, l4: Packet, protocol: int, flags: NodeFlag
) -> None:
    node.node(flags=flags)
    node.service(vip, 80, [(peer, 8080, False)], protocol=protocol)
    there = vf.sends(vip, l4)
    assert there.verdict == TC_ACT_OK
    assert addresses(there.packet) == (own, peer)
    assert (there.packet.dport, there.packet[Ether].dst) == (8080, PEER_MAC), "the pod's next hop stays"
    assert checksums_hold(there.packet)
    back = vf.run("vf_ingress", answer(there.packet, PEER_MAC))
    assert addresses(back.packet) == (vip, own)
    assert back.packet.sport == 80
    assert checksums_hold(back.packet)


@BOTH
def test_policy_judges_a_services_backend(vf: PodVf, node: Datapath, own: str, peer: str, vip: str) -> None:
    del own
    node.service(vip, 80, [(peer, 8080, False)])
    held = vf.policed(egress={EVERYBODY: said(DENY), 9: said(DENY, (6, 8080, 8080, ACCEPT))})
    assert vf.sends(vip, syn()).reason is EGRESS
    held.peer(peer, 9)
    assert passes(vf.sends(vip, syn(40001)))


@BOTH
def test_a_service_without_backends_is_refused(vf: PodVf, node: Datapath, own: str, peer: str, vip: str) -> None:
    del peer
    node.service(vip, 80, [])
    node.service_address(vip)
    for port, reason in ((80, DropReason.DROP_NO_BACKEND), (81, DropReason.DROP_NO_SERVICE)):
        told = vf.sends(vip, syn(dport=port))
        assert (told.verdict, told.reason) == (TC_ACT_REDIRECT, reason)
        assert addresses(told.packet) == (vip, own)
        assert told.packet[TCP].flags == "RA"
        assert told.packet[Ether].dst == VF_MAC
        assert checksums_hold(told.packet)


def test_a_pod_that_is_its_own_backend_is_not_answered_by_a_wire(vf: PodVf, node: Datapath) -> None:
    node.service(VIP, 80, [(VF, 8080, False)])
    assert vf.sends(VIP, syn()).reason is DropReason.DROP_NAT_ADDRESS


def test_the_same_packet_at_the_nodes_devices_is_another_flow(vf: PodVf, node: Datapath) -> None:
    vf.policed().pod(POD)
    node.service(VIP, 80, [(VF, 8080, False)])
    there = node.run("pod_ingress", frame(POD, VIP, syn()))
    assert addresses(there.packet) == (POD, VF)
    came = vf.run("vf_ingress", frame(POD, VF, syn(dport=8080), mac=PEER_MAC, to=VF_MAC))
    assert passes(came), "by the wire it comes as a connection of its own"
    assert addresses(came.packet) == (POD, VF)
    networks = sorted(key.network for key, _ in node.tables["flows"].items())
    assert networks == [0, 0, SLOT]


@BOTH
def test_conntrack_gc_ends_both_halves_of_a_pair(vf: PodVf, node: Datapath, own: str, peer: str, vip: str) -> None:
    del own
    node.service(vip, 80, [(peer, 8080, False)])
    vf.sends(vip, syn())
    flows = node.tables["flows"]
    assert flows.count() == 2
    assert {key.network for key, _ in flows.items()} == {SLOT}
    node.gc()
    assert flows.count() == 2, "they are fresh"
    flows.update([(key, replace(flow, seen_s=(flow.seen_s - LONG_S) % 2**32)) for key, flow in flows.items()])
    node.gc()
    assert flows.count() == 0


# ---- fragments ----------------------------------------------------------------------------------------------------


def parts(src: str, dst: str, mac: str, ident: int) -> list[Packet]:
    found = fragments(src, dst, ident, dport=80)
    for each in found:
        each[Ether].src = mac
    return found


@BOTH
def test_later_fragments_go_where_the_first_one_went(vf: PodVf, node: Datapath, own: str, peer: str, vip: str) -> None:
    node.service(vip, 80, [(peer, 8080, False)], protocol=17)
    for part in parts(own, vip, VF_MAC, 7):
        sent = vf.run("vf_egress", part)
        assert sent.verdict == TC_ACT_OK
        assert addresses(sent.packet) == (own, peer)


@BOTH
def test_a_later_fragment_alone_is_judged_without_ports(vf: PodVf, own: str, peer: str, vip: str) -> None:
    del vip
    vf.policed(egress={EVERYBODY: said(DENY, (17, 0, 65535, ACCEPT))})
    assert vf.run("vf_egress", parts(own, peer, VF_MAC, 8)[1]).reason is EGRESS


def test_a_policy_for_all_lets_all_through(vf: PodVf) -> None:
    vf.policed(ingress=ALL, egress=ALL)
    assert passes(vf.sends(PEER, syn()))
    assert passes(vf.is_sent(PEER, syn()))
