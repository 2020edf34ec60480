"""Connections a second from pod to pod through a ClusterIP, against plain routing straight to the backend.

One after another: connect, 64 octets there and back, close (``connections.c``), client and server on one core. Ours
is measured as it ships, where the socket hooks choose the backend, and without them, where tc does, packet by packet.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from agent.kernel.programs.hooks import SOCKET_HOOKS
from agent.options import mounts
from bench import tools
from bench.plane import BACKEND_PORT, FIRST_SERVICE, SERVICE_PORT, Plane
from bench.sets import Result, middle, one_cpu, undisturbed
from bench.stream import TCP
from bench.testbed import PREFIX, RECEIVER, Testbed, two_pods
from maps import libbpf
from maps.abi import DropReason

SERVICES = 10_000
LIMIT = 0.9  # times plain routing, at least
SHOT_MS = 400
# connections one after another use up a client's ports: all of them, and soon again
PORTS = {"ipv4/ip_local_port_range": "1024 65535", "ipv4/tcp_tw_reuse": "1"}


def measured(sets: int, services: int = SERVICES, shot_ms: int = SHOT_MS) -> list[Result]:
    """Both ratios, each held to the limit."""
    one_cpu()
    ratios: dict[str, list[float]] = {"socket hooks": [], "at tc": []}
    plain_us: list[float] = []
    with ExitStack() as stack:
        program = tools.c_program("connections", Path(stack.enter_context(tempfile.TemporaryDirectory())))
        bed = stack.enter_context(two_pods("connect"))
        bed.knobs("a", PORTS)
        cgroup = stack.enter_context(_cgroup())
        plane = Plane.load(("tc_pod", "sock"))
        stack.callback(plane.close)
        plane.fill(bed.pods(), services, (RECEIVER,), TCP)
        straight, service = f"{RECEIVER}:{BACKEND_PORT}", f"{FIRST_SERVICE + services // 2}:{SERVICE_PORT}"
        for _ in range(sets):
            for way, found in ratios.items():
                plain = _rate(program, bed, cgroup, straight, shot_ms)
                with ExitStack() as hooks:
                    hooks.enter_context(bed.attached(plane))
                    if way == "socket hooks":
                        hooks.enter_context(_sockets(plane, cgroup))
                    rate = _rate(program, bed, cgroup, service, shot_ms)
                _check(plane)
                plane.forget_flows()
                found.append(rate / plain)
                plain_us.append(1e6 / plain)
    return _results(ratios, plain_us, services)


def _rate(program: Path, bed: Testbed, cgroup: Path, to: str, shot_ms: int) -> float:
    """Connections a second."""
    listen = f"{RECEIVER}:{BACKEND_PORT}"
    command = [str(program), bed.path("b"), bed.path("a"), str(cgroup / "cgroup.procs"), listen, to, str(shot_ms)]
    with undisturbed():
        said = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
    count, ns = map(int, said.split())
    return count / ns * 1e9


def _check(plane: Plane) -> None:
    """Every packet was forwarded, and there were some."""
    counted = plane.counted()
    if set(counted) != {DropReason.DROP_NONE}:
        raise SystemExit(f"connections: our programs counted {counted}")


@contextmanager
def _cgroup() -> Iterator[Path]:
    """A cgroup of our own for the client, so that no other process meets the socket hooks."""
    root = mounts.cgroup2(mounts.MOUNTINFO.read_text())
    if root is None:
        raise SystemExit("connections: no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup")
    folder = root / f"{PREFIX}{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        folder.rmdir()


@contextmanager
def _sockets(plane: Plane, cgroup: Path) -> Iterator[None]:
    """Have the socket programs on a cgroup, as the agent does."""
    with ExitStack() as links:
        target = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        links.callback(os.close, target)
        for program, hook in SOCKET_HOOKS.items():
            link = libbpf.link_create(plane.programs[program], target, hook)
            links.callback(os.close, link)
            links.callback(libbpf.link_detach, link)
        yield


def _results(ratios: Mapping[str, list[float]], plain_us: list[float], services: int) -> list[Result]:
    plain = middle("plain routing, one connection", plain_us, "us")
    ours = (middle(f"{way}, {services:,} services, to plain", found, at_least=LIMIT) for way, found in ratios.items())
    return [Result(plain.what, plain.value, plain.unit), *ours]
