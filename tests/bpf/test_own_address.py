"""What the node itself asks under a service's address that it has reaches a backend elsewhere under the node's own."""

from collections.abc import Iterator

import pytest
from scapy.packet import Packet

from maps.abi import DropReason, EndpointFlag, Scope
from tests.bpf.datapath import (
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    REMOTE,
    REMOTE6,
    VIP,
    VIP6,
    Datapath,
    checksums_hold,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
L4 = pytest.mark.parametrize("l4", [syn(), datagram(dport=80)], ids=["TCP", "UDP"])
OWN, OWN6 = "203.0.113.80", "2001:db8::80"


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    """The uplink, in a namespace that has routes."""
    with routed() as ifindex:
        yield ifindex


@FAMILIES
@L4
@pytest.mark.parametrize("scope", list(Scope), ids=["a cluster IP", "an external IP"])
@pytest.mark.parametrize(
    ("backend", "is_here", "seen"),
    [
        pytest.param((OTHER, OTHER6), True, (OWN, OWN6), id="a pod here sees the address that was asked under"),
        pytest.param((REMOTE, REMOTE6), False, (NODE, NODE6), id="one elsewhere the node's own"),
    ],
)
def test_a_backend_can_answer(
    node: Datapath,
    device: int,
    family: int,
    l4: Packet,
    scope: Scope,
    backend: tuple[str, str],
    is_here: bool,  # noqa: FBT001
    seen: tuple[str, str],
) -> None:
    own, vip = (OWN, OWN6)[family], (VIP, VIP6)[family]
    node.endpoint(own, 0, "00:00:00:00:00:00", EndpointFlag.ENDPOINT_NODE)
    node.service_address(own, scope)
    for address in (own, vip):
        for protocol in (6, 17):
            node.service(address, 80, [(backend[family], 8080, is_here)], protocol=protocol)
        done = node.run("uplink_egress", frame(own, address, l4), device)
        assert done.reason == DropReason.DROP_NONE
        assert addresses(done.packet) == (seen[family], backend[family])
        assert checksums_hold(done.packet)
        assert node.tables["flows"].count() == 2
        node.tables["flows"].delete([key for key, _ in node.tables["flows"].items()])


@FAMILIES
@L4
def test_under_an_address_of_its_own_the_node_is_seen_as_it_is(
    node: Datapath, device: int, family: int, l4: Packet
) -> None:
    own, vip, backend = (OWN, OWN6)[family], (VIP, VIP6)[family], (REMOTE, REMOTE6)[family]
    node.endpoint(own, 0, "00:00:00:00:00:00", EndpointFlag.ENDPOINT_NODE)
    for protocol in (6, 17):
        node.service(vip, 80, [(backend, 8080, False)], protocol=protocol)
    assert addresses(node.run("uplink_egress", frame(own, vip, l4), device).packet) == (own, backend)
