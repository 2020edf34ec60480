"""Five nodes on two subnets, peers of one another, and a router that has Services' addresses by all: one dies."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab import bird, cluster, fabric, site, use
from lab.addresses import OUTSIDE, PODS4, PODS6, ROUTER, gateways, node_number, pod_cidrs, subnet_of
from lab.cluster import Cluster
from lab.machine import Machine
from lab.manifests import Object
from lab.site import Options
from lab.use import Client
from tests.lab.routers import routes, say
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

NODES, SUBNETS = 5, 2  # n1, n3 and n5 are on the first
KEPT = (sys.executable, "-I", "-S", str(Path(__file__).with_name("kept.py")))
COUNT = 90  # connections to an address: once in twenty million times one of five nodes has fewer than two of them
DEAD, SERVING = "n1", ("n2", "n3", "n5")
REFLECTORS = ("n1", "n2")
MANY, LIMIT = 1000, 100  # prefixes, and how many of them are taken on the second subnet
KIND = {"apiVersion": "sluiceway.io/v1alpha1"}
BFD = 200  # ms; three times that without a word is a peer that is gone
TOR = f"""
log stderr all;
router id 10.88.0.1;
protocol device {{ scan time 10; }}
protocol bfd {{ interface "*" {{ interval {BFD} ms; multiplier 3; }}; }}
protocol direct {{ ipv4; ipv6; interface "br*"; }}
protocol static many {{ disabled; ipv6;
{"".join(f"  route 2001:db8:51:{number:x}::/64 blackhole;{chr(10)}" for number in range(MANY))}}}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; merge paths on; }}
protocol kernel {{ ipv6 {{ export where source = RTS_BGP; }}; merge paths on; }}
template bgp node {{
  local as {bird.TOR_ASN};
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  bfd on;
  graceful restart on;
  ipv4 {{ import all; export none; }};
  ipv6 {{ import all; export where proto = "many"; }};
}}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {way}, annotations: {{sluiceway.io/forwarding: {way}}}}}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.{number}
  clusterIPs: [10.96.0.{number}, "fd00:10:96::{number}"]
  ipFamilies: [IPv4, IPv6]
  ipFamilyPolicy: PreferDualStack
  selector: {{app: web}}
  ports: [{{name: tcp, port: 80, targetPort: 8080}}]
"""
BALANCERS = {"dsr": ("203.0.113.80", "2001:db8:203::80"), "snat": ("203.0.113.81", "2001:db8:203::81")}


def annotated(routed: Cluster, name: str, **annotations: str) -> None:
    """A node with annotations of kube-router's."""
    item = cluster.node_object(routed.site.machine(name))
    given = {f"kube-router.io/{key.replace('_', '.')}": value for key, value in annotations.items()}
    with routed.site.alone():
        routed.manifests.put({**item, "metadata": {**item["metadata"], "annotations": given}})


def tor_of(subnet: int, nodes: list[str], asn: int = bird.TOR_ASN) -> str:
    """The router as the peer of a subnet's nodes; of the two ASes of leaves, which tell of pods."""
    pods = {"prefixes": [{"cidr": str(PODS4)}, {"cidr": str(PODS6)}]}
    many = {"prefixes": [{"cidr": "2001:db8:51::/48"}], **({"limit": LIMIT} if subnet else {})}
    spec = {
        "address": str(gateways(subnet)[0]),
        "asn": asn,
        "bothFamilies": True,
        "nodeSelector": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": nodes}]},
        "bfd": {"transmitInterval": BFD, "receiveInterval": BFD, "graceful": not subnet},
        "import": many if asn == bird.TOR_ASN else pods,
    }
    return json.dumps({**KIND, "kind": "BGPPeer", "metadata": {"name": f"tor{subnet}"}, "spec": spec})


def session_of(node: Machine) -> str:
    """The router's session with a node."""
    four, six = gateways(subnet_of(node.name, SUBNETS))
    peer = f"local {four}; neighbor {node.addresses[0]} as 64512; ipv6 {{ next hop address {six}; }};"
    return f"protocol bgp {node.name} from node {{ {peer} }}\n"


@pytest.fixture(scope="module")
def routed() -> Iterator[Cluster]:
    """The nodes, and the router that spreads connections over them, by their ports too."""
    name = f"swlab-test-bgp-mesh-{os.getpid()}"
    try:
        made = cluster.up(name, Options(nodes=NODES, subnets=SUBNETS, router=True), print)
        tor, outside = made.site.machine(ROUTER), made.site.outside
        tor.run("sysctl", "-qw", *(f"net.{family}.fib_multipath_hash_policy=1" for family in ("ipv4", "ipv6")))
        # the client is on a subnet with nodes, and is not to be told of the shorter way to one of them
        for at in ("all", "eth0"):
            outside.run("sysctl", "-qw", *(f"net.{of}.conf.{at}.accept_redirects=0" for of in ("ipv4", "ipv6")))
        bird.run(tor, TOR + "".join(session_of(node) for node in made.site.nodes))
        for subnet in range(SUBNETS):
            made.apply(tor_of(subnet, [one for one in made.site.node_names if subnet_of(one, SUBNETS) == subnet]))
        yield made
    finally:
        site.remove(name)


