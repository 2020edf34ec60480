"""How the demo, tests and benchmarks use a cluster: servers and clients in pods, and what the clients saw."""

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from lab import pods
from lab.client import LATE, TIMEOUT_S
from lab.cluster import Cluster
from lab.errors import LabError
from lab.machine import MACHINE_ITSELF, ExecContext, Machine
from lab.manifests import Object
from lab.pods import Port

SERVER_PORT = 8080
SILENT_S = 3.0  # how long one who is not to be answered waits
_HERE = Path(__file__).parent
# the scripts need the standard library alone, and start in half the time
SERVER = (sys.executable, "-I", "-S", str(_HERE / "server.py"))
CLIENT = (sys.executable, "-I", "-S", str(_HERE / "client.py"))
PORTS = (Port("tcp", SERVER_PORT), Port("udp", SERVER_PORT, "UDP"))
OWN_PORTS = range(10000, 20000)  # which no kernel draws; scripts that want one port take a later one


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client saw: how often whom, which errors, and the slowest answer."""

    answers: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    slowest_s: float = 0.0

    @property
    def names(self) -> frozenset[str]:
        """Who answered."""
        return frozenset(self.answers)

    @property
    def is_refused(self) -> bool:
        """Whether each was refused, and at once."""
        return (
            bool(self.errors)
            and not self.answers
            and all("ConnectionRefused" in error and LATE not in error for error in self.errors)
        )


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a client under load saw, by the end."""

    opened: int
    exchanged: int
    answers: Mapping[str, int]
    errors: Mapping[str, int]


@dataclass(slots=True)
class Load:
    """A client under load that runs; what it saw is there when it has ended."""

    seen: Loaded | None = None


class Turns:
    """Ports to ask from over UDP, each in its turn.

    A node knows a flow for a while after its last datagram: what comes from its port then is taken for more of it.
    """

    def __init__(self, ports: range) -> None:
        self._ports, self._next, self._lock = ports, ports.start, Lock()

    def take(self, count: int) -> int:
        """The first of so many in a row."""
        with self._lock:
            first = self._next if self._next + count <= self._ports.stop else self._ports.start
            self._next = first + count
        return first


_OWN = Turns(OWN_PORTS)


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody who asks: a machine, or a pod on it."""

    title: str
    machine: Machine
    context: ExecContext = MACHINE_ITSELF

    def ask(self, kind: str, address: str, port: int, count: int = 1, patience_s: float = TIMEOUT_S) -> Asked:
        """Ask *count* times, over "tcp" or "udp", each by a new socket that waits for *patience_s*."""
        first = _OWN.take(count) if kind == "udp" else 0
        argv = [*CLIENT, "ask", kind, address, str(port), str(count), str(patience_s), str(first)]
        done = self.machine.run(*argv, context=self.context)
        return Asked(**json.loads(done.stdout))


def serve(cluster: Cluster, called: str, node: str, labels: Mapping[str, str]) -> Object:
    """A pod that answers with its name, over TCP and UDP."""
    return cluster.run(called, node, [*SERVER, str(SERVER_PORT)], labels=labels, ports=PORTS)


def idle(cluster: Cluster, called: str, node: str) -> Client:
    """A pod to ask from."""
    return client(cluster, cluster.run(called, node, ["sleep", "infinity"]))


def client(cluster: Cluster, item: Object) -> Client:
    """Ask from this pod."""
    machine = cluster.machine_of(item)
    return Client(f"pod {item['metadata']['name']} on {machine.name}", machine, pods.exec_context(machine, item))


def host(machine: Machine) -> Client:
    """Ask from a machine itself."""
    return Client(machine.name, machine)


@contextmanager
def load(cluster: Cluster, called: str, node: str, target: tuple[str, int], kept: int = 8) -> Iterator[Load]:
    """A pod that connects to *target* all the time and talks on *kept* connections, while the block runs."""
    address, port = target
    item = cluster.run(called, node, [*CLIENT, "load", address, str(port), str(kept)])
    machine, running = cluster.machine_of(item), Load()
    try:
        yield running
        pods.end(machine, item, signal.SIGTERM, within_s=3 * TIMEOUT_S)  # what it asked last may wait as long
        text = pods.log(machine, item).read_text(errors="replace")
        try:
            running.seen = Loaded(**json.loads(text.splitlines()[-1]))
        except (ValueError, IndexError) as error:
            raise LabError(f"{called} printed no result: {text[-500:]}") from error
    finally:
        cluster.delete(called, grace_s=0)
