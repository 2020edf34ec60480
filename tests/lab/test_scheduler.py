"""A service's scheduler at the sockets of pods and of the node: who is given a connection, and what counts of it."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from lab import agents
from lab.use import Client
from tests.behaviours import shows
from tests.lab.conftest import BACKENDS, Echo
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])
WHO = pytest.mark.parametrize("who", ["a pod", "the node"])
KINDS = pytest.mark.parametrize("kind", ["tcp", "udp"])
NUMBERS = count(1)
SERVICE = """
kind: Service
metadata:
  name: {called}
  annotations: {{sluiceway.io/scheduler: "{scheduler}", sluiceway.io/weights: "{weights}"}}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {{app: echo}}
  sessionAffinity: {affinity}
  ports:
  - {{name: tcp, port: 80, targetPort: 8080}}
  - {{name: udp, port: 80, targetPort: 8080, protocol: UDP}}
"""
# sockets that stay open until standard input ends: prints who answered each; each line that it reads opens so many more
HOLDS = """
import socket, sys
kind, address = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
held = []
for line in sys.stdin:
    names = []
    for _ in range(int(line)):
        asking = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        asking.settimeout(15)
        if kind == "tcp":
            asking.connect((address, 80))
            names.append(asking.makefile().readline().strip())
        else:
            asking.sendto(b"x" * 100, (address, 80))
            names.append(asking.recv(100).decode())
        held.append(asking)
    print(*names, flush=True)
"""


class Holder:
    """A process that holds sockets open."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def open(self, count: int) -> Counter[str]:
        """Open so many more; who answered them."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return Counter(self.process.stdout.readline().split())


@contextmanager
def holding(asking: Client, kind: str, address: str) -> Iterator[Holder]:
    """A process that holds sockets to the address open while the block runs, or until it is killed."""
    argv = asking.machine.command([sys.executable, "-I", "-S", "-c", HOLDS, kind, address], asking.context)
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Holder(process)
    finally:
        process.kill()
        process.communicate()


class Shared:
    """A service of a test's own: at tc datagrams' flows outlive the sockets that sent them."""

    def __init__(self, echo: Echo, called: str) -> None:
        self.echo, self.called = echo, called
        self.names = {ip: name for name in BACKENDS for ip in echo.pod_ips(name)}

    def now(self, scheduler: str, weights: str = "", affinity: str = "None") -> list[str]:
        """The service so, once the node from which it is asked has it; its addresses."""
        text = SERVICE.format(called=self.called, scheduler=scheduler, weights=weights, affinity=affinity)
        (service,) = self.echo.cluster.apply(text)
        pairs = (entry.partition("=") for entry in weights.split(",") if entry)
        wanted = {target.removeprefix("target/"): int(weight) for target, _, weight in pairs}

        def is_known() -> bool:
            rows = self.rows()
            return len(rows) == 12 and all(  # three backends, two ports, two families
                (row["scheduler"], row["weight"]) == (scheduler, wanted.get(self._name(row), 1)) for row in rows
            )

        until(is_known)
        found: list[str] = service["spec"]["clusterIPs"]
        return found

    def rows(self) -> list[dict[str, Any]]:
        """What dpctl says of it; nothing where the node has not heard of it."""
        argv = (str(Path(sys.prefix) / "bin" / "dpctl"), "service", "show", f"default/{self.called}", "-o", "json")
        done = self.echo.asking.machine.run(*argv, check=False)
        found: list[dict[str, Any]] = json.loads(done.stdout) if done.returncode == 0 else []
        return found

    def open(self, kind: str, family: int) -> Counter[str]:
        """How many flows and sockets the node counts for each pod."""
        wanted = (kind, ("IPv4", "IPv6")[family])
        rows = [row for row in self.rows() if (row["port_name"], row["family"]) == wanted]
        return Counter({self._name(row): row["open"] for row in rows})

    def _name(self, row: dict[str, Any]) -> str:
        return self.names[row["backend"]["address"]]


@pytest.fixture
def service(echo: Echo) -> Iterator[Shared]:
    """A service, with the socket hook and without."""
    yield from _service(echo)


def _service(echo: Echo) -> Iterator[Shared]:
    called = f"shared-{next(NUMBERS)}"
    yield Shared(echo, called)
    echo.cluster.remove("Service", called)


def asking_of(echo: Echo, who: str) -> Client:
    return echo.asking if who == "a pod" else echo.node("n1")


@KINDS
@FAMILIES
@WHO
def test_connections_are_given_in_turn(echo: Echo, service: Shared, who: str, family: int, kind: str) -> None:
    address = service.now("rr")[family]
    with holding(asking_of(echo, who), kind, address) as sockets:
        assert set(sockets.open(12).values()) == {4}


@KINDS
@FAMILIES
@shows("136 weights", WHO)
def test_connections_are_given_by_weight(echo: Echo, service: Shared, who: str, family: int, kind: str) -> None:
    address = service.now("rr", "target/web1=3,target/web2=1,target/web3=0")[family]
    with holding(asking_of(echo, who), kind, address) as sockets:
        assert sockets.open(12) == {"web1": 9, "web2": 3}


@KINDS
@FAMILIES
@shows("136 least connections", WHO)
def test_who_has_fewest_open_is_given_the_next(echo: Echo, service: Shared, who: str, family: int, kind: str) -> None:
    address = service.now("lc")[family]
    with holding(asking_of(echo, who), kind, address) as sockets:
        assert set(sockets.open(6).values()) == {2}
        assert service.open(kind, family) == dict.fromkeys(BACKENDS, 2)
        service.now("lc", "target/web1=0,target/web2=0")
        assert sockets.open(4) == {"web3": 4}
        service.now("lc")
        assert sockets.open(8) == {"web1": 4, "web2": 4}
        run = counting_run(echo)
        until(lambda: counting_run(echo) > run + 1)
        assert service.open(kind, family) == dict.fromkeys(BACKENDS, 6), "conntrack GC counts the same"


def counting_run(echo: Echo) -> int:
    """How many runs of conntrack GC have ended on the node."""
    done = echo.asking.machine.run(str(Path(sys.prefix) / "bin" / "dpctl"), "map", "dump", "load_walks", "-o", "json")
    (entry,) = json.loads(done.stdout)
    return int(entry["value"]["run"])


@FAMILIES
def test_a_socket_that_is_closed_counts_no_more_at_once(echo_socket: Echo, family: int) -> None:
    for service in _service(echo_socket):
        address = service.now("lc")[family]
        with holding(echo_socket.asking, "tcp", address) as sockets:
            sockets.open(9)
            assert service.open("tcp", family).total() == 9
        assert service.open("tcp", family).total() == 0


@FAMILIES
def test_a_connection_that_is_closed_counts_no_more_when_it_is_counted_again(echo_tc: Echo, family: int) -> None:
    for service in _service(echo_tc):
        address = service.now("lc")[family]
        with holding(echo_tc.asking, "tcp", address) as sockets:
            sockets.open(9)
            assert service.open("tcp", family).total() == 9
        until(lambda: service.open("tcp", family).total() == 0)  # noqa: B023  called here


@pytest.mark.timeout(900)
def test_counts_outlive_the_agent_and_its_maps(echo: Echo, service: Shared) -> None:
    """An agent is killed, and another has maps of other sizes; connections end while there is none."""
    address, node = service.now("lc")[0], echo.asking.machine
    with holding(echo.asking, "tcp", address) as kept:
        kept.open(6)
        with holding(echo.asking, "tcp", address) as leaving:
            leaving.open(6)
            agents.kill(node)
        until(lambda: service.open("tcp", 0).total() == 6)
        agents.start_again(node, flags=["--max-services=1000"])
        try:
            agents.wait(node)
            until(lambda: service.open("tcp", 0) == dict.fromkeys(BACKENDS, 2))
            assert set(kept.open(3).values()) == {1}
        finally:
            agents.kill(node)
            agents.start_again(node)
            agents.wait(node)
        until(lambda: service.open("tcp", 0) == dict.fromkeys(BACKENDS, 3))
    until(lambda: service.open("tcp", 0).total() == 0)


@KINDS
@FAMILIES
@WHO
@pytest.mark.parametrize("scheduler", ["sh", "mh", "dh"])
def test_a_client_is_given_one_backend_by_its_address(
    echo: Echo, service: Shared, who: str, family: int, kind: str, scheduler: str
) -> None:
    address = service.now(scheduler)[family]
    with holding(asking_of(echo, who), kind, address) as sockets:
        assert len(sockets.open(8)) == 1


@KINDS
@shows("45 affinity is switched live", FAMILIES)
def test_affinity_comes_and_goes_on_a_live_service(echo: Echo, service: Shared, family: int, kind: str) -> None:
    address = service.now("rr")[family]
    with holding(echo.asking, kind, address) as sockets:
        assert len(sockets.open(6)) == 3
        service.now("rr", affinity="ClientIP")
        until(lambda: len(sockets.open(3)) == 1)
        assert len(sockets.open(6)) == 1
        service.now("rr")
        until(lambda: len(sockets.open(3)) == 3)


# from a raw socket, which no hook sees: the packet is the first thing that does; prints who answers the bound ones
RAW = """
import socket, struct, sys
address, count = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
for _ in range(count):
    with socket.socket(family, socket.SOCK_DGRAM) as bound, socket.socket(family, socket.SOCK_RAW, 17) as raw:
        bound.settimeout(15)
        bound.bind(("", 0))
        if family == socket.AF_INET6:
            raw.setsockopt(socket.IPPROTO_IPV6, 7, 6)  # IPV6_CHECKSUM: at this offset, by the kernel
        content = b"x" * 100
        raw.sendto(struct.pack("!4H", bound.getsockname()[1], 80, 8 + len(content), 0) + content, (address, 0))
        print(bound.recv(100).decode(), end=" ")
