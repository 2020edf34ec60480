"""Small packets through one node, per packet at tc: to a ClusterIP whose backend is a pod of the node.

The same packets go by our programs and those of an earlier commit, by the kernel's plain routing straight to the
backend, by nftables rules in kube-proxy's shape, and by the floor, the least that a program does. All ways are wired
alike and stay as they are; a set goes round them in short shots, so that what else happens on the machine meets all.
Everything runs on one core, the generator's share included: what ours takes above the floor has no generator in it.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import earlier, floor, tools
from bench.earlier import Earlier
from bench.governed import govern
from bench.plane import BACKEND_PORT, FIRST_SERVICE, SERVICE_PORT, Plane, Programs
from bench.rules import rules
from bench.sets import Result, middle, one_cpu, undisturbed
from bench.stream import UDP, Packets, Stream
from bench.testbed import RECEIVER, SENDER, Testbed, two_pods
from maps import libbpf
from maps.abi import DropReason
from maps.libbpf import AttachType

SERVICES = (1, 10_000)
PLAIN, FLOOR, OURS, EARLIER = "plain routing", "floor", "ours", earlier.COMMIT  # ways; some with a number of services
POLICIES = 1_000
GOVERNED = f"ours, {POLICIES:,} policies"
GOVERNED_LIMIT = 0.95  # of ours without policies, at least; new flows, too
SETS = 3  # times as many as are asked for: differences of times need more of them than ratios
SHOTS = 2  # of each way in a set, of which the better counts: the machine has other work
SETTLE_S = 0.002  # the last frames may still be under way when the generator returns
LOST_LIMIT = 0.01  # of the frames sent; more is no measurement


@dataclass(frozen=True, slots=True)
class Load:
    """What the packets of a set are: of *flows* known before or new ones all, and what is asked of ours."""

    name: str
    flows: int
    count: int  # packets in a set
    plain: float | None  # times plain routing, at least
    earlier: float  # of what the earlier programs take above the floor, at most
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
    Load("1 established flow", 1, 240_000, 1.2, 0.6),
    Load("10,000 established flows", 10_000, 240_000, 1.0, 0.6),
    Load("40,000 established flows", 40_000, 240_000, None, 0.5),
    Load("every packet a new flow", 60_000, 60_000, 0.3, 0.7, is_new=True),
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
    plane: Programs | None = None

    def prepare(self, load: Load) -> None:
        """Have the flows known that should be, begun in another order than that in which they will be used."""
        self.forget()
        if not load.is_new:
            self._aim(replace(self.packets, ports=load.flows, in_order=True))
            self._generate(2 * load.flows)

    def shoot(self, packets: Packets, count: int) -> int:
        """The ns of a packet, when so many come; all arrived as they should."""
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
            return self.stream.generate(count)


def measured(sets: int, services: tuple[int, ...] = SERVICES, loads: tuple[Load, ...] = LOADS) -> list[Result]:
    """All ratios, ours held to their limits."""
    one_cpu()
    found: dict[tuple[Load, str], list[float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stream = stack.enter_context(Stream(folder))
        ways = [stack.enter_context(way) for way in _ways(stream, folder, services)]
        for _ in range(SETS * sets):
            for load in loads:
                for name, took_ns in _set(load, ways).items():
                    found.setdefault((load, name), []).append(took_ns)
    return evaluated(found)


def _ways(stream: Stream, folder: Path, services: tuple[int, ...]) -> Iterator[AbstractContextManager[Way]]:
    """Each way once, or with each number of services; the earlier programs where there is a history."""
    yield plain_way(PLAIN, stream)
    yield _floor(stream, folder)
    yield _governed(stream, services[0])
    for number in services:
        if earlier.is_known():
            yield our_way(EARLIER, Earlier.load, stream, number)
        yield our_way(OURS, Plane.load, stream, number)
        yield _nftables(stream, number)


def _set(load: Load, ways: Sequence[Way]) -> dict[str, float]:
    """One set: the ns a packet took by each way at its best."""
    for way in ways:
        way.prepare(load)
    before = {way.name: way.counted() for way in ways}
    took = dict.fromkeys(before, float("inf"))
    count = load.count // SHOTS
    for shot in zip(*(load.shots(way.packets, SHOTS) for way in ways), strict=True):
        for way, packets in zip(ways, shot, strict=True):
            took[way.name] = min(took[way.name], way.shoot(packets, count))
    for way in ways:
        forwarded = way.counted() - before[way.name]
        if way.plane and forwarded != count * SHOTS:
            raise SystemExit(f"{way.name}: our programs forwarded {forwarded} of {count * SHOTS} packets")
    return took


@contextmanager
def plain_way(name: str, stream: Stream, *, sinks: bool = True, takes: bool = True) -> Iterator[Way]:
    """By the kernel's plain routing.

    *sinks*: what arrives is counted and dropped before the stack. *takes*: the node has generated frames as XDP does.
    """
    with two_pods(name.replace(" ", "").replace(",", "")) as bed, ExitStack() as stack:
        pod, _ = bed.pods()
        if sinks:
            with bed.inside("b"):
                stack.callback(os.close, libbpf.link_create(stream.sink, bed.device("b"), AttachType.TCX_INGRESS))
        if takes:
            with bed.inside("node"):
                stack.callback(os.close, libbpf.link_create(stream.take, pod.ifindex, AttachType.XDP))
        yield Way(name, bed, stream, bed.device("a"), Packets(SENDER, pod.mac, RECEIVER, BACKEND_PORT, UDP))


@contextmanager
def _floor(stream: Stream, folder: Path) -> Iterator[Way]:
    with plain_way(FLOOR, stream) as way, floor.attached(way.bed, tools.bpf_object("floor", folder)):
        yield way


def _to_service(packets: Packets, services: int) -> Packets:
    """The packets, to the one in the middle of so many services."""
    return replace(packets, destination=FIRST_SERVICE + services // 2, dport=SERVICE_PORT)


@contextmanager
def our_way(  # noqa: PLR0913  each says another thing of the way
    kind: str,
    load: Callable[[], Plane | Earlier],
    stream: Stream,
    services: int,
    *,
    sinks: bool = True,
    takes: bool = True,
) -> Iterator[Way]:
    """By programs of ours, to a service; otherwise as :func:`plain_way`."""
    plane = load()
    try:
        with plain_way(f"{kind} {services:,} services", stream, sinks=sinks, takes=takes) as way:
            plane.fill(way.bed.pods(), services, (RECEIVER,), UDP)
            packets = _to_service(way.packets, services)
            with way.bed.attached(plane):
                yield replace(way, packets=packets, plane=plane, forget=plane.forget_flows)
    finally:
        plane.close()


@contextmanager
def _governed(stream: Stream, services: int) -> Iterator[Way]:
    """Ours, where both pods have rules."""
    with our_way(GOVERNED, Plane.load, stream, services) as way:
        if not isinstance(way.plane, Plane):
            raise TypeError(way.plane)
        govern(way.plane, POLICIES, UDP, BACKEND_PORT)
        yield way


@contextmanager
def _nftables(stream: Stream, services: int) -> Iterator[Way]:
    with plain_way(f"nftables {services:,} services", stream) as way:
        for transaction in rules(services, RECEIVER):
            way.bed.run("node", "nft", "-f", "-", text=transaction)
        packets = _to_service(way.packets, services)
        yield replace(way, packets=packets, forget=lambda: _forget_connections(way.bed))


def _forget_connections(bed: Testbed) -> None:
    """Empty the kernel's own connection tracking."""
    from pyroute2 import NFCTSocket  # noqa: PLC0415  imported late: it costs 0.2 s

    with bed.inside("node"), NFCTSocket() as conntrack:
        conntrack.flush()


