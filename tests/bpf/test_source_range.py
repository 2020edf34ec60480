"""A load balancer's address serves the sources in its service's ranges: pods, the node and who is outside alike."""

import pytest

from maps.abi import DropReason, Scope, ServiceFlag
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    POD,
    POD6,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    VIP,
    VIP6,
    Datapath,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses

pytestmark = pytest.mark.kernel

INSIDE, OUTSIDE = Scope.SCOPE_INTERNAL, Scope.SCOPE_EXTERNAL
# who asks, at which program: the service, the backend, the source's own range, one beside it, all
WHO = [
    pytest.param("pod_ingress", INSIDE, POD, VIP, OTHER, 32, id="53 a pod, IPv4"),
    pytest.param("pod_ingress", INSIDE, POD6, VIP6, OTHER6, 128, id="53 a pod, IPv6"),
    pytest.param("uplink_egress", INSIDE, NODE, VIP, OTHER, 32, id="53 the node, IPv4"),
    pytest.param("uplink_egress", INSIDE, NODE6, VIP6, OTHER6, 128, id="53 the node, IPv6"),
    pytest.param("uplink_ingress", OUTSIDE, CLIENT, VIP, OTHER, 32, id="53 the outside, IPv4"),
    pytest.param("uplink_ingress", OUTSIDE, CLIENT6, VIP6, OTHER6, 128, id="53 the outside, IPv6"),
]
KINDS = pytest.mark.parametrize("kind", ["TCP", "UDP"])


def ranged(node: Datapath, kind: str, vip: str, backend: str, scope: Scope, *ranges: str) -> int:
    protocol = 6 if kind == "TCP" else 17
    flags = ServiceFlag.SERVICE_RANGED
    set_id = node.service(vip, 80, [(backend, 8080, True)], protocol=protocol, scope=scope, flags=flags)
    for network in ranges:
        node.source_range(set_id, network)
    return set_id


def asks(kind: str, source: str, vip: str) -> bytes:
    return bytes(frame(source, vip, syn() if kind == "TCP" else datagram(dport=80)))


@KINDS
@pytest.mark.parametrize(("program", "scope", "source", "vip", "backend", "bits"), WHO)
def test_who_is_in_a_range_is_served(
    node: Datapath, kind: str, program: str, scope: Scope, source: str, vip: str, backend: str, bits: int
) -> None:
    ranged(node, kind, vip, backend, scope, f"{source}/{bits}")
    done = node.run(program, asks(kind, source, vip))
    assert done.verdict == TC_ACT_REDIRECT
    assert addresses(done.packet)[1] == backend


@KINDS
@pytest.mark.parametrize(("program", "scope", "source", "vip", "backend", "bits"), WHO)
def test_who_is_in_none_is_dropped_until_he_is_in_one(
    node: Datapath, kind: str, program: str, scope: Scope, source: str, vip: str, backend: str, bits: int
) -> None:
    set_id = ranged(node, kind, vip, backend, scope, "198.18.0.0/15" if bits == 32 else "2001:2::/48")
    node.source_range(set_id + 1, f"{source}/{bits}")  # another service's
    done = node.run(program, asks(kind, source, vip))
    assert done.verdict == TC_ACT_SHOT
    assert done.reason is DropReason.DROP_SOURCE_RANGE
    node.source_range(set_id, "0.0.0.0/0" if bits == 32 else "::/0")
    assert node.run(program, asks(kind, source, vip)).verdict == TC_ACT_REDIRECT


def test_a_connection_goes_on_when_its_source_is_taken_out(node: Datapath) -> None:
    set_id = ranged(node, "TCP", VIP, OTHER, OUTSIDE, f"{CLIENT}/32")
    assert node.run("uplink_ingress", asks("TCP", CLIENT, VIP)).verdict == TC_ACT_REDIRECT
    for key in [key for key, _ in node.tables["source_ranges"].items()]:
        assert key.set_id == set_id
        node.tables["source_ranges"].delete([key])
    assert node.run("uplink_ingress", asks("TCP", CLIENT, VIP)).verdict == TC_ACT_REDIRECT
    other = frame(CLIENT, VIP, syn(sport=41234))
    assert node.run("uplink_ingress", other).verdict == TC_ACT_SHOT


def test_a_service_without_endpoints_refuses_only_who_is_in_a_range(node: Datapath) -> None:
    flags = ServiceFlag.SERVICE_RANGED
    set_id = node.service(VIP, 80, [], scope=OUTSIDE, flags=flags)
    dropped = node.run("uplink_ingress", asks("TCP", CLIENT, VIP))
    assert dropped.reason is DropReason.DROP_SOURCE_RANGE
    node.source_range(set_id, f"{CLIENT}/32")
    refused = node.run("uplink_ingress", asks("TCP", CLIENT, VIP))
    assert refused.reason is DropReason.DROP_NO_BACKEND


def test_a_service_without_ranges_serves_everybody(node: Datapath) -> None:
    node.service(VIP, 80, [(OTHER, 8080, True)], scope=OUTSIDE)
    assert node.run("uplink_ingress", asks("TCP", CLIENT, VIP)).verdict == TC_ACT_REDIRECT
