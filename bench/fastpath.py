"""Packets a second of a pod with AF_XDP, with and without policy and a service in front of it.

Small UDP packets from pod to pod of one node, one flow; the application's end is an AF_XDP socket, or one of the
kernel's, behind our programs or behind none. Ways are taken in turn, a set is one shot of each. What is sent is held to
limits; what is received depends on which of two cores is free, and is reported.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from bench import tools
from bench.forward import LOST_LIMIT, SETTLE_S, Way, our_way, plain_way
from bench.governed import govern
from bench.plane import BACKEND_PORT, Plane
from bench.sets import Result, middle
from bench.stream import FRAME, UDP, Packets, Stream
from bench.testbed import RECEIVER
from maps import abi, libbpf, paths
from maps.libbpf import AttachType
from maps.object import Object

PLAIN, OURS, GOVERNED, SOCKET = "without us", "ours", "ours, policy and a service", "ours, a UDP socket"
COUNT = 400_000  # packets of a shot
GOVERNED_LIMIT, SOCKET_LIMIT = 0.85, 2.0  # of ours without policy and service; of the socket
HEADERS = 42  # of Ethernet, IPv4 and UDP
AF_XDP_SLOT = 2  # the receiver's
NS = 1e9
Shot = Callable[[], float]


def measured(sets: int, count: int = COUNT) -> list[Result]:
    """Both directions; packets a second, and what is sent as ratios too."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stream, program = stack.enter_context(Stream(folder)), tools.c_program("fastpath", folder)
        sending = _in_turn(sets, _senders(stack, stream, program, count))
    with ExitStack() as stack:
        stream = stack.enter_context(Stream(folder := Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        program = tools.c_program("fastpath", folder)
        receiving = _in_turn(sets, _receivers(stack, stream, program, count))
    return [
        *(middle(f"sent, {name}", values, "/s") for name, values in sending.items()),
        middle("sent, policy and a service, to none", _ratios(sending, GOVERNED, OURS), at_least=GOVERNED_LIMIT),
        middle("sent, policy and a service, to a socket", _ratios(sending, GOVERNED, SOCKET), at_least=SOCKET_LIMIT),
        middle("sent, ours, to without us", _ratios(sending, OURS, PLAIN)),
        *(middle(f"received, {name}", values, "/s") for name, values in receiving.items()),
    ]


def _in_turn(sets: int, shots: Mapping[str, Shot]) -> dict[str, list[float]]:
    for shoot in shots.values():  # the first one begins flows, and warms caches
        shoot()
    found: dict[str, list[float]] = {name: [] for name in shots}
    for _ in range(sets):
        for name, shoot in shots.items():
            found[name].append(shoot())
    return found


def _ratios(found: Mapping[str, list[float]], one: str, other: str) -> list[float]:
    return [a / b for a, b in zip(found[one], found[other], strict=True)]


def _ways(stream: Stream, *, sends: bool) -> Mapping[str, AbstractContextManager[Way]]:
    """The ways of :data:`PLAIN` to :data:`SOCKET`, not yet made; *sends*: an application sends, else it receives."""

    def ours(name: str) -> AbstractContextManager[Way]:
        return our_way(name, Plane.load, stream, 1, sinks=sends, takes=not sends)

    return {
        PLAIN: plain_way(PLAIN, stream, sinks=sends, takes=not sends),
        OURS: _unserved(ours(OURS)),
        GOVERNED: _governed(ours(GOVERNED)),
        SOCKET: _unserved(ours(SOCKET)),
    }


@contextmanager
def _unserved(ours: AbstractContextManager[Way]) -> Iterator[Way]:
    """To the pod under its own address."""
    with ours as way:
        yield replace(way, packets=replace(way.packets, destination=RECEIVER, dport=BACKEND_PORT))


@contextmanager
def _governed(ours: AbstractContextManager[Way]) -> Iterator[Way]:
    with ours as way:
        if not isinstance(way.plane, Plane):
            raise TypeError(way.plane)
        govern(way.plane, 1, UDP, BACKEND_PORT)
        yield way


def _senders(stack: ExitStack, stream: Stream, program: Path, count: int) -> dict[str, Shot]:
    return {
        name: partial(_send, stack.enter_context(way), stream, program, count, by_socket=name == SOCKET)
        for name, way in _ways(stream, sends=True).items()
    }


def _send(way: Way, stream: Stream, program: Path, count: int, *, by_socket: bool) -> float:
    """Packets a second that arrive."""
    stream.set(way.packets, expect=(RECEIVER, BACKEND_PORT))
    before, _ = stream.arrived()
    packets = way.packets
    if by_socket:
        argv = ["socket-send", str(packets.destination), str(packets.dport), str(FRAME - HEADERS), str(count)]
    else:
        argv = ["send", "eth0", str(count)]
    with way.bed.inside("a"):
        done = subprocess.run([program, *argv], input=_whole(packets), stdout=subprocess.PIPE, check=True)
    time.sleep(SETTLE_S)
    after, _ = stream.arrived()
    if after - before < count * (1 - LOST_LIMIT):
        raise SystemExit(f"{way.name}: of {count} packets {after - before} arrived")
    return NS / int(done.stdout)


def _whole(packets: Packets) -> bytes:
    """The first frame with its checksum: programs of ours want it right, as any pod's."""
    frame = packets.frame()
    total = packets.check() + packets.port_first
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return frame[:40] + total.to_bytes(2, "big") + frame[42:]


def _receivers(stack: ExitStack, stream: Stream, program: Path, count: int) -> dict[str, Shot]:
    found: dict[str, Shot] = {}
    for name, made in _ways(stream, sends=False).items():
        way = stack.enter_context(made)
        map_fd = -1 if name == SOCKET else stack.enter_context(_with_sockets(way))
        found[name] = partial(_receive, way, stream, program, count, map_fd)
    return found


@contextmanager
def _with_sockets(way: Way) -> Iterator[int]:
    """Have the receiver's end be one with AF_XDP; its map of sockets."""
    with Object.open(paths.objects() / "xdp_pod.bpf.o") as opened:
        opened.leave_out("node")
        opened.load()
        with way.bed.inside("b"):
            link = libbpf.link_create(opened.program_fd("pod_xdp"), way.bed.device("b"), AttachType.XDP)
        if isinstance(way.plane, Plane):
            attachments = way.plane.tables["attachments"]
            _, pod = way.bed.pods()
            fast = abi.Attachment(
                pod.ifindex, AF_XDP_SLOT, AF_XDP_SLOT, pod.mac, abi.AttachmentFlag.ATTACHMENT_AF_XDP, 0
            )
            attachments.update([(AF_XDP_SLOT, fast)])
            way.plane.forget_flows()
        try:
            yield opened.map_fd("xsks_map")
        finally:
            os.close(link)


def _receive(way: Way, stream: Stream, program: Path, count: int, map_fd: int) -> float:
    """Packets a second that the application takes while they are generated as fast as that goes."""
    argv = ["receive", "eth0", str(map_fd)] if map_fd >= 0 else ["socket-receive", str(BACKEND_PORT)]
    stream.set(way.packets, device=way.device, expect=(IPv4Address(RECEIVER), BACKEND_PORT))
    kept = [map_fd] if map_fd >= 0 else []
    with way.bed.inside("b"):
        taking = subprocess.Popen(
            [program, *argv], pass_fds=kept, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
    with taking:
        if not taking.stdout or taking.stdout.readline() != b"ready\n":
            raise SystemExit(f"{way.name}: the application does not take packets")
        with way.bed.inside("a"):
            stream.generate(count)
        time.sleep(SETTLE_S)
        said, _ = taking.communicate()
    packets, took_ns = map(int, said.split())
    return packets * NS / max(took_ns, 1)
