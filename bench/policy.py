"""Nanoseconds per packet of ``pod_ingress`` with network policies: none, one, and many, over many pods.

Packets go straight from one pod to others of the node, as ``bench/datapath.py`` sends them. The pods they are sent to
have ingress rule sets of their own, among which the policies' rules are spread, and the sender has an egress rule set
with a rule for every pod: each flow is judged twice.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path

from bench.datapath import SENDER, Case, nanoseconds
from bench.governed import PODS, govern
from bench.plane import SERVICE_PORT, Plane, Pod
from bench.sets import Result, one_cpu
from bench.stream import ACK, SYN, TCP, Packets, Stream

POLICIES = (0, 1, 100, 1_000, 10_000)
ONE_LIMIT, MANY_LIMIT, ESTABLISHED_LIMIT = 1.3, 1.15, 1.05  # of none, of one, and of none
FIRST = IPv4Address("10.244.4.1")


def measured(
    sets: int, policies: tuple[int, ...] = POLICIES, new_flows: int = 50_000, repeat: int = 500_000
) -> list[Result]:
    """All numbers, the best of alternated sets, each with the harness's own part taken off."""
    one_cpu()
    best: dict[tuple[str, int], tuple[float, float]] = {}
    with ExitStack() as stack:
        stream = stack.enter_context(Stream(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        for number in range(sets):
            for n in policies if number % 2 else tuple(reversed(policies)):
                with _plane(n) as plane:
                    for case in cases(new_flows, repeat):
                        took = nanoseconds(stream, plane, case)
                        known = best.get((case.name, n), took)
                        best[case.name, n] = (min(known[0], took[0]), min(known[1], took[1]))
    return _results({what: whole - own for what, (whole, own) in best.items()}, policies)


def cases(new_flows: int, repeat: int) -> tuple[Case, ...]:
    """New and established flows, to one pod and to all."""

    def packets(flags: int, ports: int = 1, hosts: int = 1) -> Packets:
        return Packets(SENDER.address, SENDER.mac, FIRST, SERVICE_PORT, TCP, flags, ports, hosts=hosts)

    return (
        Case("new flow", packets(SYN, new_flows), new_flows, 1),
        Case("new flows to all pods", packets(SYN, new_flows, PODS), new_flows, 1),
        Case("established flow", packets(ACK), repeat, 1),
        Case("established flows to all pods", packets(ACK, PODS, PODS), repeat, 1),
    )


@contextmanager
def _plane(policies: int) -> Iterator[Plane]:
    plane = Plane.load()
    try:
        pods = [Pod(FIRST + i, 4242 + i, (0x020000010000 + i).to_bytes(6, "big")) for i in range(PODS)]
        plane.fill([SENDER, *pods], 0, (), TCP)
        govern(plane, policies, TCP, SERVICE_PORT)
        yield plane
    finally:
        plane.close()


def _results(best: dict[tuple[str, int], float], policies: tuple[int, ...]) -> list[Result]:
    found = [Result(f"{name}, {n:,} policies", ns, "ns") for (name, n), ns in sorted(best.items())]
    none, one, some, many = (*policies[:3], policies[-1])
    compared: tuple[tuple[int, int, float], ...]
    for name in dict.fromkeys(name for name, _ in best):
        if name.startswith("established"):
            compared = ((many, none, ESTABLISHED_LIMIT),)
        elif name == "new flow":
            compared = ((one, none, ONE_LIMIT), (many, one, MANY_LIMIT))
        else:
            compared = ((many, some, MANY_LIMIT),)
        for more, less, limit in compared:
            ratio = best[name, more] / best[name, less]
            found.append(Result(f"{name}, {more:,} policies to {less:,}", ratio, "", at_most=limit))
    return found
