"""A node and a router that lie about where pods and nodes are: numbered datagrams arrive all the same."""

import json
import os
import re
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from lab import bird, cluster, site, use
from lab.addresses import OUTSIDE, ROUTER, pod_cidrs
from lab.cluster import Cluster
from lab.machine import Machine
from lab.site import Options
from lab.use import Client
from tests.lab.modes import PORT, addresses, serve
from tests.lab.routers import peer, routes, say
from tests.lab.test_bgp_restart import LEAST, numbered
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

LIAR = "n90"  # a Node without an agent, whose BIRD says what the test has it say
NOBODY = ("10.88.0.99", "fd88::99")  # on n1's subnet
WIDE = [{"cidr": "10.0.0.0/8"}, {"cidr": "fd00::/8"}]  # pods and nodes
RELAY = {
    "apiVersion": "sluiceway.io/v1alpha1",
    "kind": "BGPConfiguration",
    "metadata": {"name": "default"},
    "spec": {"relay": {"prefixes": WIDE}},
}
FRAME = """
log stderr all;
router id {router_id};
protocol device {{ scan time 10; }}
protocol static true4 {{ ipv4; {true4} }}
protocol static true6 {{ ipv6; {true6} }}
protocol static lies4 {{ disabled; ipv4; {lies4} }}
protocol static lies6 {{ disabled; ipv6; {lies6} }}
filter tells4 {{ if proto = "lies4" then bgp_next_hop = {nobody4}; if source = RTS_STATIC then accept; reject; }}
filter tells6 {{ if proto = "lies6" then bgp_next_hop = {nobody6}; if source = RTS_STATIC then accept; reject; }}
template bgp node {{ local as {asn}; connect retry time 1; connect delay time 1; error wait time 1, 2; }}
{sessions}
"""
NODE_SESSIONS = """
protocol bgp four from node { local 10.88.0.200; neighbor 10.88.0.11 as 64512; ipv4 { import none; export filter tells4; }; }
protocol bgp six from node { local fd88::c8; neighbor fd88::b as 64512; ipv6 { import none; export filter tells6; }; }
"""  # noqa: E501
ROUTER_SESSIONS = """
protocol direct { ipv4; ipv6; interface "br*"; }
protocol kernel { ipv4 { export where source = RTS_BGP; }; }
protocol kernel { ipv6 { export where source = RTS_BGP; }; }
protocol bgp n1 from node {
  local 10.88.0.1; neighbor 10.88.0.11 as 64512;
  ipv4 { import all; export filter tells4; };
  ipv6 { import all; export filter tells6; next hop address fd88::1; };
}
protocol bgp n2 from node {
  local 10.88.1.1; neighbor 10.88.1.12 as 64512;
  ipv4 { import all; export none; };
  ipv6 { import all; export none; };
}
"""


def told(networks: list[str]) -> str:
    """As routes of BIRD's."""
    return " ".join(f"route {one} blackhole;" for one in networks)


def lies(routed: Cluster, pods: list[str], *, is_node: bool) -> dict[str, list[str]]:
    """By family: halves of n2's pods and of n1's own, and the pod that is asked; a node's also all of them, and n2.

    A router that has all of them itself by n2 could not pass on what the lies are found out by.
    """
    found = {}
    for at, version in enumerate("46"):
        whole, own = (pod_cidrs(name)[at] for name in ("n2", "n1"))
        of_node = (whole, own, ip_network(routed.site.machine("n2").addresses[at])) if is_node else ()
        found[version] = [str(one) for one in (*whole.subnets(), *own.subnets(), ip_network(pods[at]), *of_node)]
    return found


def sent(asking: Client) -> int:
    """Packets of a pod."""
    lines = asking.machine.run("cat", "/proc/self/net/dev", context=asking.context).stdout.splitlines()
    return sum(int(line.split()[10]) for line in lines if line.strip().startswith("eth0:"))


