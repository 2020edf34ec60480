"""Small packets through one node, per packet at tc: to a ClusterIP whose backend is a pod of the node.

Three ways of the same packets are alternated: by our programs, by the kernel's plain routing straight to the backend,
and by nftables rules in kube-proxy's shape. All run on one core, the generator's share included. A ratio is that of
a shot to the plain one fired just before it; the quartiles are those of all sets.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.plane import BACKEND_PORT, FIRST_SERVICE, SERVICE_PORT, Plane
from bench.rules import rules
from bench.sets import Result, middle, one_cpu, undisturbed
from bench.stream import UDP, Packets, Stream
from bench.testbed import RECEIVER, SENDER, Testbed, two_pods
from maps import libbpf
from maps.abi import DropReason
from maps.libbpf import AttachType

SERVICES = (1, 10_000)
SETTLE_S = 0.002  # the last frames may still be under way when the generator returns
LOST_LIMIT = 0.01  # of the frames sent; more is no measurement


@dataclass(frozen=True, slots=True)
class Load:
    """What the packets are: *flows* of them known before, or new ones all, and what is asked of ours."""

    name: str
    flows: int
    count: int  # packets in a shot
    limit: float  # times plain routing, at least
    is_new: bool = False


LOADS = (
    Load("1 established flow", 1, 200_000, 1.2),
    Load("10,000 established flows", 10_000, 200_000, 1.0),
    Load("every packet a new flow", 60_000, 60_000, 0.3, is_new=True),
)


@dataclass(frozen=True, slots=True)
class Range:
    """A testbed with its sink in place, and the stream that is shot through it."""

    bed: Testbed
    stream: Stream
    device: int  # of the sender
    packets: Packets  # straight to the backend

    def shoot(self, load: Load, packets: Packets) -> float:
        """Packets a second that arrived, all as they should."""
        self._aim(replace(packets, ports=load.flows))
        arrived, wrong = self.stream.arrived()
        took_ns = self._generate(load.count)
        time.sleep(SETTLE_S)
        after, wrong_after = self.stream.arrived()
        arrived, wrong = after - arrived, wrong_after - wrong
        if wrong or arrived < load.count * (1 - LOST_LIMIT):
            raise SystemExit(f"forward: of {load.count} packets {arrived} arrived, and {wrong} of them not as expected")
        return arrived / took_ns * 1e9

    def establish(self, load: Load, packets: Packets) -> None:
        """Have every flow known, in another order than that in which they will be used."""
        self._aim(replace(packets, ports=load.flows, in_order=True))
        self._generate(2 * load.flows)

    def to_service(self, services: int) -> Packets:
        """The packets, to the one in the middle of so many services."""
        return replace(self.packets, destination=FIRST_SERVICE + services // 2, dport=SERVICE_PORT)

    def _aim(self, packets: Packets) -> None:
        self.stream.set(packets, device=self.device, expect=(RECEIVER, BACKEND_PORT))

    def _generate(self, count: int) -> int:
        with self.bed.inside("a"), undisturbed():
            return self.stream.generate(count, time.perf_counter_ns)


def measured(sets: int, services: tuple[int, ...] = SERVICES, loads: tuple[Load, ...] = LOADS) -> list[Result]:
    """All ratios, ours held to their limits."""
    one_cpu()
    ratios: dict[tuple[Load, str], list[float]] = {}
    plain_ns: dict[Load, list[float]] = {}
    with ExitStack() as stack:
        stream = stack.enter_context(Stream(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        ours = stack.enter_context(_range("ours", stream))
        planes = {n: stack.enter_context(_plane(ours.bed, n)) for n in services}
        nft = {n: stack.enter_context(_rules(stack.enter_context(_range(f"nft{n}", stream)), n)) for n in services}
        for _ in range(sets):
            for load in loads:
                for n in services:
                    for name, rate, plain in _pair(ours, planes[n], nft[n], load, n):
                        ratios.setdefault((load, f"{name}, {n:,} services"), []).append(rate / plain)
                        plain_ns.setdefault(load, []).append(1e9 / plain)
    return _results(ratios, plain_ns)


def _pair(ours: Range, plane: Plane, nft: Range, load: Load, services: int) -> Iterator[tuple[str, float, float]]:
    """One set of one load: each way's name, its rate, and the rate of plain routing just before."""
    to_service = ours.to_service(services)
    plane.forget_flows()
    plain = ours.shoot(load, ours.packets)
    with ours.bed.attached(plane):
        if not load.is_new:
            ours.establish(load, to_service)
        before = plane.counted()
        rate = ours.shoot(load, to_service)
        counted = {reason: count - before.get(reason, 0) for reason, count in plane.counted().items()}
    if {reason: count for reason, count in counted.items() if count} != {DropReason.DROP_NONE: load.count}:
        raise SystemExit(f"forward: {load.name}: our programs counted {counted}, not {load.count} forwarded")
    if plane.tables["flows"].count() != 2 * load.flows:
        raise SystemExit(f"forward: {load.name}: {plane.tables['flows'].count()} entries, not {2 * load.flows}")
    yield "ours", rate, plain
    plain = ours.shoot(load, ours.packets)
    _forget_connections(nft.bed)
    if not load.is_new:
        nft.establish(load, to_service)
    yield "nftables", nft.shoot(load, to_service), plain


@contextmanager
def _range(label: str, stream: Stream) -> Iterator[Range]:
    with two_pods(label) as bed, ExitStack() as stack:
        with bed.inside("b"):
            link = libbpf.link_create(stream.sink, bed.device("b"), AttachType.TCX_INGRESS)
        stack.callback(os.close, link)
        pod, _ = bed.pods()
        yield Range(bed, stream, bed.device("a"), Packets(SENDER, pod.mac, RECEIVER, BACKEND_PORT, UDP))


@contextmanager
def _plane(bed: Testbed, services: int) -> Iterator[Plane]:
    plane = Plane.load()
    try:
        plane.fill(bed.pods(), services, (RECEIVER,), UDP)
        yield plane
    finally:
        plane.close()


@contextmanager
def _rules(aimed: Range, services: int) -> Iterator[Range]:
    for transaction in rules(services, RECEIVER):
        aimed.bed.run("node", "nft", "-f", "-", text=transaction)
    yield aimed


def _forget_connections(bed: Testbed) -> None:
    """Empty the kernel's own connection tracking."""
    from pyroute2 import NFCTSocket  # noqa: PLC0415  imported late: it costs 0.2 s

    with bed.inside("node"), NFCTSocket() as conntrack:
        conntrack.flush()


def _results(ratios: Mapping[tuple[Load, str], list[float]], plain_ns: Mapping[Load, list[float]]) -> list[Result]:
    results = []
    for load, values in plain_ns.items():
        whole = middle(f"{load.name}, plain routing and generator", values, "ns")
        results.append(replace(whole, quartiles=None))
    for (load, name), values in ratios.items():
        limit = load.limit if name.startswith("ours") else None
        results.append(middle(f"{load.name}, {name}, to plain", values, at_least=limit))
    return results
