"""The output of the policy API's suite is read as one result for each of its innermost tests."""

from lab.conformance.policy_suite import read
from lab.conformance.results import Result, Verdict

OUTPUT = """\
=== RUN   TestPolicyAPI
    policyapi_test.go:1: Creating x
=== RUN   TestPolicyAPI/Egress
=== RUN   TestPolicyAPI/Egress/Should_allow_'x'
    helper.go:71: not run: SCTP from a to b, port 9003
    helper.go:71: not run: SCTP from a to b, port 9005
=== RUN   TestPolicyAPI/Egress/Should_deny
    helper.go:99: Expected connection to fail from a to b, but instead it successfully connected.
=== NAME  TestPolicyAPI/Egress
    apply.go:1: Deleting x
=== RUN   TestPolicyAPI/SCTP
    policyapi_test.go:9: SCTP: the kernel may have none
--- FAIL: TestPolicyAPI (9.00s)
    --- FAIL: TestPolicyAPI/Egress (8.00s)
        --- PASS: TestPolicyAPI/Egress/Should_allow_'x' (3.00s)
        --- FAIL: TestPolicyAPI/Egress/Should_deny (5.00s)
    --- SKIP: TestPolicyAPI/SCTP (0.00s)
FAIL
"""


def test_each_innermost_test_is_a_result() -> None:
    denied = "helper.go:99: Expected connection to fail from a to b, but instead it successfully connected."
    assert read(OUTPUT) == (
        Result("Egress: Should allow 'x'", Verdict.PASS, 3.0, "2 requests by SCTP were not made"),
        Result("Egress: Should deny", Verdict.FAIL, 5.0, denied),
        Result("SCTP", Verdict.SKIP, 0.0, "SCTP: the kernel may have none"),
    )


def test_a_suite_that_did_not_end_is_a_failure() -> None:
    (found,) = read("=== RUN   TestPolicyAPI\npanic: test timed out\n")
    assert found.verdict is Verdict.FAIL
    assert "timed out" in found.reason


def test_a_test_that_fails_outside_of_its_parts_is_a_result_too() -> None:
    output = OUTPUT.replace("--- FAIL: TestPolicyAPI/Egress/Should", "--- PASS: TestPolicyAPI/Egress/Should")
    assert [result.name for result in read(output) if result.verdict is Verdict.FAIL] == ["Egress"]