def liar(machine: Machine, asn: int, sessions: str, untrue: dict[str, list[str]], true: list[str]) -> None:
    """Be one, which tells the truth until it is asked for more."""
    by_family = {
        "true4": told(true[:1]),
        "true6": told(true[1:]),
        "lies4": told(untrue["4"]),
        "lies6": told(untrue["6"]),
    }
    hops = {"nobody4": NOBODY[0], "nobody6": NOBODY[1], "router_id": str(machine.addresses[0])}
    bird.run(machine, FRAME.format(asn=asn, sessions=sessions, **by_family, **hops))


@pytest.fixture(scope="module")
def routed() -> Iterator[Cluster]:
    """Two nodes on two subnets that BGP joins."""
    name = f"swlab-test-bgp-lies-{os.getpid()}"
    try:
        yield cluster.up(name, Options(nodes=2, subnets=2, router=True), print)
    finally:
        site.remove(name)


def refused(node: Machine, session: str) -> int:
    """How many prefixes of a peer's the node's filters have refused."""
    found = re.findall(r"Import updates:\s+(\d+)\s+(\d+)\s+(\d+)", say(node, "show", "protocols", "all", session))
    return sum(int(filtered) for _, _, filtered in found)


def test_no_datagram_goes_astray_while_a_node_and_a_router_tell_of_pods_that_are_not_theirs(routed: Cluster) -> None:
    n1, tor, outside = (routed.site.machine(name) for name in ("n1", ROUTER, OUTSIDE))
    server = addresses(serve(routed, "at-n2", "n2", PORT)[0])
    by_node, by_router = (lies(routed, server, is_node=whose) for whose in (True, False))
    own = [str(network) for network in pod_cidrs(LIAR)]
    item = {
        **cluster.node_object(n1),
        "metadata": {"name": LIAR},
        "spec": {"podCIDRs": own},
        "status": {"addresses": [{"type": "InternalIP", "address": str(one)} for one in outside.addresses]},
    }
    with routed.site.alone():
        routed.manifests.put(item)
    routed.apply(json.dumps(RELAY))
    for node, at in (("n1", "10.88.0.1"), ("n2", "10.88.1.1")):
        routed.apply(peer(f"tor-{node}", node, at, **{"import": {"prefixes": WIDE}}))
    liar(outside, 64512, NODE_SESSIONS, by_node, own)
    liar(tor, bird.TOR_ASN, ROUTER_SESSIONS, by_router, ["10.200.0.0/16", "fd00:200::/32"])
    told_of = {"node_10_88_0_200": by_node["4"], "node_fd88__c8": by_node["6"]}
    told_of |= {"peer_10_88_0_1": [*by_router["4"], *by_router["6"]]}
    for network in (*own, "10.200.0.0/16", "fd00:200::/32"):  # what is theirs, and what is asked for
        until(lambda of=network: f"{of}" in say(n1, "show", "route", of), f"nothing of {network}")  # type: ignore[misc]
    for network in map(str, pod_cidrs("n2")):
        until(lambda of=network: bool(routes(n1, of)), f"no way to {network}")  # type: ignore[misc]
    before = {name: refused(n1, name) for name in told_of}
    asking = use.idle(routed, "asking", "n1")
    with numbered(routed, (asking, [(ip, PORT) for ip in server])) as found:
        for machine in (outside, tor):
            for version in "46":
                bird.ask(machine, "enable", f"lies{version}")
        for name, those in told_of.items():
            wanted = before[name] + len(those)
            until(lambda of=name, all_of=wanted: refused(n1, of) == all_of, f"{name} is believed")  # type: ignore[misc]
        enough = sent(asking) + 2 * LEAST
        until(lambda: sent(asking) >= enough, "nothing is sent")
    assert [one["missing"] for one in found] == [{}]
    assert found[0]["sent"] > LEAST
    for network in (*by_node["4"], *by_node["6"]):
        assert not any(hop in routes(n1, network) for hop in NOBODY), network
