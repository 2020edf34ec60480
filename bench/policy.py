"""Nanoseconds per packet of ``pod_ingress`` with network policies: none, one, and many, over many pods.

Packets go straight from one pod to others of the node, as ``bench/datapath.py`` sends them. The pods they are sent to
have ingress rule sets of their own, among which the policies' rules are spread, and the sender has an egress rule set
with a rule for every pod: each flow is judged twice.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from bench.datapath import SENDER, Case, nanoseconds
from bench.plane import SERVICE_PORT, Plane, Pod
from bench.sets import Result, one_cpu
from bench.stream import ACK, SYN, TCP, Packets, Stream
from maps import abi

POLICIES = (0, 1, 100, 1_000, 10_000)
ONE_LIMIT, MANY_LIMIT, ESTABLISHED_LIMIT = 1.3, 1.15, 1.05  # of none, of one, and of none
PODS = 200  # that are sent to, at most
FIRST = IPv4Address("10.244.4.1")
SENDERS_CLASS, FIRST_CLASS = 1, 2
EGRESS, FIRST_INGRESS = abi.RULES_FIRST, abi.RULES_FIRST + 1
_NO_RANGE = abi.PortRange(0, 0, 0, 0, 0)


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
        _govern(plane, policies)
        yield plane
    finally:
        plane.close()


def _govern(plane: Plane, policies: int) -> None:
    """Give the pods their rules: with one policy that of the first pod that is sent to, and of the sender."""
    tables = plane.tables
    node = tables["node"].get(0) or abi.Node.unpack(bytes(abi.Node.SIZE))
    tables["node"].update([(0, replace(node, flags=abi.NodeFlag.NODE_POLICY))])
    governed = min(policies, PODS)
    tables["pod_policies"].update([(1, _pod(abi.RULES_NONE, EGRESS if policies else abi.RULES_NONE))])
    numbers = (FIRST_INGRESS + i if i < governed else abi.RULES_NONE for i in range(PODS))
    tables["pod_policies"].update(enumerate((_pod(number, abi.RULES_NONE) for number in numbers), 2))
    tables["pod_classes"].update(enumerate((abi.PodClass(SENDERS_CLASS + i, 0, 1) for i in range(PODS + 1)), 1))
    tables["rules"].update(_rules(policies, governed))


def _pod(ingress: int, egress: int) -> abi.PodPolicy:
    return abi.PodPolicy(ingress, egress, abi.PodPolicyFlag(0))


def _rules(policies: int, governed: int) -> Iterator[tuple[abi.RuleKey, abi.Rule]]:
    if not policies:
        return
    yield abi.RuleKey(EGRESS, 0), _rule(0)
    for i in range(PODS):
        yield abi.RuleKey(EGRESS, FIRST_CLASS + i), _rule(1)
    for i in range(governed):
        yield abi.RuleKey(FIRST_INGRESS + i, 0), _rule(0)
        yield abi.RuleKey(FIRST_INGRESS + i, SENDERS_CLASS), _rule(1 + i)
    for i in range(policies - governed):
        yield abi.RuleKey(FIRST_INGRESS + i % governed, FIRST_CLASS + PODS + i), _rule(1 + i)


def _rule(policy: int) -> abi.Rule:
    """One that accepts some ports of TCP, those that are sent to among them; policy 0: nothing."""
    if not policy:
        return abi.Rule(0, 1, abi.PolicyVerdict.POLICY_DENY, 0, (_NO_RANGE,) * abi.RULE_RANGES)
    accepted = (SERVICE_PORT, 8000 + policy % 1000, 20_000 + policy)
    ranges = tuple(abi.PortRange(port, port, TCP, abi.PolicyVerdict.POLICY_ACCEPT, policy) for port in accepted)
    padding = (_NO_RANGE,) * (abi.RULE_RANGES - len(ranges))
    return abi.Rule(0, 1, abi.PolicyVerdict.POLICY_DENY, len(ranges), (*ranges, *padding))  # type: ignore[arg-type]


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
