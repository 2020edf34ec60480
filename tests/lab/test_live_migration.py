"""Nodes that flannel and kube-router left are moved one after the other, and no connection of their pods ends."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from lab import agents, cluster, site, use
from lab.addresses import at_once, pod_cidrs
from lab.cluster import Cluster
from lab.machine import ExecContext, Machine
from lab.site import Options
from lab.use import SERVER_PORT, Client
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

KEPT = 4  # connections of each load


@dataclass(frozen=True, slots=True)
class Earlier:
    """Who made a node's network before."""

    bridge: str
    network: str  # its name, which is host-local's folder
    protocol: str = "boot"  # of its routes
    more: tuple[str, ...] = ()  # ip's lines; {0}, {1}: the pod CIDRs


FLANNEL = Earlier("cni0", "cbr0")
RULES = ("rule add from {0} lookup 77", "-6 rule add from {1} lookup 77")
KUBE_ROUTER = Earlier("kube-bridge", "kubernetes", "17", RULES)


@dataclass(frozen=True, slots=True)
class OldPod:
    """A pod as bridge and host-local leave it, on the node's bridge."""

    node: Machine
    addresses: tuple[str, ...]
    client: Client
    ended: dict[str, dict[str, object]] = field(default_factory=dict)

    @property
    def context(self) -> ExecContext:
        """Where its processes run."""
        return self.client.context

    @contextmanager
    def load(self, target: str) -> Iterator[None]:
        """Connect to an address all the time, and talk on a few connections."""
        name = f"load-{target}"
        self.node.daemon(name, [*use.CLIENT, "load", target, str(SERVER_PORT), str(KEPT)], context=self.context)
        yield
        self.node.stop(name, signal.SIGTERM)
        text = (self.node.home / f"{name}.log").read_text()
        self.ended[target] = json.loads(text.splitlines()[-1])


def test_nodes_are_moved_one_after_the_other_and_nobody_notices() -> None:
    name = f"swlab-move-{os.getpid()}"
    try:
        made = cluster.up(name, Options(nodes=2, socket_lb=False), print)
        first, second = made.site.nodes
        olds = [laid(made, first, FLANNEL), laid(made, second, KUBE_ROUTER)]
        reach([olds[0].client], olds[1].addresses)
        with ExitStack() as loads:
            for one, other in (olds, olds[::-1]):
                for address in other.addresses:
                    loads.enter_context(one.load(address))
            move(made, first)
            near = use.serve(made, "near", "n1", {"app": "near"})
            nears = [ip["ip"] for ip in near["status"]["podIPs"]]
            assert not {*nears} & {*olds[0].addresses}
            reach([olds[1].client, use.host(second)], nears)
            reach([use.client(made, near)], olds[1].addresses)
            move(made, second)
            far = use.serve(made, "far", "n2", {"app": "far"})
            fars = [ip["ip"] for ip in far["status"]["podIPs"]]
            reach([use.client(made, near), olds[0].client], [*fars, *olds[1].addresses])
            reach([use.client(made, far), olds[1].client], [*nears, *olds[0].addresses])
        for old in olds:
            assert old.ended
            for seen in old.ended.values():
                assert seen["errors"] == {}
                assert seen["opened"]
                assert seen["exchanged"]
    finally:
        site.remove(name)


def laid(made: Cluster, node: Machine, earlier: Earlier) -> OldPod:
    """The node without our agent, as who was there and the bridge plugin leave it, and a pod on it."""
    agents.stop(node)
    node.run("sluiceway-agent", "cleanup")
    cidrs = pod_cidrs(node.name)
    lines = [
        f"link add {earlier.bridge} type bridge",
        f"link set {earlier.bridge} up",
        "netns add old",
        "link add veth0 type veth peer name eth0 netns old",
    ]
    lines += [f"link set veth0 master {earlier.bridge} up", "-n old link set lo up", "-n old link set eth0 up"]
    addresses = []
    for cidr in cidrs:
        gateway, pod = cidr.network_address + 1, cidr.network_address + 2
        rest = " ".join(at_once(gateway))
        lines += [
            f"addr add {gateway}/{cidr.prefixlen} dev {earlier.bridge} {rest}",
            f"-n old addr add {pod}/{cidr.prefixlen} dev eth0 {rest}",
        ]
        lines += [f"-n old -{cidr.version} route add default via {gateway}"]
        addresses.append(str(pod))
    for other in made.site.nodes:
        if other.name != node.name:
            (four, six), (via4, via6) = pod_cidrs(other.name), other.addresses
            proto = f"proto {earlier.protocol}"
            lines += [f"route replace {four} via {via4} {proto}", f"-6 route replace {six} via {via6} {proto}"]
    lines += [line.format(*cidrs) for line in earlier.more]
    # while the bridge's link-local address is checked for duplicates the node asks for no neighbour there
    node.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
    for line in lines:
        node.run("ip", *line.split())
    node.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=1")
    node.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    kept = f"/var/lib/cni/networks/{earlier.network}"
    node.run(
        "bash", "-c", f"mkdir -p {kept}; for a in {' '.join(addresses)}; do printf 'old\\r\\neth0' > {kept}/$a; done"
    )
    context = ExecContext(netns=Path(f"{node.root}/run/netns/old"))
    node.daemon("old", [*use.SERVER, str(SERVER_PORT)], {"POD_NAME": f"old on {node.name}"}, context=context)
    client = Client(f"old pod on {node.name}", node, context)
    for address in addresses:
        for kind in ("tcp", "udp"):
            listens = partial(client.ask, kind, address, SERVER_PORT, patience_s=use.SILENT_S)
            until(lambda listens=listens: not listens().errors, f"nobody listens in the old pod on {node.name}")  # type: ignore[misc]
    return OldPod(node, tuple(addresses), client)


def move(made: Cluster, node: Machine) -> None:
    """The node's own agent takes over, as docs/migrate/ says, without a drain."""
    item = made.manifests.get("Node", "", node.name)
    assert item is not None
    item["metadata"].setdefault("annotations", {})["sluiceway.io/ipam"] = "host-local"
    made.manifests.put(item)
    agents.start_again(node)
    agents.wait(node)


def reach(clients: list[Client], addresses: list[str] | tuple[str, ...]) -> None:
    """Each asks each, over TCP and UDP."""
    for client in clients:
        for address in addresses:
            for kind in ("tcp", "udp"):
                asked = client.ask(kind, address, SERVER_PORT)
                assert asked.errors == {}, f"{client.title} to {address} by {kind}"
