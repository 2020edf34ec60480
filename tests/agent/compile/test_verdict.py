"""What several policies' rules say together: the tiers in their order, and ports that do not overlap."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.compile.verdict import PROTOCOLS, Match, Outcome, PortOutcome, Table, table
from agent.model.policy import PortRange, Tier, Verdict
from agent.model.service import Protocol

TCP, UDP = Protocol.TCP, Protocol.UDP
ADMIN, NAMESPACE, BASELINE = Tier
ACCEPT, DENY, PASS = Verdict
ALLOWED, DEFAULT = Outcome(accepts=True), 9  # nobody's verdict; who isolates


def rule(tier: Tier, verdict: Verdict, policy: int, *ports: PortRange) -> Match:
    """A rule of a policy; without ports of every one."""
    return Match(tier, verdict, ports or None, policy)


def accepted(low: int, high: int, policy: int, protocol: Protocol = TCP) -> PortOutcome:
    return PortOutcome(protocol, low, high, Outcome(accepts=True, policy=policy))


def denied(low: int, high: int, policy: int) -> PortOutcome:
    return PortOutcome(TCP, low, high, Outcome(accepts=False, policy=policy))


@pytest.mark.parametrize(
    ("matches", "isolated_by", "expected"),
    [
        pytest.param([], None, Outcome(accepts=True, policy=0), id="no policy: accepted by nobody"),
        pytest.param(
            [], DEFAULT, Outcome(accepts=False, policy=DEFAULT), id="isolated, and no rule: denied by who isolates"
        ),
        pytest.param([], 0, Outcome(accepts=False, policy=0), id="a policy without a number isolates as well"),
        pytest.param([rule(NAMESPACE, ACCEPT, 2)], DEFAULT, Outcome(accepts=True, policy=2), id="a rule accepts"),
        pytest.param(
            [rule(ADMIN, DENY, 1), rule(ADMIN, ACCEPT, 2)],
            None,
            Outcome(accepts=False, policy=1),
            id="the first of a tier decides",
        ),
        pytest.param(
            [rule(ADMIN, DENY, 1), rule(NAMESPACE, ACCEPT, 2)],
            DEFAULT,
            Outcome(accepts=False, policy=1),
            id="Admin before NetworkPolicy",
        ),
        pytest.param(
            [rule(ADMIN, ACCEPT, 1)],
            DEFAULT,
            Outcome(accepts=True, policy=1),
            id="Admin accepts who is isolated otherwise",
        ),
        pytest.param(
            [rule(ADMIN, PASS, 1), rule(ADMIN, DENY, 2), rule(NAMESPACE, ACCEPT, 3)],
            DEFAULT,
            Outcome(accepts=True, policy=3),
            id="Pass leaves the rest of its tier out",
        ),
        pytest.param(
            [rule(ADMIN, PASS, 1)],
            DEFAULT,
            Outcome(accepts=False, policy=DEFAULT),
            id="passed on to a policy that isolates",
        ),
        pytest.param(
            [rule(ADMIN, PASS, 1), rule(BASELINE, DENY, 2)],
            None,
            Outcome(accepts=False, policy=2),
            id="passed on to Baseline",
        ),
        pytest.param(
            [rule(BASELINE, ACCEPT, 2)],
            DEFAULT,
            Outcome(accepts=False, policy=DEFAULT),
            id="Baseline is not asked of who is isolated",
        ),
        pytest.param([rule(BASELINE, PASS, 2)], None, ALLOWED, id="Baseline passes: accepted by nobody"),
    ],
)
def test_tiers(matches: list[Match], isolated_by: int | None, expected: Outcome) -> None:
    assert table(matches, isolated_by) == Table(expected)


@pytest.mark.parametrize(
    ("matches", "isolated_by", "expected"),
    [
        pytest.param(
            [rule(NAMESPACE, ACCEPT, 2, PortRange(TCP, 80, 80), PortRange(TCP, 81, 90))],
            DEFAULT,
            (accepted(80, 90, 2),),
            id="neighbours of one verdict are one range",
        ),
        pytest.param(
            [rule(NAMESPACE, ACCEPT, 2, PortRange(TCP, 80, 90)), rule(NAMESPACE, ACCEPT, 3, PortRange(TCP, 85, 95))],
            DEFAULT,
            (accepted(80, 90, 2), accepted(91, 95, 3)),
            id="what two policies accept is the first one's",
        ),
        pytest.param(
            [rule(ADMIN, DENY, 1, PortRange(TCP, 80, 80)), rule(ADMIN, ACCEPT, 2, PortRange(TCP, 1, 100))],
            DEFAULT,
            (accepted(1, 79, 2), denied(80, 80, 1), accepted(81, 100, 2)),
            id="a port within a range",
        ),
        pytest.param(
            [rule(ADMIN, DENY, 1, PortRange(TCP)), rule(ADMIN, ACCEPT, 2)],
            None,
            (denied(0, 65535, 1),),
            id="all ports of one protocol",
        ),
        pytest.param(
            [rule(ADMIN, ACCEPT, 1), rule(ADMIN, DENY, 2, PortRange(TCP, 80, 80))],
            None,
            (),
            id="ports behind a rule for all",
        ),
        pytest.param(
            [rule(ADMIN, ACCEPT, 1, PortRange(UDP, 53, 53), PortRange(TCP, 53, 53))],
            DEFAULT,
            (accepted(53, 53, 1), accepted(53, 53, 1, UDP)),
            id="two protocols, TCP first",
        ),
    ],
)
def test_ports(matches: list[Match], isolated_by: int | None, expected: tuple[PortOutcome, ...]) -> None:
    assert table(matches, isolated_by).ports == expected


edges = st.sampled_from([0, 1, 2, 3, 5, 8, 65533, 65534, 65535])
some_ports = st.builds(
    lambda protocol, one, other: PortRange(protocol, min(one, other), max(one, other)),
    st.sampled_from(PROTOCOLS),
    edges,
    edges,
)
some_matches = st.lists(
    st.builds(
        Match,
        st.sampled_from(Tier),
        st.sampled_from(Verdict),
        st.none() | st.lists(some_ports, min_size=1, max_size=3).map(tuple),
        st.integers(1, 5),
    ).map(lambda one: one if one.tier is not NAMESPACE else Match(NAMESPACE, ACCEPT, one.ports, one.policy)),
    max_size=6,
).map(lambda found: sorted(found, key=lambda one: one.tier))


def plainly(matches: list[Match], isolated_by: int | None, protocol: Protocol, port: int) -> Outcome:
    """The verdict of a port, by going through the tiers."""
    for tier in Tier:
        if tier is BASELINE and isolated_by is not None:
            return Outcome(accepts=False, policy=isolated_by)
        first = next((one for one in matches if one.tier is tier and one.has(protocol, port)), None)
        if first is not None and first.verdict is not PASS:
            return Outcome(first.verdict is ACCEPT, first.policy)
    return ALLOWED


@given(some_matches, st.none() | st.just(DEFAULT), st.sampled_from(PROTOCOLS), edges)
def test_each_port_s_verdict_is_that_of_the_rules(
    matches: list[Match], isolated_by: int | None, protocol: Protocol, port: int
) -> None:
    found = table(matches, isolated_by)
    meant = [one.outcome for one in found.ports if one.protocol is protocol and one.low <= port <= one.high]
    assert len(meant) <= 1
    assert (meant or [found.otherwise])[0] == plainly(matches, isolated_by, protocol, port)


@given(some_matches, st.none() | st.just(DEFAULT))
def test_ranges_are_sorted_as_few_as_can_be_and_none_says_what_is_so_anyway(
    matches: list[Match], isolated_by: int | None
) -> None:
    found = table(matches, isolated_by)
    assert all(one.outcome != found.otherwise and one.low <= one.high for one in found.ports)
    for one, two in pairwise(found.ports):
        order = PROTOCOLS.index(one.protocol), PROTOCOLS.index(two.protocol)
        assert order[0] < order[1] or (order[0] == order[1] and one.high < two.low)
        assert (one.protocol, one.high + 1, one.outcome) != (two.protocol, two.low, two.outcome)
