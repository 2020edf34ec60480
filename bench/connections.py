"""Connections a second from pod to pod through a ClusterIP, against plain routing straight to the backend.

One after another: connect, 64 octets there and back, close (``connections.c``), client and server on one core. Ours
is measured as it ships, where the socket hooks choose the backend, and without them, where tc does, packet by packet;
beside it the programs of an earlier commit, and the floor, which hands on what goes straight to the backend.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from agent.kernel.programs.hooks import SOCKET_HOOKS
from agent.options import mounts
from bench import earlier, floor, tools
from bench.earlier import Earlier
from bench.governed import govern
from bench.plane import BACKEND_PORT, FIRST_SERVICE, SERVICE_PORT, Plane, Programs
from bench.sets import Result, middle, one_cpu, undisturbed
from bench.stream import TCP
from bench.testbed import PREFIX, RECEIVER, Testbed, two_pods
from maps import libbpf
from maps.abi import DropReason

SERVICES = 10_000
SETS = 3  # times as many as are asked for
POLICIES = 1_000
PLAIN, FLOOR, OURS = "plain routing", "floor", "ours"  # ways
GOVERNED = f"{OURS}, {POLICIES:,} policies"
GOVERNED_LIMIT = 0.95  # of ours without policies, at least
LIMIT = 1.0  # ours, times plain routing, at least
SHOT_MS = 400
OBJECTS = ("tc_pod", "sock")
# connections one after another use up a client's ports: all of them, and soon again
PORTS = {"ipv4/ip_local_port_range": "1024 65535", "ipv4/tcp_tw_reuse": "1"}


def measured(sets: int, services: int = SERVICES, shot_ms: int = SHOT_MS) -> list[Result]:
    """All ratios, ours held to the limit."""
    one_cpu()
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        program = tools.c_program("connections", folder)
        bed = stack.enter_context(two_pods("connect"))
        bed.sysctls("a", PORTS)
        cgroup = stack.enter_context(_cgroup())
        straight, service = f"{RECEIVER}:{BACKEND_PORT}", f"{FIRST_SERVICE + services // 2}:{SERVICE_PORT}"
        planes: dict[str, Programs] = {OURS: stack.enter_context(_filled(Plane.load, bed, services))}
        governed = planes[GOVERNED] = stack.enter_context(_filled(Plane.load, bed, services))
        if isinstance(governed, Plane):
            govern(governed, POLICIES, TCP, BACKEND_PORT)
        if earlier.is_known():
            planes[earlier.COMMIT] = stack.enter_context(_filled(Earlier.load, bed, services))

        def shot(way: str, to: str) -> None:
            rates.setdefault(way, []).append(_rate(program, bed, cgroup, to, shot_ms))

        least = tools.bpf_object("floor", folder)
        for _ in range(SETS * sets):
            shot(PLAIN, straight)
            with floor.attached(bed, least):
                shot(FLOOR, straight)
            for name, plane in planes.items():
                with bed.attached(plane):
                    shot(f"{name}, at tc", service)
                    with _sockets(plane, cgroup):
                        shot(f"{name}, socket hooks", service)
                _check(plane)
                plane.forget_flows()
    return _results(rates, services)


@contextmanager
def _filled(load: Callable[..., Plane | Earlier], bed: Testbed, services: int) -> Iterator[Programs]:
    """Programs that know the pods and so many services."""
    plane = load(OBJECTS)
    try:
        plane.fill(bed.pods(), services, (RECEIVER,), TCP)
        yield plane
    finally:
        plane.close()


def _rate(program: Path, bed: Testbed, cgroup: Path, to: str, shot_ms: int) -> float:
    """Connections a second."""
    listen = f"{RECEIVER}:{BACKEND_PORT}"
    command = [str(program), bed.path("b"), bed.path("a"), str(cgroup / "cgroup.procs"), listen, to, str(shot_ms)]
    with undisturbed():
        output = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
    count, ns = map(int, output.split())
    return count / ns * 1e9


def _check(plane: Programs) -> None:
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
def _sockets(plane: Programs, cgroup: Path) -> Iterator[None]:
    """Have the socket programs on a cgroup, as the agent does."""
    with ExitStack() as links:
        target = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        links.callback(os.close, target)
        for program, hook in SOCKET_HOOKS.items():
            if program not in plane.programs:
                continue  # an earlier commit has none for it
            link = libbpf.link_create(plane.programs[program], target, hook)
            links.callback(os.close, link)
            links.callback(libbpf.link_detach, link)
        yield


def _results(rates: dict[str, list[float]], services: int) -> list[Result]:
    """What a connection took by plain routing, and how many went by each other way in that time."""
    plain = rates.pop(PLAIN)
    results = [replace(middle(f"{PLAIN}, one connection", [1e6 / rate for rate in plain], "us"), quartiles=None)]
    for way, found in rates.items():
        ratios = [rate / theirs for rate, theirs in zip(found, plain, strict=True)]
        what = way if way == FLOOR else f"{way}, {services:,} services"
        results.append(middle(f"{what}, to plain", ratios, at_least=LIMIT if way.startswith(OURS) else None))
    for way in (way for way in rates if way.startswith(GOVERNED)):
        without = rates[way.replace(GOVERNED, OURS)]
        ratios = [rate / other for rate, other in zip(rates[way], without, strict=True)]
        results.append(middle(f"{way}, to none", ratios, at_least=GOVERNED_LIMIT))
    return results