def evaluated(found: Mapping[tuple[Load, str], list[float]]) -> list[Result]:
    """What every way took of each load, to plain routing, and ours above the floor, to the earlier programs."""
    results: list[Result] = []
    for load in dict.fromkeys(load for load, _ in found):
        took = {way: ns for (each, way), ns in found.items() if each is load}
        results += (_median_ns(f"{load.name}, {way} and generator", took[way]) for way in (PLAIN, FLOOR))
        results += _to_plain(load, took)
        results += _above_floor(load, took)
        results += _by_policies(load, took)
    return results


def _to_plain(load: Load, took: Mapping[str, list[float]]) -> Iterator[Result]:
    """How often each way handed a packet on in the time that plain routing took for one."""
    for way in (way for way in took if way != PLAIN):
        limit = load.plain if way.startswith(OURS) else None
        yield middle(f"{load.name}, {way}, to plain", _ratios(took[PLAIN], took[way]), at_least=limit)


def _above_floor(load: Load, took: Mapping[str, list[float]]) -> Iterator[Result]:
    """What ours and the earlier programs took above the floor, and the one as a part of the other.

    A clock in nanoseconds may see no difference; on a busy machine it did.
    """
    above = {
        way: [took_ns - floor_ns or 1.0 for took_ns, floor_ns in zip(took[way], took[FLOOR], strict=True)]
        for way in took
        if way.startswith((OURS, EARLIER))
    }
    for way, ns in above.items():
        yield _median_ns(f"{load.name}, {way}, above the floor", ns)
    for way, ns in above.items():
        before = above.get(way.replace(OURS, EARLIER))
        if way.startswith(OURS) and before:
            what = f"{load.name}, {way}, above the floor, to earlier"
            yield middle(what, _ratios(ns, before), at_most=load.earlier)


def _by_policies(load: Load, took: Mapping[str, list[float]]) -> Iterator[Result]:
    """How often ours handed a packet on with policies in the time that it took for one without."""
    for way in (way for way in took if way.startswith(GOVERNED)):
        without = way.replace(GOVERNED, OURS)
        yield middle(f"{load.name}, {way}, to none", _ratios(took[without], took[way]), at_least=GOVERNED_LIMIT)


def _ratios(values: Sequence[float], to: Sequence[float]) -> list[float]:
    return [value / other for value, other in zip(values, to, strict=True)]


def _median_ns(what: str, ns: Sequence[float]) -> Result:
    return replace(middle(what, ns, "ns"), quartiles=None)
