"""Nodes claim blocks of a pool at the real API server, and pods of them reach each other over an agent's death."""

import json
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest

from lab import agents
from lab.kubernetes.agents import MANIFESTS
from lab.machine import Machine
from tests.cluster.conftest import Namespace, eventually
from tests.cluster.objects import PORT, server
from tests.cluster.test_network import restart

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

POOL, FLAGS = "lent", ("--ip-pools=on",)
RANGES = ("10.61.0.0/16", "fd00:61::/64")
LENGTHS = {"ipv4": 29, "ipv6": 125}
HOST = {4: "{}", 6: "[{}]"}


@pytest.fixture
def nodes(namespace: Namespace) -> Iterator[list[Machine]]:
    """Two nodes that give pods of the namespace addresses of a pool; afterwards nothing is left of it."""
    kubectl = namespace.cluster.kubectl
    kubectl.run("apply", "--server-side", "-f", str(MANIFESTS / "ippools.yaml"))
    kubectl.run("wait", "--for=condition=Established", "crd/ippools.sluiceway.io", "crd/ipblocks.sluiceway.io")
    mine = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    spec = {"cidrs": RANGES, "blockSize": LENGTHS, "assignment": "Automatic", "namespaceSelector": mine}
    about = {"apiVersion": "sluiceway.io/v1alpha1", "kind": "IPPool", "metadata": {"name": POOL}}
    kubectl.apply(json.dumps({**about, "spec": spec}))
    found = list(namespace.cluster.site.neighbours[:2])  # a router between them knows of no blocks
    for node in found:
        restart(node, FLAGS)
    yield found
    namespace.kubectl("delete", "pod", "--all", "--timeout=180s")
    for node in found:
        restart(node)
    kubectl.run("delete", "-f", str(MANIFESTS / "ippools.yaml"))


def blocks(namespace: Namespace) -> dict[str, str]:
    """Which node has which block."""
    found = namespace.cluster.kubectl.get("ipblocks.sluiceway.io")["items"]
    return {one["spec"]["cidr"]: one["spec"]["node"] for one in found}


def addresses(namespace: Namespace, pod: str) -> list[str]:
    """A pod's addresses as its status has them."""
    return [one["ip"] for one in namespace.get("pod", pod)["status"]["podIPs"]]


def owners(namespace: Namespace, pod: str) -> list[str]:
    """The nodes in whose blocks a pod's addresses are, one for each address."""
    claimed = {ip_network(cidr): node for cidr, node in blocks(namespace).items()}
    found = map(ip_address, addresses(namespace, pod))
    return [node for one in found for block, node in claimed.items() if one in block]


def reaches(namespace: Namespace, asking: str, asked: str) -> bool:
    """Whether a pod is answered by another in each family, and is seen under its own address."""
    own = addresses(namespace, asking)
    for at, address in enumerate(addresses(namespace, asked)):
        url = f"http://{HOST[ip_address(address).version].format(address)}:{PORT}/clientip"
        seen = namespace.sh(asking, f"curl -gs -m 5 '{url}'").stdout
        if own[at] not in seen:
            return False
    return True


def test_two_nodes_claim_blocks_and_an_agent_that_died_keeps_its_own(
    namespace: Namespace, nodes: list[Machine]
) -> None:
    first, second = nodes
    namespace.apply(server("a", node=first.name), server("b", node=second.name))
    assert owners(namespace, "a") == [first.name, first.name]
    assert owners(namespace, "b") == [second.name, second.name]
    claimed = blocks(namespace)
    assert len(claimed) == len(nodes) * len(RANGES)
    for asking, asked in (("a", "b"), ("b", "a")):
        assert eventually(lambda asking=asking, asked=asked: reaches(namespace, asking, asked))  # type: ignore[misc]
    agents.kill(first)
    assert reaches(namespace, "b", "a"), "while no agent runs there"
    agents.start_again(first, flags=FLAGS)
    agents.wait(first)
    namespace.apply(server("later", node=first.name))
    assert (owners(namespace, "later"), blocks(namespace)) == ([first.name, first.name], claimed)
    assert not {*addresses(namespace, "later")} & {*addresses(namespace, "a")}
    assert eventually(lambda: reaches(namespace, "b", "later"))
    assert reaches(namespace, "a", "b")
