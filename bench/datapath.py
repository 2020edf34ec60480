"""Nanoseconds per packet of ``pod_ingress`` as it ships, by BPF_PROG_TEST_RUN, with few and many services.

Every repetition is a fresh packet (``stream.bpf.c``), whose own cost is measured beside and taken off, the best of one
from the best of the other. One is not believed unless every packet was counted as forwarded and the table holds the
flows that it should. Each set has programs and maps of its own: where their memory comes to lie makes a difference.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bench.plane import FIRST_SERVICE, SERVICE_PORT, Plane, Pod
from bench.sets import Result, one_cpu, undisturbed
from bench.stream import ACK, SYN, TCP, Packets, Stream
from maps.abi import DropReason

SERVICES = (1, 1_000, 10_000)
SAME_SERVICE_LIMIT = 1.15  # the same service among the most of them and alone
LOOPBACK = 1  # the device that every test run has
SENDER = Pod(IPv4Address("10.244.1.2"), LOOPBACK, bytes.fromhex("020000000001"))
RECEIVER = Pod(IPv4Address("10.244.1.3"), 4242, bytes.fromhex("020000000002"))
TC_ACT_REDIRECT = 7
CHECKED = 500  # packets whose verdicts are looked at one by one


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of packet: *packets* to send, each flow leaving *entries* in the table."""

    name: str
    packets: Packets
    repeat: int
    entries: int

    @property
    def flows(self) -> int:
        """How many flows the packets belong to."""
        return max(self.packets.ports, self.packets.hosts)

    @property
    def is_new(self) -> bool:
        """Whether every packet begins a flow."""
        return self.packets.tcp_flags == SYN


def cases(services: int, new_flows: int, repeat: int) -> tuple[Case, ...]:
    """What is sent to a node with so many services: first to one of them or none, then to all."""

    def packets(destination: IPv4Address, flags: int, ports: int = 1, hosts: int = 1) -> Packets:
        return Packets(SENDER.address, SENDER.mac, destination, SERVICE_PORT, TCP, flags, ports, hosts=hosts)

    one = FIRST_SERVICE + services // 2
    return (
        Case("new flow", packets(one, SYN, new_flows), new_flows, 2),
        Case("established flow", packets(one, ACK), repeat, 2),
        Case("no service, established", packets(RECEIVER.address, ACK), repeat, 1),
        Case("new flows over all services", packets(FIRST_SERVICE, SYN, new_flows, services), new_flows, 2),
        Case("established flows over all services", packets(FIRST_SERVICE, ACK, services, services), repeat, 2),
    )


def measured(
    sets: int, services: tuple[int, ...] = SERVICES, new_flows: int = 50_000, repeat: int = 100_000
) -> list[Result]:
    """All numbers, the best of alternated sets; those of the same service are held to their limit."""
    one_cpu()
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with ExitStack() as stack:
        stream = stack.enter_context(Stream(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        for number in range(sets):
            for n in services:
                with _plane(n) as plane:
                    for case in cases(n, new_flows, repeat):
                        took = nanoseconds(stream, plane, case, checked=0 if number else CHECKED)
                        found.setdefault((case.name, n), []).append(took)
    best = {what: min(whole for whole, _ in took) - min(own for _, own in took) for what, took in found.items()}
    return _results(best, services)


def nanoseconds(stream: Stream, plane: Plane, case: Case, checked: int = 0) -> tuple[float, float]:
    """The mean cost of one packet, checked by what was counted, and the harness's part of it."""
    program = plane.programs["pod_ingress"]
    stream.set(case.packets)
    plane.forget_flows()
    with undisturbed():
        harness = stream.run(stream.nothing, case.repeat, LOOPBACK).duration_ns
    for _ in range(checked):
        verdict = stream.run(program, 1, LOOPBACK).retval
        _check(case, "verdict", verdict, TC_ACT_REDIRECT)
    if case.is_new:
        plane.forget_flows()
    else:
        stream.run(program, 2 * case.flows, LOOPBACK)
    before = plane.counted()
    with undisturbed():
        run = stream.run(program, case.repeat, LOOPBACK)
    _check(case, "counted", _difference(plane.counted(), before), {DropReason.DROP_NONE: case.repeat})
    _check(case, "last verdict", run.retval, TC_ACT_REDIRECT)
    _check(case, "entries", plane.tables["flows"].count(), case.entries * case.flows)
    return run.duration_ns, harness


@contextmanager
def _plane(services: int) -> Iterator[Plane]:
    plane = Plane.load()
    try:
        plane.fill([SENDER, RECEIVER], services, (RECEIVER.address,), TCP)
        yield plane
    finally:
        plane.close()


def _results(best: Mapping[tuple[str, int], float], services: tuple[int, ...]) -> list[Result]:
    few, many = services[0], services[-1]
    results = []
    for name, n in best:
        results.append(Result(f"{name}, {n:,} services", best[name, n], "ns"))
    for name in dict.fromkeys(name for name, _ in best):
        limit = None if "all services" in name else SAME_SERVICE_LIMIT
        ratio = best[name, many] / best[name, few]
        results.append(Result(f"{name}, {many:,} services to {few:,}", ratio, "", at_most=limit))
    return results


def _difference(after: Mapping[DropReason, int], before: Mapping[DropReason, int]) -> dict[DropReason, int]:
    changes = {reason: count - before.get(reason, 0) for reason, count in after.items()}
    return {reason: change for reason, change in changes.items() if change}


def _check(case: Case, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise SystemExit(f"{case.name}: {what} {found}, not {expected}: what was measured is not this packet's way")
