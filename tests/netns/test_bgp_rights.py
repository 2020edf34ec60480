"""With --router an agent watches BGP's resources, writes a BGPPeer's status, and needs what the chart grants for it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent.bgp.keeper import CONFIG, FOLDER, SOCKET
from agent.netlink import netns as namespace
from tests.agent.kube.lease_server import LeaseServer, kubeconfig
from tests.netns.agents import READY_S, Node
from tests.netns.listing import programs
from tests.netns.test_announce import until
from tests.netns.test_rights import NODE, Right, used

pytestmark = [pytest.mark.kernel, pytest.mark.netns]
CHART = Path(__file__).resolve().parents[1] / "build/chart/router/rendered.yaml"
PEERS, GROUP = "/apis/sluiceway.io/v1alpha1/bgppeers", "sluiceway.io"
PEER = {"metadata": {"name": "tor"}, "spec": {"address": "192.0.2.200", "asn": 64600}}


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
    made.lists = {"/api/v1/nodes": [NODE], PEERS: [made.store(f"{PEERS}/tor", PEER)]}
    yield made
    made.stop()


def test_alone_it_writes_a_peers_status_and_uses_all_rights_of_bgp(node: Node, api: LeaseServer) -> None:
    alone = ("--router=on", "--network=chained", "--network-policy=off", "--service-proxy=off")
    process = node.start_with_api(kubeconfig(node.root, api.port), *alone)
    folder = node.root / "run" / FOLDER
    until((folder / CONFIG).exists, READY_S)
    argv = [*node.inside, "bird", "-f", "-R", "-c", str(folder / CONFIG), "-s", str(folder / SOCKET)]
    bird = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    try:
        until(lambda: "status" in api.objects[f"{PEERS}/tor"], READY_S)
        (entry,) = api.objects[f"{PEERS}/tor"]["status"]["nodes"].items()
        assert entry[0] == "n1"
        assert entry[1]["state"] != "Established"
        until(lambda: {one.granted for one in _used(api)} == {*granted()}, READY_S)
        assert programs(node) == []
    finally:
        bird.kill()
        bird.wait()
        node.end(process)


def _used(api: LeaseServer) -> Iterator[Right]:
    return (one for one in (used(*request) for request in [*api.asked]) if one.group == GROUP)
