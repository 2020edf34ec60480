"""Pods whose interfaces another CNI plugin made: checked, translated and judged, and carried by the stack."""

from collections.abc import Iterator

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from maps import abi
from maps.abi import RULES_FIRST, RULES_NONE, DropReason, NodeFlag, Scope
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    LOOPBACK,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    OTHER_MAC,
    POD,
    POD6,
    POD_MAC,
    REMOTE,
    REMOTE6,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    TC_ACT_UNSPEC,
    Datapath,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import FAMILIES, UNREACHABLE, addresses, answer, icmp_error, icmp_sum_holds, ip_of, ports

pytestmark = pytest.mark.kernel

PAIRS = pytest.mark.parametrize(
    ("pod", "other"), [pytest.param(POD, OTHER, id="IPv4"), pytest.param(POD6, OTHER6, id="IPv6")]
)
TRANSPORTS = pytest.mark.parametrize(("protocol", "l4"), [(6, data()), (17, datagram(dport=80))], ids=["TCP", "UDP"])


@pytest.fixture
def bridge(node: Datapath) -> Iterator[Datapath]:
    """The node with both pods on another plugin's bridge, as if behind one port."""
    node.node(flags=NodeFlag.NODE_CHAINED | NodeFlag.NODE_POLICY)
    for address in (OTHER, OTHER6):
        node.endpoint(address, LOOPBACK, OTHER_MAC)
    node.chain(LOOPBACK)
    for mac in (POD_MAC, OTHER_MAC):
        judge(node, mac)
    yield node
    node.chain()


def judge(node: Datapath, mac: str, *, ingress: int = RULES_NONE, egress: int = RULES_NONE) -> None:
    """Give the pod of a MAC rule sets; RULES_FIRST is one that lets nothing pass."""
    nothing = abi.Rule(0, 7, abi.PolicyVerdict.POLICY_DENY, 0, (abi.PortRange(0, 0, 0, 0, 0),) * abi.RULE_RANGES)
    node.tables["rules"].update([(abi.RuleKey(RULES_FIRST, 0), nothing)])
    record = abi.PodPolicy(ingress, egress, abi.PodPolicyFlag(0), 0)
    node.tables["pod_policies"].update([(node.attach(LOOPBACK, mac), record)])


def behind(node: Datapath, mac: str) -> None:
    """Have the device be that of the pod of a MAC alone."""
    node.tables["chained_devices"].update([(LOOPBACK, node.attach(LOOPBACK, mac))])


@PAIRS
@TRANSPORTS
def test_what_they_say_goes_on_by_the_stack_as_it_is(
    bridge: Datapath, pod: str, other: str, protocol: int, l4: Packet
) -> None:
    for to in (other, CLIENT6 if ":" in pod else CLIENT, REMOTE6 if ":" in pod else REMOTE):
        for _ in range(3):  # no shortcut is taken when the flow is known
            sent = frame(pod, to, l4, to=OTHER_MAC)
            for program in ("pod_ingress", "pod_egress")[: 2 if to == other else 1]:
                done = bridge.run(program, sent)
                assert (done.verdict, done.reason) == (TC_ACT_OK, DropReason.DROP_NONE)
                assert bytes(done.packet) == bytes(sent)
            back = frame(to, pod, l4.__class__(sport=l4.dport, dport=l4.sport), mac=OTHER_MAC, to=POD_MAC)
            assert bridge.run("pod_egress", back).verdict == TC_ACT_OK
    assert protocol in {key.protocol for key, _ in bridge.tables["flows"].items()}


@PAIRS
def test_they_speak_for_themselves_alone(bridge: Datapath, pod: str, other: str) -> None:
    assert bridge.run("pod_ingress", frame(other, pod, syn())).reason == DropReason.DROP_SOURCE_MAC
    stranger = CLIENT6 if ":" in pod else CLIENT
    assert bridge.run("pod_ingress", frame(stranger, pod, syn())).reason == DropReason.DROP_SOURCE_ADDRESS


@pytest.mark.parametrize(("pod", "vip", "other"), FAMILIES)
@TRANSPORTS
def test_a_service_answers_at_the_clients_device(
    bridge: Datapath, pod: str, vip: str, other: str, protocol: int, l4: Packet
) -> None:
    bridge.service(vip, 80, [(other, 8080, True)], protocol=protocol)
    there = bridge.run("pod_ingress", frame(pod, vip, l4))
    assert (there.verdict, addresses(there.packet), ports(there.packet)) == (TC_ACT_OK, (pod, other), (40000, 8080))
    assert (ip_of(there.packet).hlim if ":" in pod else ip_of(there.packet).ttl) == 64
    assert checksums_hold(there.packet)
    assert bytes(bridge.run("pod_egress", there.packet).packet) == bytes(there.packet)
    # the stack's own connection tracking knows the backend, and sees it answer
    back = bridge.run("pod_ingress", answer(there.packet, OTHER_MAC))
    assert (back.verdict, addresses(back.packet), ports(back.packet)) == (TC_ACT_OK, (other, pod), (8080, 40000))
    come = bridge.run("pod_egress", back.packet)
    assert (come.verdict, addresses(come.packet), ports(come.packet)) == (TC_ACT_OK, (vip, pod), (80, 40000))
    assert checksums_hold(come.packet)


