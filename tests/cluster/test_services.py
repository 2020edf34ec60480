"""Services reach their pods without kube-proxy, from wherever a client is."""

import pytest

from tests.cluster.conftest import Namespace, eventually
from tests.cluster.objects import client, server, service

pytestmark = pytest.mark.cluster
WEB = {"app": "web"}


@pytest.fixture
def web(namespace: Namespace) -> Namespace:
    """A NodePort service with a backend on two of the nodes, and clients on the third."""
    namespace.apply(
        server("web-1", node="n1", labels=WEB),
        server("web-2", node="n2", labels=WEB),
        client("client", node="n3"),
        client("host-client", node="n3", host_network=True),
        service("web", WEB, type="NodePort"),
    )
    for address in namespace.cluster_ips("web"):
        for pod in ("client", "host-client"):
            assert eventually(lambda url=f"http://{address}/", pod=pod: is_open(namespace, pod, url))  # type: ignore[misc]
    return namespace


def is_open(namespace: Namespace, pod: str, url: str) -> bool:
    """Whether *pod* gets an answer from *url*."""
    return namespace.sh(pod, f"curl -gs -m 2 {url}").returncode == 0


@pytest.mark.parametrize("pod", ["client", "host-client"])
def test_a_cluster_ip_spreads_over_its_backends(web: Namespace, pod: str) -> None:
    for address in web.cluster_ips("web"):
        asked = web.sh(pod, f"for i in $(seq 30); do curl -sS -m 20 http://{address}/hostname; echo; done")
        assert set(asked.stdout.split()) == {"web-1", "web-2"}, asked.stderr


def test_a_cluster_ip_serves_udp_beside_tcp(web: Namespace) -> None:
    [address, _] = web.cluster_ips("web")
    asked = web.sh("client", f"echo hostname | timeout 30 nc -u -w 5 {address} 80")
    assert asked.stdout.strip() in {"web-1", "web-2"}, asked.stderr


def test_a_node_port_is_open_on_every_node_for_a_host_outside(web: Namespace) -> None:
    port = web.get("service", "web")["spec"]["ports"][0]["nodePort"]
    for node in web.cluster.site.nodes:
        for address in node.addresses:
            url = f"http://[{address}]:{port}" if address.version == 6 else f"http://{address}:{port}"
            asked = web.cluster.site.outside.run("curl", "-gsS", "-m", "5", f"{url}/hostname", check=False)
            assert asked.stdout in {"web-1", "web-2"}, f"{url}: {asked.stderr}"


def test_a_service_is_found_by_its_name(web: Namespace) -> None:
    asked = web.sh("client", f"curl -sS -m 20 http://web.{web.name}.svc.cluster.local/hostname")
    assert asked.stdout in {"web-1", "web-2"}, asked.stderr


def test_a_service_without_a_backend_refuses(namespace: Namespace) -> None:
    namespace.apply(client("client", node="n1"), service("empty", {"app": "nobody"}))
    for address in namespace.cluster_ips("empty"):
        command = f"curl -s -m 5 -o /dev/null http://{address}/; echo $?"
        assert eventually(lambda command=command: namespace.sh("client", command).stdout.strip() == "7")  # type: ignore[misc]


def test_a_pod_reaches_itself_through_its_service(namespace: Namespace) -> None:
    namespace.apply(server("alone", node="n1", labels=WEB), service("web", WEB))
    for address in namespace.cluster_ips("web"):
        asked = f"curl -s -m 5 http://{address}/hostname"
        assert eventually(lambda asked=asked: namespace.sh("alone", asked).stdout == "alone")  # type: ignore[misc]
