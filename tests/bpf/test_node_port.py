"""Node ports are at those addresses of the node at which they are wanted, whoever asks."""

import pytest
from scapy.packet import Packet

from maps.abi import EndpointFlag, NodeFlag, Scope
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    POD,
    POD6,
    REMOTE,
    REMOTE6,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    TC_ACT_UNSPEC,
    Datapath,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses

pytestmark = pytest.mark.kernel

PORT = 30080
ANYWHERE = {0: "0.0.0.0", 1: "::"}
LOOPBACK = {0: "127.0.0.1", 1: "::1"}
NO_LOOPBACK = NodeFlag.NODE_NO_LOOPBACK_PORTS4 | NodeFlag.NODE_NO_LOOPBACK_PORTS6
FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
LOOPBACKS = pytest.mark.parametrize("family", [0, 1], ids=["40 loopback, IPv4", "139 loopback, IPv6"])
KINDS = pytest.mark.parametrize("l4", [syn(dport=PORT), datagram(dport=PORT)], ids=["TCP", "UDP"])
ASKERS = pytest.mark.parametrize(
    ("program", "sources", "left"),
    [
        pytest.param("uplink_ingress", (CLIENT, CLIENT6), TC_ACT_UNSPEC, id="outside"),
        pytest.param("pod_ingress", (POD, POD6), TC_ACT_OK, id="a pod"),
        pytest.param("uplink_egress", (NODE, NODE6), TC_ACT_UNSPEC, id="the node"),
    ],
)


def serve(node: Datapath, family: int) -> str:
    """A node port of TCP and UDP; returns the backend's address."""
    backend = OTHER6 if family else OTHER
    for protocol in (6, 17):
        for scope in (Scope.SCOPE_INTERNAL, Scope.SCOPE_EXTERNAL):
            node.service(ANYWHERE[family], PORT, [(backend, 8080, True)], protocol=protocol, scope=scope)
    return backend


@FAMILIES
@KINDS
@ASKERS
def test_an_address_without_node_ports_is_left_to_the_nodes_own_listeners(
    node: Datapath, family: int, l4: Packet, program: str, sources: tuple[str, str], left: int
) -> None:
    backend, own = serve(node, family), NODE6 if family else NODE
    second = "fd88::99" if family else "10.88.0.99"
    node.endpoint(second, 0, "", EndpointFlag.ENDPOINT_NODE | EndpointFlag.ENDPOINT_HELD)
    for address, with_ports in ((own, False), (second, True)):
        flags = EndpointFlag.ENDPOINT_NODE | EndpointFlag.ENDPOINT_HELD
        node.endpoint(address, 0, "", flags if with_ports else flags | EndpointFlag.ENDPOINT_NO_PORTS)
        done = node.run(program, frame(sources[family], address, l4))
        assert done.verdict == (TC_ACT_REDIRECT if with_ports else left)
        assert addresses(done.packet)[1] == (backend if with_ports else address)


@KINDS
@LOOPBACKS
def test_the_node_finds_node_ports_at_its_loopback_address(node: Datapath, family: int, l4: Packet) -> None:
    backend, own = serve(node, family), NODE6 if family else NODE
    done = node.run("uplink_egress", frame(LOOPBACK[family], LOOPBACK[family], l4))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (own, backend))


@KINDS
@LOOPBACKS
def test_the_node_finds_none_at_a_loopback_address_where_they_are_not_wanted(
    node: Datapath, family: int, l4: Packet
) -> None:
    serve(node, family)
    node.node(flags=NO_LOOPBACK)
    done = node.run("uplink_egress", frame(LOOPBACK[family], LOOPBACK[family], l4))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_UNSPEC, (LOOPBACK[family],) * 2)


@KINDS
@pytest.mark.parametrize(
    ("program", "sources", "left"),
    [
        pytest.param("uplink_ingress", (CLIENT, CLIENT6), TC_ACT_UNSPEC, id="outside"),
        pytest.param("pod_ingress", (POD, POD6), TC_ACT_OK, id="a pod"),
    ],
)
@LOOPBACKS
def test_nobody_else_finds_node_ports_at_the_nodes_loopback_address(
    node: Datapath, family: int, l4: Packet, program: str, sources: tuple[str, str], left: int
) -> None:
    serve(node, family)
    done = node.run(program, frame(sources[family], LOOPBACK[family], l4))
    assert (done.verdict, addresses(done.packet)[1]) == (left, LOOPBACK[family])


@FAMILIES
@KINDS
@pytest.mark.parametrize("is_here", [True, False], ids=["backend here", "backend elsewhere"])
def test_the_node_asks_an_address_that_it_may_have_for_itself_alone(
    node: Datapath,
    family: int,
    l4: Packet,
    is_here: bool,  # noqa: FBT001
) -> None:
    """What a process asks at an address of its node comes from there, as on a bridge of its own."""
    own, second = (NODE6, "fd88::99") if family else (NODE, "10.88.0.99")
    backend = ((OTHER6, REMOTE6) if family else (OTHER, REMOTE))[not is_here]
    node.endpoint(second, 0, "", EndpointFlag.ENDPOINT_NODE | EndpointFlag.ENDPOINT_HELD)
    for protocol in (6, 17):
        node.service(ANYWHERE[family], PORT, [(backend, 8080, is_here)], protocol=protocol)
    done = node.run("uplink_egress", frame(second, second, l4))
    assert addresses(done.packet) == (second if is_here else own, backend)