@pytest.mark.parametrize(("pod", "vip", "other"), FAMILIES)
def test_an_error_about_a_service_is_translated_at_the_clients_device(
    bridge: Datapath, pod: str, vip: str, other: str
) -> None:
    bridge.service(vip, 80, [(other, 8080, True)], protocol=17)
    there = bridge.run("pod_ingress", frame(pod, vip, datagram(dport=80)))
    error = icmp_error(there.packet, UNREACHABLE, other, mac=OTHER_MAC)
    back = bridge.run("pod_ingress", error)
    assert (back.verdict, bytes(back.packet)) == (TC_ACT_OK, bytes(error))
    come = bridge.run("pod_egress", back.packet)
    assert (come.verdict, addresses(come.packet)) == (TC_ACT_OK, (vip, pod))
    assert icmp_sum_holds(come.packet)


@PAIRS
@TRANSPORTS
def test_policy_holds_at_both_ends(bridge: Datapath, pod: str, other: str, protocol: int, l4: Packet) -> None:
    assert protocol
    judge(bridge, POD_MAC, egress=RULES_FIRST)
    assert bridge.run("pod_ingress", frame(pod, other, l4)).reason == DropReason.DROP_POLICY_EGRESS
    judge(bridge, POD_MAC, ingress=RULES_FIRST)
    stranger, own = (CLIENT6, NODE6) if ":" in pod else (CLIENT, NODE)
    assert bridge.run("pod_ingress", frame(other, pod, l4, mac=OTHER_MAC)).reason == DropReason.DROP_POLICY_INGRESS
    assert bridge.run("pod_egress", frame(stranger, pod, l4, mac=GATEWAY_MAC)).reason == DropReason.DROP_POLICY_INGRESS
    assert bridge.run("pod_egress", frame(own, pod, l4, mac=GATEWAY_MAC)).verdict == TC_ACT_OK


@pytest.mark.parametrize(
    ("pod", "group"),
    [
        pytest.param(POD, "10.244.1.255", id="the subnet's broadcast"),
        pytest.param(POD, "255.255.255.255", id="broadcast"),
        pytest.param(POD, "224.0.0.251", id="a group's, IPv4"),
        pytest.param(POD6, "ff02::1", id="a group's, IPv6"),
        pytest.param(POD, REMOTE, id="what a bridge floods"),
    ],
)
def test_what_is_not_under_a_pods_address_is_judged_as_its_own(bridge: Datapath, pod: str, group: str) -> None:
    sent = frame(pod, group, datagram(dport=8080), to="ff:ff:ff:ff:ff:ff")
    behind(bridge, OTHER_MAC)
    assert bridge.run("pod_ingress", sent).verdict == TC_ACT_OK
    assert bridge.run("pod_egress", sent).verdict == TC_ACT_OK
    judge(bridge, OTHER_MAC, ingress=RULES_FIRST)
    done = bridge.run("pod_egress", sent)
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_POLICY_INGRESS)


def test_neighbours_find_each_other_whatever_policy_says(bridge: Datapath) -> None:
    for mac in (POD_MAC, OTHER_MAC):
        judge(bridge, mac, ingress=RULES_FIRST, egress=RULES_FIRST)
    ask = (
        IPv6(src=POD6, dst="ff02::1:ff00:3", hlim=255) / ICMPv6ND_NS(tgt=OTHER6) / ICMPv6NDOptSrcLLAddr(lladdr=POD_MAC)
    )
    say = IPv6(src=OTHER6, dst=POD6, hlim=255) / ICMPv6ND_NA(tgt=OTHER6) / ICMPv6NDOptDstLLAddr(lladdr=OTHER_MAC)
    for mac, receiver, packet in ((POD_MAC, OTHER_MAC, ask), (OTHER_MAC, POD_MAC, say)):
        behind(bridge, receiver)
        sent = Ether(bytes(Ether(src=mac, dst=receiver) / packet))
        for program in ("pod_ingress", "pod_egress"):
            assert bridge.run(program, sent).verdict == TC_ACT_OK


def test_nobody_is_served_from_outside_and_own_sources_are_not_believed(bridge: Datapath) -> None:
    bridge.service("0.0.0.0", 30080, [(OTHER, 80, True)], scope=Scope.SCOPE_EXTERNAL)
    for to, dport in ((NODE, 30080), (POD, 80)):
        sent = frame(CLIENT, to, syn(dport=dport))
        done = bridge.run("uplink_ingress", sent)
        assert (done.verdict, dict(done.reasons), bytes(done.packet)) == (TC_ACT_UNSPEC, {}, bytes(sent))
    assert bridge.tables["flows"].count() == 0
    for own in (POD, NODE):
        assert bridge.run("uplink_ingress", frame(own, OTHER, syn())).reason == DropReason.DROP_OWN_SOURCE


def test_an_uplink_of_our_own_network_delivers_nothing_to_them(bridge: Datapath) -> None:
    bridge.node(flags=NodeFlag.NODE_POLICY)
    judge(bridge, POD_MAC, ingress=RULES_FIRST)
    sent = frame(CLIENT, POD, syn())
    assert bridge.run("uplink_ingress", sent).verdict == TC_ACT_UNSPEC
    assert bridge.run("pod_egress", sent).reason == DropReason.DROP_POLICY_INGRESS


def test_who_is_denied_at_the_pods_device_is_not_told_there(bridge: Datapath) -> None:
    bridge.node(flags=NodeFlag.NODE_CHAINED | NodeFlag.NODE_POLICY | NodeFlag.NODE_POLICY_REJECT)
    judge(bridge, POD_MAC, ingress=RULES_FIRST)
    assert bridge.run("pod_egress", frame(CLIENT, POD, syn(), mac=GATEWAY_MAC)).verdict == TC_ACT_SHOT
    assert bridge.run("pod_ingress", frame(OTHER, POD, syn(), mac=OTHER_MAC)).verdict == TC_ACT_REDIRECT
