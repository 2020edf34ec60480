"""From outside nobody is taken for this node or for a pod of it, whatever a packet's source says."""

import pytest
from scapy.packet import Packet, Raw

from maps.abi import DropReason, Scope
from tests.bpf.datapath import (
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    POD,
    POD6,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    TC_ACT_UNSPEC,
    Datapath,
    data,
    datagram,
    frame,
    syn,
)

pytestmark = pytest.mark.kernel

SOURCES = pytest.mark.parametrize(
    ("src", "own", "pod"),
    [
        pytest.param(NODE, NODE, OTHER, id="the node's"),
        pytest.param(POD, NODE, OTHER, id="a pod's of this node"),
        pytest.param("127.0.0.1", NODE, OTHER, id="loopback's"),
        pytest.param(NODE6, NODE6, OTHER6, id="the node's, IPv6"),
        pytest.param(POD6, NODE6, OTHER6, id="a pod's of this node, IPv6"),
        pytest.param("::1", NODE6, OTHER6, id="loopback's, IPv6"),
    ],
)


@SOURCES
@pytest.mark.parametrize("l4", [syn(), datagram(), Raw(b"none")], ids=["TCP", "UDP", "no ports"])
def test_nobody_reaches_a_pod_so(node: Datapath, src: str, own: str, pod: str, l4: Packet) -> None:
    assert own != pod
    done = node.run("uplink_ingress", frame(src, pod, l4))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_OWN_SOURCE)
    assert node.tables["flows"].count() == 0


@SOURCES
@pytest.mark.parametrize("l4", [syn(dport=30080), datagram(dport=30080)], ids=["TCP", "UDP"])
def test_nobody_reaches_a_node_port_so(node: Datapath, src: str, own: str, pod: str, l4: Packet) -> None:
    for protocol in (6, 17):
        node.service(
            "::" if ":" in own else "0.0.0.0", 30080, [(pod, 80, True)], protocol=protocol, scope=Scope.SCOPE_EXTERNAL
        )
    done = node.run("uplink_ingress", frame(src, own, l4))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_OWN_SOURCE)
    assert node.tables["flows"].count() == 0


@pytest.mark.parametrize(("pod", "other"), [(POD, OTHER), (POD6, OTHER6)], ids=["IPv4", "IPv6"])
def test_a_pods_flow_is_not_open_from_outside_and_stays_what_it_is(node: Datapath, pod: str, other: str) -> None:
    for sent in (frame(pod, other, syn()), frame(pod, other, data())):
        assert node.run("pod_ingress", sent).verdict == TC_ACT_REDIRECT
    before = list(node.tables["flows"].items())
    for flags in ("PA", "R"):
        done = node.run("uplink_ingress", frame(pod, other, data(flags=flags)))
        assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_OWN_SOURCE)
    assert list(node.tables["flows"].items()) == before


def test_a_packet_from_the_node_to_itself_that_is_not_ours_is_the_stacks(node: Datapath) -> None:
    done = node.run("uplink_ingress", frame(NODE, NODE, syn(dport=22)))
    assert (done.verdict, dict(done.reasons)) == (TC_ACT_UNSPEC, {})
