"""A policy of very many ranges and ports costs what is said of them, not each range times each port.

The thread that works it out brings pods and Services to the maps as well: it would keep all others waiting.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest

from agent.compile.atom import NOBODY, Atoms, Signature
from agent.compile.desired import desired
from agent.compile.rule_set import Reader, RuleSet, set_key
from agent.compile.settings import Settings
from agent.compile.verdict import Match, Outcome, Table, table
from agent.model.address import parse_network
from agent.model.name import ObjectName
from agent.model.policy import (
    CidrPeer,
    ContainerPort,
    Direction,
    NamedPort,
    PodPeer,
    Policy,
    PortRange,
    Rule,
    Tier,
    Verdict,
)
from agent.model.service import Protocol
from maps import abi
from tests.agent.compile.objects import FRESH
from tests.agent.compile.test_range_room import ATTACHED, QUIET, cluster

TIMES = 8  # as much is asked for: what grows with the square takes 64 times as many steps
BOUND = 12
HTTP = PortRange(Protocol.TCP, 80, 80)
SETTINGS = Settings("here", network_policy=True)


def lines_of(work: Callable[[], object]) -> int:
    """How many lines it goes through, each as often as it does: the same on every machine."""
    count = 0

    def trace(_frame: FrameType, _event: str, _what: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def ports(count: int) -> tuple[PortRange, ...]:
    return tuple(PortRange(Protocol.TCP, 2 * at + 1, 2 * at + 1) for at in range(count))


def ranges(count: int) -> tuple[CidrPeer, ...]:
    return tuple(CidrPeer(parse_network(f"172.{16 + (at >> 8)}.{at & 255}.0/24")) for at in range(count))


def read(rules: Iterable[Rule]) -> tuple[Reader, list[Signature]]:
    """A reader of a policy, and the signature of each of its ranges."""
    policy = Policy(ObjectName("x", "large"), PodPeer(namespace="x"), tuple(rules))
    key = set_key(Direction.INGRESS, (policy,), ())
    assert key
    made = RuleSet(key, (policy,))
    atoms = Atoms().of(made.peers)
    return Reader(made, atoms, {}), [frozenset({atom}) for atom in atoms.by_meaning.values()]


def test_ports_of_one_rule_are_gone_through_once() -> None:
    def work(count: int) -> int:
        return lines_of(lambda: table((Match(Tier.NAMESPACE, Verdict.ACCEPT, ports(count), 1),), 1))

    assert work(500 * TIMES) < BOUND * work(500)


def test_a_stretch_of_ports_is_taken_once_however_many_rules_mean_it() -> None:
    def work(count: int) -> int:
        over = (PortRange(Protocol.TCP, 1, 60000),)
        rules = [Match(Tier.NAMESPACE, Verdict.ACCEPT, over, at) for at in range(count)]
        every = (*rules, Match(Tier.NAMESPACE, Verdict.ACCEPT, ports(count), 1))
        return lines_of(lambda: table(every, 1))

    assert work(500 * TIMES) < BOUND * work(500)


def test_what_is_said_of_ranges_of_one_rule_is_worked_out_once() -> None:
    reader, signatures = read((Rule(peers=ranges(2000), ports=ports(100)),))
    assert len({id(reader.table(one)) for one in signatures}) == 1


def test_a_range_is_looked_for_in_the_rules_that_name_it() -> None:
    def work(count: int) -> int:
        rules = [Rule(peers=(one,), ports=ports(1)) for one in ranges(count)]

        def read_all() -> None:
            reader, signatures = read(rules)
            for one in signatures:
                reader.table(one)

        return lines_of(read_all)

    assert work(500 * TIMES) < BOUND * work(500)


def test_named_ports_are_looked_for_by_their_names() -> None:
    """In the pod that has them, and for the sentence about those that nobody has."""

    def work(count: int) -> int:
        names = [f"p{at}" for at in range(count)]
        rules = (Rule(ports=tuple(NamedPort(one, Protocol.TCP) for one in names)),)
        named = Policy(ObjectName("loud", "named"), PodPeer(namespace="loud"), rules)
        given, pod = cluster(named), ObjectName("loud", "pod")
        ports = tuple(ContainerPort(one, Protocol.TCP, at) for at, one in enumerate(names, 1))
        given = replace(given, pods={**given.pods, pod: replace(given.pods[pod], ports=ports)})
        return lines_of(lambda: desired(given, SETTINGS, FRESH))

    assert work(500 * TIMES) < BOUND * work(500)


def test_a_label_of_another_pod_has_no_policy_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    given = cluster(QUIET, Policy(ObjectName("loud", "large"), PodPeer(namespace="loud"), (Rule(peers=ranges(50)),)))
    before = desired(given, SETTINGS, FRESH)
    read_again: list[str] = []

    def words(rules: RuleSet) -> Iterator[bytes | str]:
        read_again.extend(rules.key.policies)
        yield from right(rules)

    right = RuleSet._words  # noqa: SLF001  what is read
    monkeypatch.setattr(RuleSet, "_words", words)
    pod = ObjectName("quiet", "pod")
    labelled = replace(given, pods={**given.pods, pod: replace(given.pods[pod], labels=(("a", "b"),))})
    desired(labelled, SETTINGS, before)
    assert read_again == []


def test_what_is_more_than_can_be_worked_out_denies_and_is_not_worked_out() -> None:
    """Each range has rules of its own, and all ports beside: no two are told the same."""
    rules = [Rule(ports=ports(20_000)), *(Rule(peers=(one,), ports=(HTTP,)) for one in ranges(2000))]

    def read_all() -> Reader:
        reader, signatures = read(rules)
        for one in signatures:
            reader.table(one)
        return reader

    assert lines_of(read_all) < 20 * lines_of(
        lambda: table((Match(Tier.NAMESPACE, Verdict.ACCEPT, ports(20_000), 1),), 1)
    )
    reader = read_all()
    assert reader.is_void
    assert reader.table(NOBODY) == Table(Outcome(accepts=False))


def test_pods_of_a_policy_that_is_more_than_can_be_worked_out_pass_nothing_and_others_what_they_may() -> None:
    rules = (Rule(ports=ports(20_000)), *(Rule(peers=(one,), ports=(HTTP,)) for one in ranges(100)))
    large = Policy(ObjectName("loud", "large"), PodPeer(namespace="loud"), rules)
    found = desired(cluster(QUIET, large), SETTINGS, FRESH)
    pods = {one.pod.namespace: found.policies.pods[one.key].ingress for one in ATTACHED if one.pod}
    assert pods["loud"] == abi.RULES_UNKNOWN
    assert pods["quiet"] >= abi.RULES_FIRST
    assert [str(one.name) for one in found.problems] == ["loud/large"]
    smaller = replace(large, ingress=rules[1:])
    now = desired(cluster(QUIET, smaller), SETTINGS, found)
    now = desired(cluster(QUIET, smaller), SETTINGS, now, settle=True)
    assert now.policies.pods[ATTACHED[1].key].ingress >= abi.RULES_FIRST
    assert now.problems == ()
