"""Topology hints: which ready endpoints are near enough."""

from ipaddress import IPv6Address, ip_address

import pytest

from agent.compile.backend import Endpoints
from agent.compile.context import NodeContext
from agent.compile.frontend import EXTERNAL, frontends
from agent.compile.topology import Target, serving
from agent.model.address import ADDRESS_BYTES, unmapped
from agent.model.node import Node
from maps.record import cut
from tests.agent.compile.objects import HERE, endpoint, piece, service

IN_ZONE_A = NodeContext(Node(HERE, zone="zone-a"))


def target(ip: str, node: str = "elsewhere", **hints: tuple[str, ...]) -> Target:
    octets, state = endpoint(ip, node, **hints)
    return state, octets, 80


def hinted(marks: str) -> list[Target]:
    """Endpoints 0, 1, ...; "a" hints zone-a, "H" this node, "x" another node, "" nothing."""
    zones = {mark: (f"zone-{mark}",) for mark in "ab"}
    nodes = {"H": (HERE,), "x": ("elsewhere",)}
    return [
        target(f"10.0.0.{i}", for_zones=zones.get(mark, ()), for_nodes=nodes.get(mark, ()))
        for i, mark in enumerate(marks)
    ]


@pytest.mark.parametrize(
    ("marks", "context", "expected"),
    [
        pytest.param("ab", IN_ZONE_A, "0", id="the zone's endpoints serve the zone"),
        pytest.param("bb", IN_ZONE_A, "01", id="a zone without endpoints is served by all"),
        pytest.param("a-", IN_ZONE_A, "01", id="one endpoint without a hint, and hints mean nothing"),
        pytest.param("-a", IN_ZONE_A, "01", id="the same when it comes first"),
        pytest.param("ab", NodeContext(Node(HERE)), "01", id="a node without a zone takes all"),
        pytest.param("Hx", IN_ZONE_A, "0", id="hints for nodes keep traffic on the node"),
        pytest.param("xx", IN_ZONE_A, "01", id="a node that no hint names is served by all"),
    ],
)
def test_rule(marks: str, context: NodeContext, expected: str) -> None:
    targets = hinted(marks)
    chosen = serving(targets, context, local=False, not_ready_too=False)
    assert "".join(str(targets.index(target)) for target in chosen) == expected


def test_traffic_policy_local_wins_over_hints() -> None:
    far_zone = [
        target("10.0.0.1", HERE, for_zones=("zone-b",)),
        target("10.0.0.2", for_zones=("zone-a",)),
    ]
    assert serving(far_zone, IN_ZONE_A, local=True, not_ready_too=False) == far_zone[:1]


def test_hints_hold_for_a_service_that_publishes_endpoints_that_are_not_ready() -> None:
    targets = hinted("ab")
    assert serving(targets, IN_ZONE_A, local=False, not_ready_too=True) == targets[:1]


def test_hints_hold_for_who_is_outside_so_that_nodes_of_two_zones_serve_him_by_different_endpoints() -> None:
    one = service(external_ips=(ip_address("203.0.113.1"),))
    near_each = [endpoint(f"10.0.0.{i}", f"n{i}", for_zones=(f"zone-{zone}",)) for i, zone in enumerate("ab", 1)]
    (outside,) = (found for found in frontends(one).entries.values() if found.scope is EXTERNAL)
    served = {}
    for zone in "ab":
        at = NodeContext(Node(HERE, zone=f"zone-{zone}"))
        found = Endpoints(one, (piece("web", *near_each),), at).of(outside).chosen
        served[zone] = [str(unmapped(IPv6Address(octets))) for octets in cut(found.addresses, ADDRESS_BYTES)]
    assert served == {"a": ["10.0.0.1"], "b": ["10.0.0.2"]}
