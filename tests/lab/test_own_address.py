"""A service's address that nodes have themselves: kube-vip gives them load balancers', NodeLocal DNS a cluster IP."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import use
from lab.machine import Machine
from lab.use import Client
from tests.lab.conftest import Echo
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

KINDS = pytest.mark.parametrize("kind", ["tcp", "udp"])
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])
FIELDS = pytest.mark.parametrize("field", ["externalIPs", "clusterIPs"])
WHO = pytest.mark.parametrize("who", ["a pod", "the node"])
NODES = ("n1", "n2")
SERVICE = """
kind: Service
metadata: {name: own}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {at: n1}
  externalIPs: [192.0.2.90, "2001:db8::90"]
  ports: [{name: tcp, port: 80, targetPort: 8080}, {name: udp, port: 80, targetPort: 8080, protocol: UDP}]
"""
# answers over TCP and UDP at ports 80 and 81 of the addresses that are given
LISTENER = """
import socket, sys, threading
def streams(own):
    while True:
        connection, _ = own.accept()
        connection.sendall(b"the listener\\n")
        connection.close()
def datagrams(own):
    while True:
        _, client = own.recvfrom(65536)
        own.sendto(b"the listener", client)
for address, port in ((address, port) for address in sys.argv[1:] for port in (80, 81)):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    own = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    own.bind((address, port))
    threading.Thread(target=datagrams, args=(own,)).start()
    threading.Thread(target=streams, args=(socket.create_server((address, port), family=family),)).start()
print("listens", flush=True)
"""
FROM = """
import socket, sys
source, target = sys.argv[2:]
family = socket.AF_INET6 if ":" in source else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM) as asking:
    asking.settimeout(15)
    asking.bind((source, 0))
    asking.connect((target, 80))
    asking.send(b"x\\n")
    print(asking.recv(100).decode().split()[0])
"""


@dataclass(frozen=True, slots=True)
class Own:
    """A service with a backend on n1, whose addresses n1 and n2 have, and a pod on each of them."""

    echo: Echo
    spec: dict[str, list[str]]
    pods: dict[str, Client]

    def asking(self, who: str, node: str) -> Client:
        """Somebody on the node."""
        return self.pods[node] if who == "a pod" else self.echo.node(node)


@pytest.fixture(scope="module", params=["socket", "tc"])
def own(request: pytest.FixtureRequest) -> Iterator[Own]:
    """With the socket hook, then without it."""
    echo: Echo = request.getfixturevalue(f"echo_{request.param}")
    made = echo.cluster
    (service,) = made.apply(SERVICE)
    spec = {field: service["spec"][field] for field in ("externalIPs", "clusterIPs")}
    every = [address for found in spec.values() for address in found]
    for name in NODES:
        change(echo.cluster.site.machine(name), "add", every)
    pods = {name: use.idle(made, f"own-{name}", name) for name in NODES}
    yield Own(echo, spec, pods)
    for name in NODES:
        change(echo.cluster.site.machine(name), "del", every)
        made.delete(f"own-{name}")
    made.remove("Service", "own")


def change(node: Machine, how: str, addresses: list[str]) -> None:
    """Give the node's lo the addresses, or take them; returns when its agent has seen it."""
    for address in addresses:
        node.run("ip", "address", how, f"{address}/{128 if ':' in address else 32}", "dev", "lo")
    dpctl = str(Path(sys.prefix) / "bin" / "dpctl")

    def is_seen() -> bool:
        rows = json.loads(node.run(dpctl, "endpoint", "list", "-o", "json").stdout)
        known = {row["address"] for row in rows}
        return known.isdisjoint(addresses) if how == "del" else known.issuperset(addresses)

    until(is_seen)


@contextmanager
def listener(own: Own, *addresses: str) -> Iterator[None]:
    """A process of n2 that answers there."""
    node = own.echo.cluster.site.machine("n2")
    node.daemon("listener", [sys.executable, "-u", "-c", LISTENER, *addresses])
    try:
        while "listens" not in node.log_tail("listener").splitlines()[-1:]:
            assert node.daemon_process("listener") is not None, node.log_tail("listener")
        yield
    finally:
        node.stop("listener")
        (node.home / "listener.log").unlink()


@KINDS
@FAMILIES
@FIELDS
@WHO
@pytest.mark.parametrize("node", [pytest.param("n1", id="backend here"), pytest.param("n2", id="backend elsewhere")])
def test_the_service_answers(own: Own, kind: str, family: int, field: str, who: str, node: str) -> None:
    assert own.asking(who, node).ask(kind, own.spec[field][family], 80, 3).answers == {"web1": 3}


@KINDS
@FAMILIES
@FIELDS
def test_the_node_asks_other_services_under_such_an_address(own: Own, kind: str, family: int, field: str) -> None:
    argv = [sys.executable, "-c", FROM, kind, own.spec[field][family], own.echo.ips("itself")[family]]
    assert own.echo.node("n2").machine.run(*argv).stdout.strip() == "web1"


@KINDS
@FAMILIES
@WHO
def test_a_listener_at_a_cluster_ip_answers_in_the_services_place_while_it_is_there(
    own: Own, kind: str, family: int, who: str
) -> None:
    addresses = own.spec["clusterIPs"]
    with listener(own, *addresses):
        assert own.asking(who, "n2").ask(kind, addresses[family], 80, 3).names == {"the listener"}
        assert own.asking(who, "n1").ask(kind, addresses[family], 80, 3).names == {"web1"}
    assert own.asking(who, "n2").ask(kind, addresses[family], 80, 3).names == {"web1"}


@KINDS
@FAMILIES
@FIELDS
@WHO
def test_a_listener_at_every_address_or_an_external_one_is_passed_by(
    own: Own, kind: str, family: int, field: str, who: str
) -> None:
    addresses = own.spec["externalIPs"] if field == "externalIPs" else ["0.0.0.0", "::"]
    with listener(own, *addresses):
        assert own.asking(who, "n2").ask(kind, own.spec[field][family], 80, 3).names == {"web1"}


@KINDS
@FAMILIES
@FIELDS
@pytest.mark.parametrize("who", ["a pod", "the node", "the outside"])
def test_a_listener_at_a_port_that_no_service_has_answers_and_without_it_the_node_refuses(
    own: Own, kind: str, family: int, field: str, who: str
) -> None:
    address = own.spec[field][family]
    asking = own.echo.outside if who == "the outside" else own.asking(who, "n2")
    if who == "the outside":
        via = str(own.echo.cluster.site.machine("n2").addresses[family])
        asking.machine.run("ip", "route", "replace", address, "via", via)
    with listener(own, address):
        assert asking.ask(kind, address, 81, 3).names == {"the listener"}
    seen = asking.ask(kind, address, 81)
    assert not seen.names
    assert all("ConnectionRefused" in error for error in seen.errors)
