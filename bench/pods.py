"""Pod to pod: how much goes through one connection, and how often one octet goes there and back.

On one node and between two, as each mode has it, against the kernel's own routes and the kernel's own device for the
same encapsulation, wired alike. A veth between the nodes keeps GSO packets whole, which hides what each packet
costs: so all of it again with the veth made a wire. Everything runs on one core, both pods' work included.
"""

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from agent.compile.settings import NetworkSettings
from agent.model.node import Node
from agent.options.choices import Encapsulation
from bench import tools
from bench.nodes import UPLINK, TwoNodes, address, with_agent, with_kernel
from bench.sets import Result, middle, one_cpu, undisturbed
from bench.testbed import Testbed
from maps.abi import DropReason

PORT = 5201
# of each way in a set, of which the best counts: the machine has other work, and lets that run for up to 50 ms a
# second whatever our priority
SHOTS = 6
# where its octets come to lie moves a stream by some percent from one shot to the next: more shots, in more sets
STREAM_SHOTS = 2  # times as many
STREAM_SETS = 3  # times as many
SHOT_MS = 40
FAMILIES = {4: "IPv4", 6: "IPv6"}
KINDS = {"stream": "TCP stream", "tcp": "TCP one octet", "udp": "UDP one octet"}
LARGEST_ON_A_WIRE = 1514  # octets of a frame


def _by_routes(bed: Testbed, own: Node, other: Node) -> None:
    """The kernel's own way without encapsulation."""
    lines = (f"route add {n} via {a}" for n, a in zip(other.pod_cidrs, other.internal_ips, strict=True))
    bed.run(own.name, "ip", "-batch", "-", text="\n".join(lines))


def _by_vxlan(bed: Testbed, own: Node, other: Node) -> None:
    """The kernel's own VXLAN device, with one route, neighbour and forwarding entry per node, as Flannel has them."""
    mac, their_mac = (f"02:00:00:00:01:{node.name[1:]:0>2}" for node in (own, other))
    kind = f"vxlan id 1 dstport 8472 local {own.internal_ips[0]} dev {UPLINK} nolearning"
    lines = [f"link add peer0 address {mac} mtu 1450 type {kind}", "link set peer0 up"]
    for network in other.pod_cidrs:
        lines += [
            f"route add {network} via {network[0]} dev peer0 onlink",
            f"neighbour add {network[0]} lladdr {their_mac} dev peer0 nud permanent",
        ]
    bed.run(own.name, "ip", "-batch", "-", text="\n".join(lines))
    where = ("dst", str(other.internal_ips[0]), "self", "permanent")
    bed.run(own.name, "bridge", "fdb", "add", their_mac, "dev", "peer0", *where)


@dataclass(frozen=True, slots=True)
class Mode:
    """A way between nodes, the kernel's own by which it is measured, and how much of that is asked of ours."""

    network: NetworkSettings  # as the agent's options say it
    mtu: int  # of pods
    peer: Callable[[Testbed, Node, Node], None]
    limit: float

    @property
    def encapsulation(self) -> Encapsulation:
        """What it is called."""
        return self.network.encapsulation


# not every kernel has devices for IPIP and Geneve: all that is encapsulated is measured by VXLAN's
MODES = (
    Mode(NetworkSettings(Encapsulation.NATIVE), 1500, _by_routes, 1.0),
    Mode(NetworkSettings(Encapsulation.VXLAN), 1450, _by_vxlan, 0.95),
    Mode(NetworkSettings(Encapsulation.GENEVE, has_geneve=False), 1450, _by_vxlan, 0.95),
    Mode(NetworkSettings(Encapsulation.IPIP), 1450, _by_vxlan, 0.95),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is measured by both ways."""

    mode: Mode
    to: str  # the pod that is asked
    wire: bool
    kind: str
    version: int

    def __str__(self) -> str:
        where = "same node" if self.to == "near" else str(self.mode.encapsulation) + ", wire" * self.wire
        return f"{where}: {KINDS[self.kind]}, {FAMILIES[self.version]}"


def rows(mode: Mode, *, wire: bool) -> Iterator[Row]:
    """What is measured in a set, in a mode with a network of that kind; one node's own pods once."""
    places = ("near", "far") if mode.encapsulation is Encapsulation.NATIVE and not wire else ("far",)
    for to in places:
        for kind in KINDS:
            for version in FAMILIES:
                yield from [Row(mode, to, wire, kind, version)] * (STREAM_SETS if kind == "stream" else 1)


def measured(sets: int, modes: tuple[Mode, ...] = MODES, shots: int = SHOTS, shot_ms: int = SHOT_MS) -> list[Result]:
    """All ratios, each held to its mode's limit."""
    one_cpu()
    found: dict[Row, list[tuple[float, float]]] = {}
    with ExitStack() as stack:
        program = tools.c_program("exchange", Path(stack.enter_context(tempfile.TemporaryDirectory())))
        ways = {
            mode: (
                stack.enter_context(with_kernel(f"{mode.encapsulation}-kernel", mode.mtu, mode.peer)),
                stack.enter_context(with_agent(f"{mode.encapsulation}-ours", mode.mtu, mode.network)),
            )
            for mode in modes
        }
        for _ in range(sets):
            for wire in (False, True):
                for mode, both in ways.items():
                    for way in both:
                        way.be_a_wire(wire=wire)
                    for row in rows(mode, wire=wire):
                        turns = range(shots * (STREAM_SHOTS if row.kind == "stream" else 1))
                        rates = [_shot(row, program, both, turn, shot_ms) for turn in turns]
                        kernel, ours = (max(way) for way in zip(*rates, strict=True))
                        found.setdefault(row, []).append((kernel, ours))
    return _results(found)


def _shot(row: Row, program: Path, ways: tuple[TwoNodes, TwoNodes], turn: int, shot_ms: int) -> tuple[float, float]:
    """The rates of the kernel and of ours; they take turns in who begins."""
    order = (1, 0) if turn % 2 else (0, 1)
    rates = {way: _rate(row, program, ways[way], shot_ms) for way in order}
    return rates[0], rates[1]


def _rate(row: Row, program: Path, way: TwoNodes, shot_ms: int) -> float:
    """Octets or transactions a second."""
    octets = way.largest()
    namespaces = way.bed.path(row.to), way.bed.path("asking")
    command = [str(program), *namespaces, row.kind, address(row.to, row.version), str(PORT), str(shot_ms)]
    with undisturbed():
        output = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
    count, ns = map(int, output.split())
    if row.wire and octets() > LARGEST_ON_A_WIRE:
        raise SystemExit(f"{row}: {octets():.0f} octets in a packet: the network is no wire")
    for plane in way.planes:
        if set(plane.counted()) - {DropReason.DROP_NONE}:
            raise SystemExit(f"{row}: our programs counted {plane.counted()}")
    return count / ns * 1e9


def _results(found: Mapping[Row, list[tuple[float, float]]]) -> list[Result]:
    results = []
    for row, rates in found.items():
        kernel = sorted(rate for rate, _ in rates)[len(rates) // 2]
        absolute = f"{kernel * 8 / 1e9:.1f} Gbit/s" if row.kind == "stream" else f"{kernel / 1e3:.1f} k/s"
        ratios = [ours / theirs for theirs, ours in rates]
        results.append(middle(f"{row} (kernel's own {absolute})", ratios, at_least=row.mode.limit))
    return results
