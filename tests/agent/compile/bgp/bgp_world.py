"""Clusters as BGP sees them: nodes with annotations, peers, and what is made of them."""

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from agent.compile.bgp.bgp import OFF, Bgp, bgp
from agent.compile.bgp.bird import bird_config
from agent.compile.bgp.settings import BgpSettings, OptionPeer
from agent.model.bgp import BgpPeer, Passwords
from agent.model.bgp_configuration import BgpConfiguration
from agent.model.cluster import Cluster
from agent.model.node import Node
from agent.model.policy import Operator, Requirement, Selector
from agent.model.service import Service
from tests.agent.compile.objects import HERE, cluster, endpoint, piece, service

PLAIN = BgpSettings()
BALANCED = replace(PLAIN, load_balancer=True)


def node(name: str, number: int, *, families: str = "46", labels: Mapping[str, str] | None = None, **said: str) -> Node:
    """A node; annotations of kube-router's are given with underscores for what Python's names cannot have."""
    four, six = "4" in families, "6" in families
    return Node(
        name,
        tuple(map(ip_address, [f"192.0.2.{number}"] * four + [f"2001:db8::{number}"] * six)),
        tuple(map(ip_network, [f"10.244.{number}.0/24"] * four + [f"fd00:244:{number}::/64"] * six)),
        labels=tuple((labels or {}).items()),
        bgp=tuple(sorted((f"kube-router.io/{key.replace('__', '-').replace('_', '.')}", said[key]) for key in said)),
    )


def world(*nodes: Node, peers: tuple[BgpPeer, ...] = (), passwords: Passwords | None = None, **more: Any) -> Cluster:
    return Cluster(
        nodes={one.name: one for one in nodes},
        bgp_peers={one.name: one for one in peers},
        bgp_passwords=passwords or Passwords(),
        **more,
    )


def made(given: Cluster, settings: BgpSettings = PLAIN) -> Bgp:
    return bgp(given, settings, None, HERE, OFF)


def configuration(name: str = "default", **said: Any) -> dict[str, BgpConfiguration]:
    return {name: BgpConfiguration(name, **said)}


def at(number: int, **marks: Any) -> Service:
    """A Service with a load balancer's address."""
    return service(f"web{number}", f"10.96.0.{number}", load_balancer=(ip_address(f"203.0.113.{number}"),), **marks)


def bird_refuses(router: Any, folder: Path) -> str:
    """Its sentence."""
    (folder / "bird.conf").write_text(bird_config(router))
    argv = ["bird", "-p", "-c", str(folder / "bird.conf")]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stderr


def sessions(found: Bgp) -> dict[str, str]:
    """Who is at which address, by BIRD's names."""
    assert found.router is not None
    return {one.name: one.about for one in found.router.sessions}


HERE_1 = node(HERE, 11)
OF_RACK_1 = Selector((Requirement("rack", Operator.IN, frozenset({"r1"})),))
AT_ETH1 = BgpPeer("left", None, 64600, interface="eth1", both_families=True, extended_next_hop=True)
TOR = OptionPeer(ip_address("192.0.2.1"), 64600)
BESIDE = BgpPeer("beside", ip_address("192.0.2.77"), 64601)
PEER = BgpPeer("tor", ip_address("192.0.2.1"), 64600)
AGGREGATE = configuration(aggregates=(ip_network("203.0.113.0/24"),))


def with_services(*ones: Service, here: Node = HERE_1, **more: Any) -> Cluster:
    """This node, with a ready endpoint of each."""
    known = cluster(*ones, *(piece(one.name.name, endpoint("10.244.11.1", HERE)) for one in ones))
    return world(here, services=known.services, slices=known.slices, **more)
