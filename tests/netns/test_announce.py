"""Two agents announce a load balancer's addresses on one subnet: whose MAC a client's neighbour table has."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.announce.announcer import lease_name
from agent.compile.announce import announcer
from agent.compile.leaving import EXCLUDED
from agent.model.address import parse_address
from agent.netlink import netns as namespace
from tests.agent.kube.lease_server import LEASES, LeaseServer, kubeconfig
from tests.netns.agents import Node
from tests.patience import until

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

NODES = "/api/v1/nodes"
ADDRESSES = ("198.51.100.80", "2001:db8:80::1")
CLIENT = "192.0.2.100"
BOTH = frozenset({"n1", "n2"})
SNOOPS = ("mcast_snooping", "1", "mcast_querier", "1", "mcast_query_response_interval", "20")
ASK = """
import socket, sys
with socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.sendto(b"x", (sys.argv[1], 9))
"""


def objects(kind: str) -> list[dict[str, Any]]:
    if kind == "nodes":
        cidrs = {"n1": "10.244.0.0/24", "n2": "10.244.1.0/24"}
        return [
            {
                "metadata": {"name": name, "resourceVersion": "1"},
                "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
                "status": {"addresses": [{"type": "InternalIP", "address": f"192.0.2.{name[1]}"}]},
            }
            for name, cidr in cidrs.items()
        ]
    clusters = ["10.96.0.10", "fd00:96::10"]
    spec = {"type": "LoadBalancer", "clusterIP": clusters[0], "clusterIPs": clusters, "ports": [{"port": 80}]}
    status = {"loadBalancer": {"ingress": [{"ip": address} for address in ADDRESSES]}}
    return [
        {"metadata": {"name": "web", "namespace": "default", "resourceVersion": "1"}, "spec": spec, "status": status}
    ]


@dataclass
class Subnet:
    """A client that is also the API server, and two nodes, on one bridge."""

    client: str
    api: LeaseServer
    nodes: dict[str, Node]
    folder: Path

    def start(self, name: str) -> subprocess.Popen[str]:
        """An agent."""
        node = self.nodes[name]
        command = [word for word in node.agent("run") if not word.startswith("--manifests")]
        config = kubeconfig(self.folder, self.api.port, CLIENT)
        return node.start_command(
            [*command, f"--kubeconfig={config}", "--l2-announce=on", f"--node-name={name}", "--network-policy=off"]
        )

    def clean_up(self, name: str) -> None:
        """Have an agent that has ended leave for good."""
        node = self.nodes[name]
        words = [word for word in node.agent("cleanup") if not word.startswith("--manifests")]
        config = kubeconfig(self.folder, self.api.port, CLIENT)
        node.run(*words[len(node.inside) :], f"--kubeconfig={config}", f"--node-name={name}")

    def ip(self, *words: str) -> str:
        """What `ip` says at the client."""
        return subprocess.run(["ip", "-n", self.client, *words], check=True, capture_output=True, text=True).stdout

    def forget(self, address: str) -> None:
        """Have the client know no neighbour under it."""
        subprocess.run(["ip", "-n", self.client, "neigh", "flush", "to", address], check=True, capture_output=True)

    def known(self, address: str) -> str:
        """The MAC in the client's neighbour table; empty: none."""
        found: list[dict[str, Any]] = json.loads(self.ip("-j", "neigh", "show", address) or "[]")
        return str(found[0].get("lladdr", "")) if found else ""

    def asked(self, address: str) -> str:
        """The MAC that a client finds which knows none."""
        self.forget(address)
        subprocess.run(["ip", "netns", "exec", self.client, "python3", "-c", ASK, address], check=True)
        deadline = time.monotonic() + 5
        while not (found := self.known(address)) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    def mac(self, name: str) -> str:
        """A node's."""
        return str(json.loads(self.nodes[name].run("ip", "-j", "link", "show", "u0"))[0]["address"])

    def is_member(self, name: str) -> bool:
        """Whether a node is in the group in which neighbours are asked for the IPv6 address."""
        return "ff02::1:ff00:1\n" in self.nodes[name].run("ip", "-6", "maddr", "show", "dev", "u0")

    def label(self, item: dict[str, Any], *labels: str) -> None:
        """Have a Node with these labels alone."""
        metadata = {**item["metadata"], "labels": dict.fromkeys(labels, "")}
        with self.api.lock:
            self.api.store(f"{NODES}/{metadata['name']}", {**item, "metadata": metadata})

    def settled(self, *names: str) -> None:
        """Until each address is at the one of these nodes that is to have it."""
        wanted = {a: self.mac(announcer(parse_address(a), frozenset(names))) for a in ADDRESSES}
        until(lambda: {address: self.asked(address) for address in ADDRESSES} == wanted)


@pytest.fixture
def subnet(tmp_path: Path) -> Iterator[Subnet]:
    client = f"swlb{os.getpid()}"
    with ExitStack() as stack:
        nodes = {}
        for name in sorted(BOTH):
            (tmp_path / name).mkdir()
            nodes[name] = Node.make(f"{client}{name}", tmp_path / name)
            stack.callback(nodes[name].remove)
        subprocess.run(["ip", "netns", "add", client], check=True)
        stack.callback(subprocess.run, ["ip", "netns", "del", client], check=True)
        made = Subnet(client, None, nodes, tmp_path)  # type: ignore[arg-type]
        made.ip("link", "set", "lo", "up")
        made.ip("link", "add", "br0", "type", "bridge")
        for name, node in nodes.items():
            node.ip(f"link set u1 netns {client} name {name}")
            made.ip("link", "set", name, "master", "br0", "up")
            node.ip("addr flush dev u0 scope global")
            node.ip(f"addr add 192.0.2.{name[1]}/24 dev u0")
        made.ip("link", "set", "br0", "up")
        made.ip("addr", "add", f"{CLIENT}/24", "dev", "br0")
        made.ip("addr", "add", "fd02::100/64", "dev", "br0", "nodad")
        made.ip("route", "add", "198.51.100.0/24", "dev", "br0")
        made.ip("route", "add", "2001:db8:80::/64", "dev", "br0")
        with namespace.inside(f"/run/netns/{client}"):
            made.api = LeaseServer(CLIENT)
        stack.callback(made.api.stop)
        made.api.lists = {"/api/v1/services": objects("services")}
        made.api.live.add(NODES)
        for item in objects("nodes"):
            made.label(item)
        yield made


