"""What passes through a node, by XDP and by tc: from a client outside to a service whose backends are elsewhere.

On the wire, in packets a second: the same datagrams come in by the node's one device and leave by it, by XDP, by tc, by
nftables (DNAT and masquerading) and, straight to a backend, by the kernel's plain forwarding; at the other end they are
counted and dropped. Under BPF_PROG_TEST_RUN, in ns: the XDP program and a bare one with the same look-ups and writes.
Everything runs on one core, and ways alternate. The list of denied ranges is there and empty.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from agent.kernel.programs.xdp import XDP_FLAGS_DRV_MODE
from bench.sets import Result, middle, one_cpu, undisturbed
from bench.stream import UDP, Packets, Stream
from bench.xdp_node import (
    BACKEND_PORT,
    BACKENDS,
    BACKENDS6,
    CLIENT,
    NODE_MAC,
    NODE_PORT,
    OWN,
    OWN6,
    ROUTER_MAC,
    Tools,
    Wire,
    filled,
    frame,
    ifindex,
    one_device,
)
from maps import libbpf
from maps.libbpf import AttachType

FLOWS = 64_000
PLAIN, NFT, TC, XDP = "plain forwarding", "nftables", "tc", "xdp"  # ways on the wire
LIMITS = {1: 2.0, FLOWS: 1.3}  # XDP to plain forwarding, at least
BARE_LIMIT = 1.5  # to the bare program, at most
LOST_LIMIT = 0.01
SETTLE_S = 0.01
RULES = f"""
table ip swbench {{
  map services {{ type ipv4_addr . inet_service : verdict; }}
  chain backends {{
    meta l4proto udp dnat ip addr . port to numgen inc mod 4 map {{ {{backends}} }}
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    ip daddr . udp dport vmap @services
  }}
  chain postrouting {{ type nat hook postrouting priority srcnat; ip daddr 10.244.2.0/24 masquerade; }}
}}
add element ip swbench services {{ {OWN} . {NODE_PORT} : goto backends }}
"""


# ---- under BPF_PROG_TEST_RUN -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent: datagrams of a family, of so many flows, known before or new."""

    version: int
    name: str
    flows: int
    is_new: bool = False


def cases(flows: int) -> Iterator[Case]:
    """All of them."""
    for version in (4, 6):
        yield Case(version, f"IPv{version}, 1 flow", 1)
        yield Case(version, f"IPv{version}, {flows:,} flows", flows)
        yield Case(version, f"IPv{version}, every packet a new flow", flows, is_new=True)


def under_test_run(sets: int, repeat: int, flows: int, folder: Path) -> Iterator[Result]:
    """XDP's program to the bare one, by family and number of flows."""
    found: dict[str, list[tuple[float, float]]] = {}
    with Tools(folder) as tool, one_device("run") as bed, bed.inside("node"):
        device = ifindex(bed, "node", "n0")
        plane = filled(device)
        tool.serve(OWN, BACKENDS)
        tool.serve(OWN6, BACKENDS6)
        try:
            for _ in range(3 * sets):
                for case in cases(flows):
                    tool.set(*frame(case.version), case.flows)
                    ours = nanoseconds(tool, case, repeat, device, plane.programs["uplink_xdp"], plane.forget_flows)
                    bare = nanoseconds(tool, case, repeat, device, tool.program("bare"), tool.forget)
                    found.setdefault(case.name, []).append((ours, bare))
        finally:
            plane.close()
    for what, took in found.items():
        yield middle(f"{what}, XDP", [ours for ours, _ in took], "ns")
        yield middle(f"{what}, the bare program", [bare for _, bare in took], "ns")
        yield middle(f"{what}, XDP to bare", [ours / bare for ours, bare in took], at_most=BARE_LIMIT)


def nanoseconds(  # noqa: PLR0913, PLR0917  what is run, on what, and how often
    tool: Tools, case: Case, repeat: int, device: int, program: int, forget: Callable[[], None]
) -> float:
    """The mean cost of a packet, without what it takes to make a fresh one.

    Where that alone took more, others had the processor meanwhile: nothing was measured, and it is done again.
    """
    took = 0.0
    while took <= 0:
        forget()
        if not case.is_new:
            tool.run(program, 2 * case.flows, device)
        with undisturbed():
            harness = tool.run(tool.program("nothing"), repeat, device)
            took = tool.run(program, case.flows if case.is_new else repeat, device) - harness
    return took