@pytest.fixture(scope="module")
def servers(routed: Cluster) -> dict[str, Object]:
    """On three of the nodes, by their names, which are the nodes'."""
    return {f"web-{node}": use.serve(routed, f"web-{node}", node, {"app": "web"}) for node in SERVING}


@pytest.fixture(scope="module")
def asking(routed: Cluster) -> Client:
    """A pod on the second subnet, on whose node no server is."""
    return use.idle(routed, "asking", "n4")


def reaches_all(asking: Client, servers: dict[str, Object]) -> None:
    """Every server answers at its pod's own addresses: soon, since routes come behind sessions."""

    def answers(name: str, address: str) -> bool:
        return asking.ask("tcp", address, use.SERVER_PORT, 2).answers == {name: 2}

    for name, item in servers.items():
        for ip in item["status"]["podIPs"]:
            until(lambda of=name, at=ip["ip"]: answers(of, at), f"{name} does not answer at {ip['ip']}")  # type: ignore[misc]


def between_nodes(node: Machine) -> int:
    """How many sessions it has with other nodes."""
    lines = say(node, "show", "protocols").splitlines()
    return sum(line.startswith("node_") and "Established" in line for line in lines)


def test_each_of_five_nodes_is_the_peer_of_each_other_one(
    routed: Cluster, servers: dict[str, Object], asking: Client
) -> None:
    sessions = 2 * (NODES - 1)  # one of each family
    for node in routed.site.nodes:
        until(lambda at=node: between_nodes(at) == sessions, f"{node.name} has not all sessions")  # type: ignore[misc]
    n4 = routed.site.machine("n4")
    for name, by in (("n3", "proto bird"), ("n2", "proto 89")):  # its neighbour is reached by the agent's own
        for network in pod_cidrs(name):
            until(lambda to=str(network), how=by: how in routes(n4, to), f"{name} is not reached by {by}")  # type: ignore[misc]
    reaches_all(asking, servers)


def hears(tor: Machine, node: Machine) -> bool:
    """Whether the router's BFD hears of a node."""
    lines = bird.ask(tor, "show", "bfd", "sessions").splitlines()
    return any(line.startswith(f"{node.addresses[0]} ") and " Up " in line for line in lines)


def taken(node: Machine) -> int:
    """How many of the many a node's kernel has."""
    return node.run("ip", "-6", "route", "show", "proto", "bird").stdout.count("2001:db8:51:")


def test_a_thousand_prefixes_are_taken_and_no_more_than_a_peer_may_tell(routed: Cluster) -> None:
    """And the death of the router's BIRD, which BFD sees at once, is a restart where the peer says so."""
    tor, n1, n2 = (routed.site.machine(name) for name in (ROUTER, "n1", "n2"))
    host = f"2001:db8:51:{MANY - 1:x}::1"
    tor.run("ip", "address", "add", host, "dev", "lo", "nodad")
    tor.daemon("echo", [*use.SERVER, str(use.SERVER_PORT)], {"POD_NAME": "tor"})
    far = use.idle(routed, "far", "n1")
    bird.ask(tor, "enable", "many")
    until(lambda: taken(n1) == MANY, "the first subnet's node has not all")
    until(lambda: taken(n2) == LIMIT, "the second one's has not as many as it may")
    assert far.ask("tcp", host, use.SERVER_PORT, 2).answers == {"tor": 2}
    for node in (n1, n2):
        until(lambda at=node: hears(tor, at), f"no BFD with {node.name}")  # type: ignore[misc]
    tor.stop(bird.DAEMON, signal.SIGKILL)
    until(lambda: not taken(n2), "the second subnet's nodes keep what they had")
    assert taken(n1) == MANY
    assert far.ask("tcp", host, use.SERVER_PORT, 2).answers == {"tor": 2}
    tor.start_again(bird.DAEMON)  # with none of them
    until(lambda: not taken(n1), "they are not withdrawn")