"""


@FAMILIES
@pytest.mark.parametrize("first", ["socket", "tc"])
def test_affinity_is_one_at_the_socket_and_at_the_device(echo_socket: Echo, family: int, first: str) -> None:
    """Who began by the one goes on by the other with the same backend, though turns would give each another."""
    for service in _service(echo_socket):
        address = service.now("rr", affinity="ClientIP")[family]

        def at_socket(address: str = address) -> set[str]:
            with holding(echo_socket.asking, "udp", address) as sockets:
                return set(sockets.open(4))

        def at_tc(address: str = address) -> set[str]:
            asking = echo_socket.asking
            done = asking.machine.run(sys.executable, "-I", "-S", "-c", RAW, address, "4", context=asking.context)
            return set(done.stdout.split())

        begins, goes_on = (at_socket, at_tc) if first == "socket" else (at_tc, at_socket)
        (backend,) = begins()
        assert backend in BACKENDS
        assert goes_on() == {backend}


def test_a_source_hash_chooses_alike_at_sockets_and_at_devices(echo_socket: Echo, echo_tc: Echo) -> None:
    """The labs' pods have the same addresses, and so the tables are the same."""
    seen = []
    for echo in (echo_socket, echo_tc):
        for service in _service(echo):
            address = service.now("sh")[0]
            with holding(echo.asking, "tcp", address) as sockets:
                seen.append((echo.pod_ips("web1"), sockets.open(2)))
    assert seen[0] == seen[1]
