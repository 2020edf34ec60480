"""Small packets through one node, per packet at tc: to a ClusterIP whose backend is a pod of the node.

The same packets go three ways: by our programs, by the kernel's plain routing straight to the backend, and by nftables
rules in kube-proxy's shape. All ways are wired alike and stay as they are; a set goes round them in short shots, so
that what else happens on the machine meets all. Everything runs on one core, the generator's share included.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
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
SHOTS = 2  # of each way in a set, long ones, of which the better counts: the machine has other work
SETTLE_S = 0.002  # the last frames may still be under way when the generator returns
LOST_LIMIT = 0.01  # of the frames sent; more is no measurement


@dataclass(frozen=True, slots=True)
class Load:
    """What the packets of a set are: of *flows* known before or new ones all, and what is asked of ours."""

    name: str
    flows: int
    count: int  # packets in a set
    limit: float | None  # times plain routing, at least
    is_new: bool = False

    def shots(self, packets: Packets, number: int) -> Iterator[Packets]:
        """The packets of each shot; new flows never come again."""
        share = self.flows // number
        for i in range(number):
            yield (
                replace(packets, ports=share, port_first=packets.port_first + i * share)
                if self.is_new
                else replace(packets, ports=self.flows)
            )


LOADS = (
    Load("1 established flow", 1, 240_000, 1.2),
    Load("10,000 established flows", 10_000, 240_000, 1.0),
    Load("40,000 established flows", 40_000, 240_000, None),
    Load("every packet a new flow", 60_000, 60_000, 0.3, is_new=True),
)


@dataclass(frozen=True, slots=True)
class Way:
    """One way from pod to pod, with a sink at its end; *forget* empties what it knows of flows."""

    name: str
    bed: Testbed
    stream: Stream
    device: int  # of the sender
    packets: Packets
    forget: Callable[[], None] = lambda: None
    plane: Plane | None = None

    def prepare(self, load: Load) -> None:
        """Have the flows known that should be, begun in another order than that in which they will be used."""
        self.forget()
        if not load.is_new:
            self._aim(replace(self.packets, ports=load.flows, in_order=True))
            self._generate(2 * load.flows)

    def shoot(self, packets: Packets, count: int) -> int:
        """The ns that so many packets took, all of which arrived as they should."""
        self._aim(packets)
        arrived, wrong = self.stream.arrived()
        took_ns = self._generate(count)
        time.sleep(SETTLE_S)
        after, wrong_after = self.stream.arrived()
        arrived, wrong = after - arrived, wrong_after - wrong
        if wrong or arrived < count * (1 - LOST_LIMIT):
            raise SystemExit(f"{self.name}: of {count} packets {arrived} arrived, and {wrong} of them not as expected")
        return took_ns

    def counted(self) -> int:
        """Packets that our programs forwarded; all others are a failure."""
        counted = self.plane.counted() if self.plane else {}
        if set(counted) - {DropReason.DROP_NONE}:
            raise SystemExit(f"{self.name}: our programs counted {counted}")
        return counted.get(DropReason.DROP_NONE, 0)

    def _aim(self, packets: Packets) -> None:
        self.stream.set(packets, device=self.device, expect=(RECEIVER, BACKEND_PORT))

    def _generate(self, count: int) -> int:
        with self.bed.inside("a"), undisturbed():
            return self.stream.generate(count, time.perf_counter_ns)


def measured(sets: int, services: tuple[int, ...] = SERVICES, loads: tuple[Load, ...] = LOADS) -> list[Result]:
    """All ratios, ours held to their limits."""
    one_cpu()
    found: dict[tuple[Load, str], list[float]] = {}
    with ExitStack() as stack:
        stream = stack.enter_context(Stream(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        plain = stack.enter_context(_way("plain", stream))
        ours = [stack.enter_context(_ours(stream, n)) for n in services]
        nft = [stack.enter_context(_nftables(stream, n)) for n in services]
        for _ in range(sets):
            for load in loads:
                for name, took_ns in _set(load, (plain, *ours, *nft)).items():
                    found.setdefault((load, name), []).append(took_ns)
    return _results(found)


def _set(load: Load, ways: tuple[Way, ...]) -> dict[str, float]:
    """One set: the ns a packet took by each way at its best."""
    for way in ways:
        way.prepare(load)
    before = {way.name: way.counted() for way in ways}
    took = dict.fromkeys(before, float("inf"))
    count = load.count // SHOTS
    for shot in zip(*(load.shots(way.packets, SHOTS) for way in ways), strict=True):
        for way, packets in zip(ways, shot, strict=True):
            took[way.name] = min(took[way.name], way.shoot(packets, count) / count)
    for way in ways:
        forwarded = way.counted() - before[way.name]
        if way.plane and forwarded != count * SHOTS:
            raise SystemExit(f"{way.name}: our programs forwarded {forwarded} of {count * SHOTS} packets")
    return took


@contextmanager
def _way(name: str, stream: Stream) -> Iterator[Way]:
    with two_pods(name.replace(" ", "").replace(",", "")) as bed, ExitStack() as stack:
        with bed.inside("b"):
            link = libbpf.link_create(stream.sink, bed.device("b"), AttachType.TCX_INGRESS)
        stack.callback(os.close, link)
        pod, _ = bed.pods()
        yield Way(name, bed, stream, bed.device("a"), Packets(SENDER, pod.mac, RECEIVER, BACKEND_PORT, UDP))


def _to_service(packets: Packets, services: int) -> Packets:
    """The packets, to the one in the middle of so many services."""
    return replace(packets, destination=FIRST_SERVICE + services // 2, dport=SERVICE_PORT)


@contextmanager
def _ours(stream: Stream, services: int) -> Iterator[Way]:
    plane = Plane.load()
    try:
        with _way(f"ours {services:,}", stream) as way:
            plane.fill(way.bed.pods(), services, (RECEIVER,), UDP)
            packets = _to_service(way.packets, services)
            with way.bed.attached(plane):
                yield replace(way, packets=packets, plane=plane, forget=plane.forget_flows)
    finally:
        plane.close()


@contextmanager
def _nftables(stream: Stream, services: int) -> Iterator[Way]:
    with _way(f"nftables {services:,}", stream) as way:
        for transaction in rules(services, RECEIVER):
            way.bed.run("node", "nft", "-f", "-", text=transaction)
        packets = _to_service(way.packets, services)
        yield replace(way, packets=packets, forget=lambda: _forget_connections(way.bed))


def _forget_connections(bed: Testbed) -> None:
    """Empty the kernel's own connection tracking."""
    from pyroute2 import NFCTSocket  # noqa: PLC0415  imported late: it costs 0.2 s

    with bed.inside("node"), NFCTSocket() as conntrack:
        conntrack.flush()


def _results(found: Mapping[tuple[Load, str], list[float]]) -> list[Result]:
    results = []
    for (load, name), took_ns in found.items():
        if name == "plain":
            whole = middle(f"{load.name}, plain routing and generator", took_ns, "ns")
            results.append(replace(whole, quartiles=None))
            continue
        ratios = [plain / ns for plain, ns in zip(found[load, "plain"], took_ns, strict=True)]
        limit = load.limit if name.startswith("ours") else None
        results.append(middle(f"{load.name}, {name} services, to plain", ratios, at_least=limit))
    return results