@contextmanager
def kept(asking: Client, address: str) -> Iterator[list[dict[str, Any]]]:
    """Somebody who talks on many connections during the block; what became of each is there behind it."""
    argv = asking.machine.command([*KEPT, address, "80", str(COUNT)], asking.context)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    found: list[dict[str, Any]] = []
    with subprocess.Popen(argv, env=asking.machine.environment(), text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == "ready\n"
            yield found
            process.stdin.close()
            found += json.loads(process.stdout.read())
        finally:
            process.kill()


def by(node: Machine) -> dict[str, set[int]]:
    """The client's ports of the connections that come in by a node, by the address that was asked."""
    found: dict[str, set[int]] = {}
    for row in json.loads(node.run("dpctl", "conntrack", "list", "--port", "80", "-o", "json").stdout):
        if row["service"]:
            found.setdefault(row["service"]["address"], set()).add(row["client"]["port"])
    return found


@pytest.mark.usefixtures("servers")
def test_connections_whose_node_dies_go_on_by_others_with_dsr_and_end_with_snat(
    routed: Cluster, record_property: Any
) -> None:
    """Whichever node has the client's segments then, its table names the server that the dead one's did."""
    tor, dead, outside = (routed.site.machine(name) for name in (ROUTER, DEAD, OUTSIDE))
    for number, (way, addresses) in enumerate(BALANCERS.items(), 80):
        (stored,) = routed.apply(SERVICE.format(way=way, number=number))
        with routed.site.alone():
            ingress = [{"ip": ip, "ipMode": "VIP"} for ip in addresses]
            routed.manifests.put({**stored, "status": {"loadBalancer": {"ingress": ingress}}})
    targets = (*BALANCERS["dsr"], BALANCERS["snat"][0])
    for address in targets:
        until(lambda of=address: routes(tor, of).count("via") == NODES, f"{address} is not told by all")  # type: ignore[misc]
    with ExitStack() as talking:
        ends = {address: talking.enter_context(kept(use.host(outside), address)) for address in targets}
        by_the_dead = by(dead)
        tor.run("ip", "link", "set", DEAD, "down")
        for address in targets:
            until(lambda of=address: routes(tor, of).count("via") == NODES - 1, "BFD does not miss it")  # type: ignore[misc]
    tor.run("ip", "link", "set", DEAD, "up")
    for address, found in ends.items():
        moved = [one for one in found if one["port"] in by_the_dead[address]]
        assert len(moved) > 1, f"the dead node had none to {address}"
        if address in BALANCERS["dsr"]:
            assert {one["end"] for one in found} == {"alive"}
            assert {one["name"] for one in found} == {f"web-{node}" for node in SERVING}
            record_property(f"seconds without an answer, {address}", max(one["silent_s"] for one in moved))
        else:
            assert {one["end"] for one in moved} == {"ConnectionResetError"}


def test_of_two_reflectors_one_dies_and_clients_packets_go_on(
    routed: Cluster, servers: dict[str, Object], asking: Client
) -> None:
    n2, n4 = routed.site.machine("n2"), routed.site.machine("n4")
    for node in routed.site.node_names:
        annotated(routed, node, **({"rr_server": "7"} if node in REFLECTORS else {"rr_client": "7"}))
    four, six = (str(network) for network in pod_cidrs("n3"))
    until(lambda: "node_10_88_0_13" not in say(n4, "show", "protocols"), "clients are peers still")
    for reflector in ("node_10_88_0_11", "node_10_88_1_12"):
        until(lambda of=reflector: of in say(n4, "show", "route", four), f"nothing of {reflector}")  # type: ignore[misc]
    until(lambda: "proto bird" in routes(n4, six), "nothing of IPv6")
    reaches_all(asking, servers)
    n2.stop(bird.DAEMON, signal.SIGKILL)
    until(lambda: "Established" not in say(n4, "show", "protocols", "node_10_88_1_12"), "n4 does not notice")
    assert "node_10_88_0_11" in say(n4, "show", "route", four)
    for network in (four, six):
        assert "proto bird" in routes(n4, network)
    reaches_all(asking, servers)


def test_nodes_with_an_as_each_reach_one_another_by_leaves_and_a_spine(
    routed: Cluster, servers: dict[str, Object], asking: Client
) -> None:
    asns = {node.name: 65000 + node_number(node.name) for node in routed.site.nodes}
    for node, asn in asns.items():
        annotated(routed, node, node_asn=str(asn))
    alone = {"kind": "BGPConfiguration", "metadata": {"name": "default"}, "spec": {"meshAcrossASNs": False}}
    routed.apply(json.dumps({**KIND, **alone}))
    for subnet, asn in enumerate(fabric.LEAF_ASNS):
        routed.apply(tor_of(subnet, [node for node in asns if subnet_of(node, SUBNETS) == subnet], asn))
    fabric.build(routed.site.machine(ROUTER), [(node, asns[node.name]) for node in routed.site.nodes])
    n4 = routed.site.machine("n4")
    bird.start(routed.site.machine("n2"))  # the reflector that died
    for name in ("n3", "n5"):
        for there, here in zip(pod_cidrs(name), pod_cidrs("n4"), strict=True):
            path = f"BGP.as_path: 64602 64700 64601 {asns[name]}"
            until(lambda of=str(there), path=path: path in say(n4, "show", "route", of, "all"), f"no {path}")  # type: ignore[misc]
            for at, of in ((n4, there), (routed.site.machine(name), here)):
                until(lambda at=at, of=str(of): "proto bird" in routes(at, of), f"{of} on {at.name}")  # type: ignore[misc]
    assert not between_nodes(n4), "nodes of other ASes are no peers"
    reaches_all(asking, servers)
