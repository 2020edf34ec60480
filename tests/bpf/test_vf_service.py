"""A VF in a pod: a service is its backend on the way there and itself on the way back, by flows of the VF's own."""

from dataclasses import replace

import pytest
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from maps.abi import DropReason, NodeFlag
from tests.bpf.datapath import (
    POD,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    VIP,
    Datapath,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses, answer
from tests.bpf.policed import routes
from tests.bpf.rules import ACCEPT, DENY, EVERYBODY, said
from tests.bpf.vf import BOTH, EGRESS, PEER_MAC, SLOT, VF, VF_MAC, PodVf, passes, programs, vf

__all__ = ["programs", "routes", "vf"]

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

LONG_S = 90000


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
