"""A VF in a pod: later fragments go where the first one of their own network went, and without it have no ports."""

import pytest
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.bpf.datapath import TC_ACT_OK, TC_ACT_SHOT, Datapath
from tests.bpf.packets import addresses
from tests.bpf.policed import routes
from tests.bpf.rules import ACCEPT, DENY, EVERYBODY, said
from tests.bpf.test_fragment import fragments
from tests.bpf.vf import BOTH, EGRESS, PEER_MAC, VF_MAC, PodVf, programs, vf

__all__ = ["programs", "routes", "vf"]

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


def parts(src: str, dst: str, mac: str, ident: int) -> list[Packet]:
    found = fragments(src, dst, ident, dport=80)
    for each in found:
        each[Ether].src = mac
    return found


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