# ---- on the wire -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """One way through a node, with who counts at its end."""

    name: str
    bed: Wire
    packets: Packets
    forget: Callable[[], None] = lambda: None

    def shoot(self, stream: Stream, tool: Tools, ports: int, count: int, *, in_order: bool = False) -> float:
        """The ns of a packet; all arrive."""
        right, wrong = tool.arrived()
        with self.bed.inside("wire"), undisturbed():
            packets = replace(self.packets, ports=ports, in_order=in_order)
            stream.set(packets, device=ifindex(self.bed, "wire", "p0"))
            took = stream.generate(count)
        time.sleep(SETTLE_S)
        after = tool.arrived()
        if after[1] != wrong or after[0] - right < count * (1 - LOST_LIMIT):
            raise SystemExit(
                f"{self.name}: of {count} packets {after[0] - right} arrived, {after[1] - wrong} elsewhere"
            )
        return took


@contextmanager
def way(name: str, stream: Stream, tool: Tools) -> Iterator[Way]:
    """A node that carries packets this way."""
    with one_device(name.replace(" ", "")) as bed, ExitStack() as stack:

        def attach(program: int, member: str, device: str, kind: AttachType) -> None:
            flags = XDP_FLAGS_DRV_MODE if kind is AttachType.XDP else 0
            with bed.inside(member):
                link = libbpf.link_create(program, ifindex(bed, member, device), kind, flags)
            stack.callback(os.close, link)
            stack.callback(libbpf.link_detach, link)

        attach(tool.program("sink"), "wire", "p0", AttachType.XDP)
        mac = bytes.fromhex(ROUTER_MAC.replace(":", ""))
        packets = Packets(CLIENT, mac, OWN, NODE_PORT, UDP, to=bytes.fromhex(NODE_MAC.replace(":", "")))
        if name == PLAIN:
            packets = replace(packets, destination=BACKENDS[0], dport=BACKEND_PORT)
        plane = None
        if name in {TC, XDP}:
            plane = filled(ifindex(bed, "node", "n0"))
            stack.callback(plane.close)
            attach(plane.programs["uplink_ingress"], "node", "n0", AttachType.TCX_INGRESS)
            attach(plane.programs["uplink_egress"], "node", "n0", AttachType.TCX_EGRESS)
        if name == NFT:
            numbered = ", ".join(f"{n} : {a} . {BACKEND_PORT}" for n, a in enumerate(BACKENDS))
            bed.run("node", "nft", "-f", "-", text=RULES.replace("{backends}", numbered))
        # without a program the node's end takes no generated frames
        attach(plane.programs["uplink_xdp"] if plane and name == XDP else stream.take, "node", "n0", AttachType.XDP)
        yield Way(name, bed, packets, plane.forget_flows if plane else lambda: None)


def on_the_wire(sets: int, count: int, flows: int, folder: Path) -> Iterator[Result]:
    """Packets a second by each way, and to plain forwarding."""
    found: dict[tuple[int, str], list[float]] = {}
    with Tools(folder) as tool, Stream(folder) as stream, ExitStack() as stack:
        tool.set(*frame(4), 1)
        ways = [stack.enter_context(way(name, stream, tool)) for name in (PLAIN, NFT, TC, XDP)]
        for ports in (1, flows):
            for each in ways:
                each.forget()
                each.shoot(stream, tool, ports, 2 * ports, in_order=True)
            for _ in range(3 * sets):
                for each in ways:
                    took = min(each.shoot(stream, tool, ports, count) for _ in range(2))
                    found.setdefault((ports, each.name), []).append(took)
    for ports in (1, flows):
        plain = found[ports, PLAIN]
        for name in (PLAIN, NFT, TC, XDP):
            yield middle(f"{ports:,} flows, {name}, packets a second", [1e9 / ns for ns in found[ports, name]], "pps")
        for name in (NFT, TC, XDP):
            ratios = [p / ns for p, ns in zip(plain, found[ports, name], strict=True)]
            limit = LIMITS.get(ports) if name == XDP else None
            yield middle(f"{ports:,} flows, {name} to plain forwarding", ratios, at_least=limit)


def measured(sets: int, count: int = 200_000, repeat: int = 200_000, flows: int = FLOWS) -> list[Result]:
    """All of it."""
    one_cpu()
    with tempfile.TemporaryDirectory() as folder:
        return [*on_the_wire(sets, count, flows, Path(folder)), *under_test_run(sets, repeat, flows, Path(folder))]
