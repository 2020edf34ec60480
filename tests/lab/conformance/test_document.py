"""The page of results keeps what is written by hand, and has the newest results."""

from lab.conformance import document, policy_suite
from lab.conformance.results import Result, Verdict

PAGE = f"""# Title

By hand.

{document.WHOLE_RUN}

old

## Behind

Kept.
"""
NETPOL = "[sig-network] Netpol NetworkPolicy between server and client should deny [Feature:NetworkPolicy]"


def test_the_text_below_a_heading_is_another_one_and_nothing_else_is() -> None:
    assert document.replaced(PAGE, document.WHOLE_RUN, "new\n") == PAGE.replace("old", "new")


def test_a_page_without_the_heading_gets_it_at_its_end() -> None:
    assert document.replaced("# Title\n", "## New", "text") == "# Title\n\n## New\n\ntext\n"


def test_policy_has_a_row_for_each_test_and_a_column_for_each_pass() -> None:
    results = {
        "on": [Result(NETPOL, Verdict.PASS), Result("[sig-network] DNS", Verdict.PASS)],
        "off": [Result(NETPOL, Verdict.FAIL, reason="x")],
        "zones": [Result("[sig-network] Zones", Verdict.PASS)],
        policy_suite.NAME: [Result("Egress: Should deny", Verdict.PASS, reason="2 requests by SCTP were not made")],
    }
    assert document.policy("commit x", results).splitlines() == [
        "commit x.",
        "",
        "| upstream: should | on | off |",
        "|---|---|---|",
        "| deny | pass | fail |",
        "",
        "| policy-api: sigs.k8s.io/network-policy-api | end | note |",
        "|---|---|---|",
        "| Egress: Should deny | pass | 2 requests by SCTP were not made |",
    ]
