"""With --router an agent watches BGP's resources, writes their status, and needs what the chart grants for it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent.bgp.keeper import CONFIG, FOLDER, SOCKET
from agent.netlink import netns as namespace
from tests.agent.kube.lease_server import LeaseServer, kubeconfig
from tests.netns.agents import Node
from tests.netns.listing import programs
from tests.netns.test_rights import NODE, Right, used
from tests.patience import until

pytestmark = [pytest.mark.kernel, pytest.mark.netns]
CHART = Path(__file__).resolve().parents[1] / "build/chart/router/rendered.yaml"
GROUP = "sluiceway.io"
PEERS, FILTERS, CONFIGURATIONS = (
    f"/apis/{GROUP}/v1alpha1/{kind}" for kind in ("bgppeers", "bgpfilters", "bgpconfigurations")
)
PEER = {
    "metadata": {"name": "tor", "generation": 1},
    "spec": {"address": "192.0.2.200", "asn": 64600, "filters": ["f"]},
}
FILTER = {"metadata": {"name": "f", "generation": 2}, "spec": {"import": [{"action": "Reject"}]}}
CONFIGURATION = {"metadata": {"name": "all", "generation": 3}, "spec": {"asn": 23456}}


def granted() -> Iterator[Right]:
    """What the chart grants of BGP's resources."""
    for role in yaml.safe_load_all(CHART.read_text()):
        for rule in role.get("rules", ()) if role["kind"] == "ClusterRole" else ():
            if rule["apiGroups"] == [GROUP]:
                yield from (
                    Right(verb, GROUP, resource, "*") for resource in rule["resources"] for verb in rule["verbs"]
                )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    (tmp_path / "node").mkdir()
    made = Node.make(f"swbgp{os.getpid()}", tmp_path / "node")
    yield made
    made.remove()


@pytest.fixture
def api(node: Node) -> Iterator[LeaseServer]:
    with namespace.inside(f"/run/netns/{node.name}"):
        made = LeaseServer()
    made.knows_streams = False
    made.lists = {"/api/v1/nodes": [NODE]}
    made.live = {PEERS, FILTERS, CONFIGURATIONS}
    made.store(f"{PEERS}/tor", PEER)
    made.store(f"{FILTERS}/f", FILTER)
    made.store(f"{CONFIGURATIONS}/all", CONFIGURATION)
    yield made
    made.stop()


def accepted(api: LeaseServer) -> Iterator[tuple[str, int]]:
    """What is written of each, and of which generation."""
    for path in (f"{PEERS}/tor", f"{FILTERS}/f", f"{CONFIGURATIONS}/all"):
        for one in api.objects[path].get("status", {}).get("conditions", ()):
            yield one["status"], one["observedGeneration"]


def test_alone_it_writes_their_status_and_uses_all_rights_of_bgp(node: Node, api: LeaseServer) -> None:
    alone = ("--router=on", "--network=chained", "--network-policy=off", "--service-proxy=off")
    process = node.start_with_api(kubeconfig(node.root, api.port), *alone)
    folder = node.root / "run" / FOLDER
    until((folder / CONFIG).exists)
    argv = [*node.inside, "bird", "-f", "-R", "-c", str(folder / CONFIG), "-s", str(folder / SOCKET)]
    bird = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    try:
        until(lambda: "nodes" in api.objects[f"{PEERS}/tor"].get("status", {}))
        (entry,) = api.objects[f"{PEERS}/tor"]["status"]["nodes"].items()
        assert entry[0] == "n1"
        assert entry[1]["state"] == "Down"
        until(lambda: [*accepted(api)] == [("True", 1), ("True", 2), ("False", 3)])
        assert api.objects[f"{FILTERS}/f"]["status"]["peers"] == ["tor"]
        until(lambda: {one.granted for one in _used(api)} == {*granted()})
        assert programs(node) == []
    finally:
        bird.kill()
        bird.wait()
        node.end(process)


def _used(api: LeaseServer) -> Iterator[Right]:
    return (one for one in (used(*request) for request in [*api.asked]) if one.group == GROUP)
