"""What runs goes on when a part of the cluster dies, and what came meanwhile follows when it is back."""

import pytest

from lab import agents
from lab.kubernetes import control_plane
from tests.cluster.conftest import Namespace, eventually
from tests.cluster.objects import client, server, service

pytestmark = pytest.mark.cluster
WEB = {"app": "web"}


@pytest.fixture
def web(namespace: Namespace) -> Namespace:
    """A service that its client reaches."""
    namespace.apply(server("web", node="n2", labels=WEB), client("client", node="n1"), service("web", WEB))
    assert eventually(lambda: answers(namespace, "web"))
    return namespace


def answers(namespace: Namespace, service_name: str) -> bool:
    """Whether the client reaches the service in both families."""
    urls = [f"http://{address}/hostname" for address in namespace.cluster_ips(service_name)]
    return all(namespace.sh("client", f"curl -s -m 2 {url}").stdout for url in urls)


def test_services_work_while_no_agent_runs(web: Namespace) -> None:
    node = web.cluster.site.nodes[0]
    agents.kill(node)
    try:
        assert answers(web, "web")
    finally:
        agents.start_again(node)
    agents.wait(node)
    assert answers(web, "web")


def test_a_service_made_while_no_agent_ran_works_when_it_is_back(web: Namespace) -> None:
    node = web.cluster.site.nodes[0]
    agents.kill(node)
    try:
        web.apply(service("late", WEB))
    finally:
        agents.start_again(node)
    agents.wait(node)
    assert eventually(lambda: answers(web, "late"))


def test_agents_follow_an_api_server_that_was_restarted(web: Namespace) -> None:
    site = web.cluster.site
    site.control_plane.stop("kube-apiserver")
    site.control_plane.start_again("kube-apiserver")
    control_plane.wait_for_api(site, web.cluster.kubectl)
    web.apply(service("later", WEB))
    assert eventually(lambda: answers(web, "later"))


@pytest.mark.parametrize("daemon", ["containerd", "kubelet"])
def test_pods_start_after_a_restart_of(web: Namespace, daemon: str) -> None:
    node = web.cluster.site.nodes[0]
    node.stop(daemon)
    node.start_again(daemon)
    assert eventually(lambda: answers(web, "web"))
    web.apply(server("new", node="n1"))
