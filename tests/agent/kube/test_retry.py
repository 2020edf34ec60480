"""How long to wait for an API server, and what it says when it refuses."""

import json

import pytest

from agent.kube.retry import RETRY_AFTER_MAX_S, backoff_s, refusal


def status(**fields: object) -> bytes:
    return json.dumps({"kind": "Status", **fields}).encode()


@pytest.mark.parametrize(
    ("content", "header", "wait_s"),
    [
        pytest.param(b"", "", 0, id="nothing is said"),
        pytest.param(b"", "17", 17, id="the header in seconds"),
        pytest.param(b"", "Thu, 01 Jan 1970 00:00:00 GMT", 0, id="the header as a date that is past"),
        pytest.param(b"", "soon", 0, id="a header that is neither"),
        pytest.param(status(details={"retryAfterSeconds": 9}), "", 9, id="the Status"),
        pytest.param(status(details={"retryAfterSeconds": 9}), "3", 9, id="the longer of both"),
        pytest.param(b"", "86400", RETRY_AFTER_MAX_S, id="never a day"),
        pytest.param(b"<html>", "5", 5, id="a balancer's page in place of a Status"),
        pytest.param(b'{"message":"\xff"}', "5", 5, id="a Status that is not UTF-8"),
    ],
)
def test_the_server_may_say_when_to_come_back(content: bytes, header: str, wait_s: float) -> None:
    assert refusal(503, content, header).retry_after_s == wait_s


def test_a_refusal_is_told_in_the_servers_words() -> None:
    assert str(refusal(403, status(message="services is forbidden"))) == "HTTP 403: services is forbidden"
    assert str(refusal(502, b"<html>")) == "HTTP 502"
    assert refusal(0, status(code=410, reason="Expired")).code == 410


def test_a_server_that_is_behind_says_so() -> None:
    behind = status(code=504, details={"causes": [{"reason": "ResourceVersionTooLarge"}], "retryAfterSeconds": 1})
    assert refusal(504, behind).is_too_new
    assert not refusal(504, status(code=504)).is_too_new


def test_the_wait_doubles_up_to_a_bound_and_is_drawn() -> None:
    assert [backoff_s(n, 0.0) for n in range(1, 10)] == [0.25, 0.5, 1, 2, 4, 8, 15, 15, 15]
    assert [backoff_s(n, 0.5) for n in (1, 2, 9)] == [0.375, 0.75, 22.5]
    assert backoff_s(1, 0.5, at_least_s=7) == 7
    assert backoff_s(99, 0.0, longest_s=300) == 150
