"""The agent has the rights that ``deploy/`` ships, and they are enough."""

import pytest
import yaml

from lab import agents
from lab.kubernetes.agents import MANIFESTS, SERVICE_ACCOUNT
from lab.kubernetes.cluster import Cluster

pytestmark = pytest.mark.cluster
WHO = f"--as=system:serviceaccount:kube-system:{SERVICE_ACCOUNT}"


@pytest.mark.parametrize(
    ("verb", "resource", "answer"),
    [
        pytest.param("watch", "services", "yes", id="it watches services"),
        pytest.param("watch", "endpointslices.discovery.k8s.io", "yes", id="it watches endpoint slices"),
        pytest.param("watch", "pods", "yes", id="it watches the pods of all nodes"),
        pytest.param("watch", "networkpolicies.networking.k8s.io", "yes", id="it watches network policies"),
        pytest.param("create", "events", "yes", id="it reports problems as events"),
        pytest.param("patch", "events", "yes", id="it counts on in them"),
        pytest.param("list", "events", "no", id="it reads nobody's events"),
        pytest.param("get", "services", "no", id="it asks for no service by its name"),
        pytest.param("get", "secrets", "no", id="it reads no secret"),
        pytest.param("update", "services", "no", id="it changes no service"),
        pytest.param("patch", "nodes", "no", id="it changes no node"),
    ],
)
def test_of_the_agents_rights(cluster: Cluster, verb: str, resource: str, answer: str) -> None:
    asked = cluster.kubectl.run("auth", "can-i", verb, resource, "--all-namespaces", WHO, check=False)
    assert asked.stdout.strip() == answer


def test_an_agent_that_starts_is_refused_nothing(cluster: Cluster) -> None:
    node = cluster.site.nodes[0]
    log = node.home / f"{agents.DAEMON}.log"
    before = log.stat().st_size
    agents.stop(node)
    agents.start_again(node)
    agents.wait(node)
    said = log.read_bytes()[before:].decode(errors="replace")
    assert "first sync done" in said
    assert "forbidden" not in said.lower()


def test_the_manifests_are_ones_that_the_api_server_takes(cluster: Cluster) -> None:
    cluster.kubectl.run("apply", "--dry-run=server", *(f"--filename={path}" for path in MANIFESTS.iterdir()))
    objects = yaml.safe_load_all((MANIFESTS / "sluiceway.yaml").read_text())
    (agents_set,) = [found for found in objects if found["kind"] == "DaemonSet"]
    assert agents_set["spec"]["template"]["spec"]["serviceAccountName"] == SERVICE_ACCOUNT
