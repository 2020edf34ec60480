"""Whose lease is live, and that no two nodes answer at a time, whatever is lost or late."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.announce.liveness import GAP_S, HOLD_S, JOIN_S, PERIOD_S, TAKE_S, Holding, Liveness
from agent.compile.announce import announcer
from agent.kube.leases import Lease
from agent.model.address import parse_address

ADDRESS = parse_address("198.51.100.80")


def lease(node: str, renewal: int) -> Lease:
    return Lease(f"announce-{node}", node, 2.0, renewed=str(renewal))


def test_a_lease_that_does_not_change_ends_and_one_that_does_again_is_live() -> None:
    seen = Liveness()
    assert seen.look([lease("a", 1)], 0.0, 0.1) == {"a"}
    assert seen.look([lease("a", 1)], 1.0, 1.1) == {"a"}
    assert seen.look([lease("a", 1)], 2.05, 2.1) == {"a"}  # begun before its time had passed since it was seen
    assert seen.look([lease("a", 1)], 2.15, 2.2) == set()
    assert seen.look([lease("a", 2)], 2.6, 2.7) == {"a"}


@pytest.mark.parametrize("first_s", [0.0, 0.1, 0.25, 0.49])
def test_others_know_within_three_seconds_that_a_node_has_died_since_it_renewed_its_lease(first_s: float) -> None:
    seen, at, renewal = Liveness(), first_s, 0
    while "dead" in seen.look([lease("a", renewal), lease("dead", 1)], at, at + 0.02):
        at = min(at + PERIOD_S, max(at + 0.02, seen.due_s("a")))  # as Announcer waits
        renewal += 1
        assert at < 3.0
    assert at > HOLD_S


def test_nobody_is_judged_by_a_time_in_which_nobody_looked() -> None:
    seen = Liveness()
    seen.look([lease("a", 1), lease("b", 1)], 0.0, 0.0)
    for at in (0.5, 1.0, 1.5, 2.0):
        seen.look([lease("a", 1), lease("b", int(at * 2))], at, at)
    after = 2.0 + GAP_S + 60
    assert seen.look([lease("a", 1), lease("b", 4)], after, after) == {"b"}  # a was dead before
    assert seen.look([lease("a", 1), lease("b", 4)], after + 1, after + 1) == {"b"}
    assert seen.look([lease("a", 1), lease("b", 4)], after + TAKE_S, after + TAKE_S) == set()


def test_a_node_that_comes_or_comes_back_waits_until_all_have_seen_it() -> None:
    holding = Holding()
    assert holding.fresh_until_s(0.0) is None
    for at in (10.0, 10.5, 11.0, 11.5, 12.0):
        holding.renewed(at, at + 0.1)
        holding.looked(at)
        assert (holding.fresh_until_s(at + 0.1) is None) is (at < 10.0 + JOIN_S)
    assert holding.fresh_until_s(12.1) == 12.0 + HOLD_S
    assert holding.fresh_until_s(12.0 + HOLD_S) is None
    holding.renewed(14.0, 14.2)
    holding.looked(14.2)
    assert holding.fresh_until_s(14.2) is None
    for at in (15.0, 14.2 + JOIN_S):
        holding.renewed(at, at)
        holding.looked(at)
    assert holding.fresh_until_s(14.2 + JOIN_S) is not None


def test_who_does_not_see_the_others_does_not_answer_for_long() -> None:
    holding = Holding()
    for at in (0.0, 1.0, 2.0):
        holding.renewed(at, at)
        holding.looked(at)
    holding.renewed(3.0, 3.0)
    assert holding.fresh_until_s(3.0) == 2.0 + JOIN_S
    holding.renewed(3.5, 3.5)
    assert holding.fresh_until_s(3.5) is None


class Node:
    """A node as announcer.py turns: it renews, then looks; requests may be lost, or answered late."""

    def __init__(self, name: str, rate: float) -> None:
        self.name, self.rate = name, rate
        self.liveness, self.holding = Liveness(), Holding()
        self.live: frozenset[str] = frozenset()

    def clock(self, now: float) -> float:
        """Its own."""
        return now * self.rate

    def is_answering(self, now: float) -> bool:
        """With a fresh lease; without one it answers until it hears of another, which is another test's."""
        is_fresh = self.holding.fresh_until_s(self.clock(now)) is not None
        return is_fresh and self.name in self.live and announcer(ADDRESS, self.live) == self.name


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),  # which node turns
            st.floats(0.05, 0.4),  # after so long
            st.sampled_from(["", "", "", "", "unheard", "away", "blind"]),
            st.floats(0.0, 0.4),  # until it has the answers
        ),
        max_size=150,
    ),
    st.lists(st.floats(0.95, 1.05), min_size=3, max_size=3),
)
def test_no_two_nodes_answer_with_fresh_leases(turns: list[tuple[int, float, str, float]], rates: list[float]) -> None:
    """Whatever requests are lost, or their answers, or come late; with clocks that run apart by a tenth."""
    nodes = [Node(name, rate) for name, rate in zip("abc", rates, strict=True)]
    stored: dict[str, Lease] = {}
    now, count = 100.0, 0
    for index, pause, fault, late in turns:
        now += pause
        node = nodes[index]
        began, ended = node.clock(now), node.clock(now + late)
        if fault != "away":
            count += 1
            stored[node.name] = lease(node.name, count)
        if fault not in {"away", "unheard"}:
            node.holding.renewed(began, ended)
        if fault not in {"away", "blind"}:
            node.holding.looked(began)
            live = node.liveness.look(stored.values(), began, ended) - {node.name}
            if node.holding.fresh_until_s(ended) is not None or node.name in node.live:
                live |= {node.name}
            node.live = live
        for at in (now, now + late / 2):
            answering = [one.name for one in nodes if one.is_answering(at)]
            assert len(answering) <= 1, answering


def test_a_node_that_answers_takes_over_from_one_that_dies_in_time() -> None:
    """The law above would hold for nodes that never answer."""
    nodes = [Node("a", 1.0), Node("b", 1.0)]
    owner = announcer(ADDRESS, frozenset("ab"))
    stored: dict[str, Lease] = {}
    died, taken = 10.0, 0.0
    for step in range(60):
        now = step / 4
        for node in nodes:
            if node.name == owner and now > died:
                continue
            stored[node.name] = lease(node.name, step)
            node.holding.renewed(now, now)
            node.holding.looked(now)
            node.live = node.liveness.look(stored.values(), now, now) | {node.name}
        if now == died:
            assert [one.name for one in nodes if one.is_answering(now)] == [owner]
        if now > died and not taken and any(one.name != owner and one.is_answering(now) for one in nodes):
            taken = now
    assert 0 < taken - died <= 3.0
