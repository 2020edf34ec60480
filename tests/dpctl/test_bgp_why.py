"""``dpctl bgp why``: the rule that decides, from what the agent left and what BIRD says."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from agent.bgp.control import Answer
from agent.bgp.sessions import SessionState
from agent.serve.bgp_report import BgpReport, SessionLine, StepLine
from dpctl.bgp_why import Facts, WhyRow, _facts, why_rows

POD, SERVICE, TAKEN = "10.244.1.0/24", "203.0.113.1/32", "198.51.100.0/24"
UP = SessionState("peer_tor", "Established", address="192.0.2.1")
TOR = SessionLine(
    "peer_tor",
    "BGPPeer tor",
    "192.0.2.1",
    64600,
    "192.0.2.11",
    families=(4,),
    imports=(
        StepLine("BGPFilter lab import[0]", accepts=False, prefixes=(("198.51.100.128/25", 25, 32),)),
        StepLine("BGPFilter lab import[1]", accepts=True, prefixes=(("192.0.2.0/24", 24, 32),), needs="it has 65000:1"),
        StepLine("BGPPeer tor import", accepts=True, prefixes=((TAKEN, 24, 32),)),
    ),
    exports=(
        StepLine("BGPFilter lab export[0]", accepts=False, origins=("Pods",)),
        StepLine("BGPFilter lab export[1]", accepts=False, origins=("Services",), excepted=((SERVICE, 32, 32),)),
        StepLine("BGPPeer tor export.services", accepts=True, origins=("Services",), does="adds 65000:2"),
    ),
)
REPORT = BgpReport("192.0.2.11", 64512, (TOR,), (POD,), (SERVICE,), ("203.0.114.0/24",))


def rows(
    prefix: str, *sources: str, told: bool = False, state: SessionState = UP, report: BgpReport = REPORT
) -> list[WhyRow]:
    facts = Facts(sources, frozenset({"peer_tor"} if told else ()), {"peer_tor": state})
    return list(why_rows(ip_network(prefix), report, facts))


@pytest.mark.parametrize(
    ("found", "is_so", "by", "why"),
    [
        pytest.param(
            rows(SERVICE, "own_services4", told=True), True, "BGPPeer tor export.services", "adds 65000:2", id="told"
        ),
        pytest.param(
            rows(POD, "own_pods4"), False, "BGPFilter lab export[0]", "the rule rejects it", id="a filter rejects it"
        ),
        pytest.param(
            rows("203.0.113.2/32", "own_services4"),
            False,
            "BGPFilter lab export[1]",
            "the rule rejects it",
            id="a rule with exceptions, of which it is none",
        ),
        pytest.param(
            rows(SERVICE, "own_services4", state=replace(UP, state="Active", error="Socket: No route to host")),
            False,
            "BGPPeer tor export.services",
            "the session is Active: Socket: No route to host",
            id="the session is down",
        ),
        pytest.param(rows("203.0.114.9/32"), False, "(none)", "203.0.114.0/24 is told in its place", id="an aggregate"),
        pytest.param(
            rows("203.0.113.7/32"),
            False,
            "(none)",
            "this node has no such prefix: no ready endpoint, not advertised, or another's",
            id="nothing to tell",
        ),
        pytest.param(
            rows("203.0.113.7/32", report=replace(REPORT, why_gone="the Node is cordoned")),
            False,
            "(none)",
            "this node has no such prefix; of Services it tells none: the Node is cordoned",
            id="a node that is about to go",
        ),
        pytest.param(rows(TAKEN, "peer_x"), False, "(none)", "no rule tells it", id="another router's is not told on"),
    ],
)
def test_to_whom_it_is_told(found: list[WhyRow], is_so: bool, by: str, why: str) -> None:  # noqa: FBT001
    assert found[0] == WhyRow("BGPPeer tor", "told", is_so, by, why)


@pytest.mark.parametrize(
    ("found", "is_so", "by", "why"),
    [
        pytest.param(rows(TAKEN, "peer_tor"), True, "BGPPeer tor import", "", id="taken"),
        pytest.param(rows(TAKEN), False, "BGPPeer tor import", "the peer does not tell it", id="it does not tell"),
        pytest.param(
            rows(TAKEN, state=replace(UP, is_limited=True)),
            False,
            "BGPPeer tor import",
            "it is beyond the peer's import.limit, or not told",
            id="it tells too much",
        ),
        pytest.param(rows("198.51.100.128/25"), False, "BGPFilter lab import[0]", "the rule rejects it", id="rejected"),
        pytest.param(
            rows("192.0.2.0/24"), False, "BGPFilter lab import[1]", "only where it has 65000:1", id="for want of more"
        ),
        pytest.param(rows("0.0.0.0/0"), False, "(none)", "nobody asks for it", id="nobody asks for it"),
    ],
)
def test_of_whom_it_is_taken(found: list[WhyRow], is_so: bool, by: str, why: str) -> None:  # noqa: FBT001
    assert found[1] == WhyRow("BGPPeer tor", "taken", is_so, by, why)


def test_a_session_that_does_not_carry_the_family_is_not_asked() -> None:
    assert rows("2001:db8::/64") == []


def test_a_route_that_leads_nowhere_is_told_apart() -> None:
    lines = "198.51.100.0/24      unreachable [peer_tor 10:43:18.526 from 192.0.2.1] * (100) [i]"
    also = "                     unicast [peer_x 10:43:18.526] (100) [i]"
    bird = Asked({"show route 198.51.100.0/24": Answer(((1007, lines), (1007, also), (0, "")))})
    facts = _facts(bird, ip_network(TAKEN))  # type: ignore[arg-type]
    assert (facts.sources, facts.nowhere) == (("peer_tor", "peer_x"), frozenset({"peer_tor"}))
    (_, taken) = why_rows(ip_network(TAKEN), REPORT, replace(facts, sessions={"peer_tor": UP}))
    assert (taken.is_so, taken.rule) == (True, "BGPPeer tor import")
    assert taken.why == "its next hop leads nowhere by this node's own routes, so no packet follows it"


class Asked:
    """A BIRD that answers this."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self._answers = answers

    def ask(self, command: str) -> Answer:
        """As Control.ask()."""
        return self._answers.get(command, Answer(((0, ""),)))