def owners() -> dict[str, str]:
    return {address: announcer(parse_address(address), BOTH) for address in ADDRESSES}


@pytest.mark.timeout(900)
def test_a_switch_that_passes_on_what_is_for_a_group_to_its_members_alone_hears_who_they_are(subnet: Subnet) -> None:
    subnet.ip("link", "set", "br0", "type", "bridge", *SNOOPS)
    for name in sorted(BOTH):
        subnet.start(name)
    subnet.settled(*BOTH)
    until(lambda: [name for name in BOTH if subnet.is_member(name)] == [owners()[ADDRESSES[1]]])


@pytest.mark.timeout(900)
def test_a_client_finds_another_node_after_ones_death(subnet: Subnet) -> None:
    """Its neighbour table is changed by what the successor says, though the client asks nobody."""
    running = {name: subnet.start(name) for name in sorted(BOTH)}
    subnet.settled(*BOTH)
    dead = owners()[ADDRESSES[0]]
    (other,) = BOTH - {dead}
    lost = [address for address, owner in owners().items() if owner == dead]
    for address in lost:
        subnet.asked(address)
    running[dead].send_signal(signal.SIGKILL)
    subnet.nodes[dead].ip("link set u0 down")
    for address in lost:
        taken_s = until(lambda at=address: subnet.known(at) == subnet.mac(other))  # type: ignore[misc]
        print(f"{address} after {taken_s:.2f} s")
    subnet.settled(other)


@pytest.mark.timeout(900)
def test_a_node_that_balancers_are_to_leave_out_gives_its_addresses_away_and_has_them_back(subnet: Subnet) -> None:
    for name in sorted(BOTH):
        subnet.start(name)
    subnet.settled(*BOTH)
    labelled = owners()[ADDRESSES[0]]
    (other,) = BOTH - {labelled}
    (item,) = (one for one in objects("nodes") if one["metadata"]["name"] == labelled)
    subnet.label(item, EXCLUDED)
    until(lambda: subnet.known(ADDRESSES[0]) == subnet.mac(other))  # the client asks nobody
    subnet.settled(other)
    subnet.label(item)
    subnet.settled(*BOTH)


@pytest.mark.timeout(900)
def test_an_agents_death_alone_leaves_no_two_nodes_that_answer(subnet: Subnet) -> None:
    """The dead agent's programs go on until they hear of the successor."""
    running = {name: subnet.start(name) for name in sorted(BOTH)}
    subnet.settled(*BOTH)
    dead = owners()[ADDRESSES[0]]
    (other,) = BOTH - {dead}
    running[dead].send_signal(signal.SIGKILL)
    assert subnet.asked(ADDRESSES[0]) == subnet.mac(dead)
    until(lambda: subnet.known(ADDRESSES[0]) == subnet.mac(other))
    for _ in range(5):
        assert subnet.asked(ADDRESSES[0]) == subnet.mac(other)
    subnet.start(dead)
    subnet.settled(*BOTH)


@pytest.mark.timeout(900)
def test_a_node_whose_agent_leaves_for_good_is_followed_before_it_stops_serving(subnet: Subnet) -> None:
    """The client asks nobody: the successor has told it by the time the programs are gone."""
    running = {name: subnet.start(name) for name in sorted(BOTH)}
    subnet.settled(*BOTH)
    leaving = owners()[ADDRESSES[0]]
    (other,) = BOTH - {leaving}
    running[leaving].kill()
    running[leaving].wait()
    subnet.clean_up(leaving)
    holders = {name: subnet.api.objects[f"{LEASES}/{lease_name(name)}"]["spec"]["holderIdentity"] for name in BOTH}
    assert holders == {leaving: "", other: other}
    until(lambda: subnet.known(ADDRESSES[0]) == subnet.mac(other))
    subnet.settled(other)


@pytest.mark.timeout(900)
def test_nothing_moves_without_the_api_server_and_one_node_without_it_is_followed(subnet: Subnet) -> None:
    for name in sorted(BOTH):
        subnet.start(name)
    subnet.settled(*BOTH)
    subnet.api.away.add("*")
    time.sleep(5)  # longer than any lease
    assert {a: subnet.asked(a) for a in ADDRESSES} == {a: subnet.mac(owner) for a, owner in owners().items()}
    subnet.api.away.clear()
    time.sleep(3)
    assert {a: subnet.asked(a) for a in ADDRESSES} == {a: subnet.mac(owner) for a, owner in owners().items()}
    alone = owners()[ADDRESSES[0]]
    (other,) = BOTH - {alone}
    subnet.asked(ADDRESSES[0])
    subnet.api.away.add(f"192.0.2.{alone[1]}")
    until(lambda: subnet.known(ADDRESSES[0]) == subnet.mac(other))
    for _ in range(5):
        assert subnet.asked(ADDRESSES[0]) == subnet.mac(other)
    subnet.api.away.clear()
    subnet.settled(*BOTH)
