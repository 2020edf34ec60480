"""Whose external addresses are told of: a Service's user draws no packets of others, whatever he writes."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from agent.compile.bgp.bgp import OFF, bgp
from agent.compile.bgp.settings import BgpSettings, OptionPeer
from agent.model.ip_pool import IpPool
from agent.model.service import Service
from tests.agent.compile.bgp.bgp_world import HERE_1, OF_RACK_1, PEER, PLAIN, made, node, world
from tests.agent.compile.objects import HERE, cluster, endpoint, piece, service

ASKS: dict[str, Any] = {"advertised": (("externalip", True),)}
ALLOWED = replace(PLAIN, external_ranges=(ip_network("203.0.113.0/25"), ip_network("2001:db8:9::/64")))
POOLS = {
    "pods": IpPool("pods", (ip_network("10.50.0.0/16"),)),
    "beside": IpPool("beside", (ip_network("203.0.113.0/24"),), network="storage"),
}


def of(*ones: Service) -> dict[str, Any]:
    """Services, each with an endpoint here."""
    known = cluster(*ones, *(piece(one.name.name, endpoint("10.244.11.1", HERE)) for one in ones))
    return {"services": known.services, "slices": known.slices}


@pytest.mark.parametrize(
    ("address", "settings", "why"),
    [
        pytest.param("203.0.113.7", PLAIN, "", id="what nobody else is known to have, by the annotation alone"),
        pytest.param("203.0.113.7", ALLOWED, "", id="what the operator has for Services"),
        pytest.param("203.0.113.200", ALLOWED, "--service-external-ip-range", id="what is beyond"),
        pytest.param("192.0.2.12", PLAIN, "a Node's own", id="another node's"),
        pytest.param("198.51.100.12", PLAIN, "a Node's own", id="by which another node peers"),
        pytest.param("192.0.2.1", PLAIN, "a BGP peer's", id="a BGPPeer's of other nodes"),
        pytest.param("192.0.2.2", PLAIN, "a BGP peer's", id="a router's of the Node's annotation"),
        pytest.param(
            "192.0.2.3",
            replace(PLAIN, peers=(OptionPeer(ip_address("192.0.2.3"), 1),)),
            "a BGP peer's",
            id="a router's of the options",
        ),
        pytest.param("10.244.12.9", PLAIN, "a range of pods", id="a pod's of another node"),
        pytest.param("10.50.9.9", PLAIN, "a range of pods", id="of a pool of which no node has the block"),
        pytest.param(
            "10.96.9.9",
            replace(PLAIN, service_cidrs=(ip_network("10.96.0.0/16"),)),
            "--service-cidrs",
            id="another Service's cluster IP",
        ),
    ],
)
def test_an_external_ip_that_others_have_is_not_told_of(address: str, settings: BgpSettings, why: str) -> None:
    found = made(
        world(
            node(HERE, 11, peer_ips="192.0.2.2", peer_asns="64600"),
            node("n2", 12, bgp__local__addresses="198.51.100.12"),
            peers=(replace(PEER, nodes=OF_RACK_1),),
            ip_pools=POOLS,
            **of(service(external_ips=(ip_address(address),), **ASKS)),
        ),
        settings,
    )
    assert found.router is not None
    assert [str(one) for one in found.router.services] == ([] if why else [f"{address}/32"])
    assert [(one.kind, one.field) for one in found.problems] == [("Service", "spec.externalIPs[0]")] * bool(why)
    assert all(why in one.text for one in found.problems)


def test_a_load_balancers_address_needs_no_range_of_external_ips() -> None:
    one = service(load_balancer=(ip_address("203.0.113.200"),))
    found = made(world(HERE_1, **of(one)), replace(ALLOWED, load_balancer=True))
    assert found.router is not None
    assert ([str(one) for one in found.router.services], found.problems) == (["203.0.113.200/32"], ())


def test_a_block_that_a_node_claims_has_no_service_looked_at_again() -> None:
    given = of(service(external_ips=(ip_address("203.0.113.7"),), **ASKS))
    before = bgp(world(HERE_1, node("n2", 12), ip_pools=POOLS, **given), PLAIN, None, HERE, OFF)
    claimed = replace(node("n2", 12), blocks=((ip_network("10.50.3.0/26"), "b1"),))
    source = before.source
    assert source is not None
    after = bgp(replace(source, nodes={**source.nodes, "n2": claimed}), PLAIN, None, HERE, before)
    assert after.prefixes is before.prefixes


def test_an_address_is_withdrawn_when_a_peer_comes_that_has_it_and_told_when_it_goes() -> None:
    given = of(service(external_ips=(PEER.address, ip_address("203.0.113.7")), **ASKS))

    def told(found: Any) -> list[str]:
        return list(map(str, found.router.services))

    before = bgp(world(HERE_1, **given), PLAIN, None, HERE, OFF)
    assert told(before) == ["192.0.2.1/32", "203.0.113.7/32"]
    with_peer = bgp(world(HERE_1, peers=(PEER,), **given), PLAIN, None, HERE, before)
    assert told(with_peer) == ["203.0.113.7/32"]
    after = bgp(world(HERE_1, **given), PLAIN, None, HERE, with_peer)
    assert (told(after), after.problems) == (told(before), ())
