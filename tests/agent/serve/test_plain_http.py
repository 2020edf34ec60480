"""Requests as balancers send them, and what is none."""

from http import HTTPStatus

import pytest

from agent.serve.plain_http import MOST_OCTETS, Answer, Request, request, written


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: n1\r\n\r\n", Request("GET", "/"), id="a whole request"),
        pytest.param(b"GET /healthz?x=1 HTTP/1.0\r\n\r\n", Request("GET", "/healthz"), id="a query means nothing"),
        pytest.param(b"HEAD /livez HTTP/1.1\r\n\r\n", Request("HEAD", "/livez"), id="HEAD"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: n1\r\n", None, id="one that is not whole is waited for"),
        pytest.param(b"", None, id="as is one that has not begun"),
    ],
)
def test_what_is_asked(octets: bytes, expected: Request | None) -> None:
    assert request(octets) == expected


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        pytest.param(b"POST / HTTP/1.1\r\n\r\n", HTTPStatus.METHOD_NOT_ALLOWED, id="a method that changes things"),
        pytest.param(b"\x16\x03\x01\x02\r\n\r\n", HTTPStatus.BAD_REQUEST, id="TLS"),
        pytest.param(b"GET /\r\n\r\n", HTTPStatus.BAD_REQUEST, id="HTTP/0.9"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\n", HTTPStatus.BAD_REQUEST, id="HTTP/2"),
        pytest.param(b"GET http://[ HTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST, id="a URL that is none"),
        pytest.param(b"a" * MOST_OCTETS, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, id="one without an end"),
    ],
)
def test_what_is_no_request_is_refused(octets: bytes, status: HTTPStatus) -> None:
    found = request(octets)
    assert isinstance(found, Answer)
    assert found.status is status


def test_an_answer_says_its_length_and_that_the_connection_ends() -> None:
    answer = Answer(HTTPStatus.OK, "ok\n", headers={"X-Weight": "2"})
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
        b"X-Weight: 2\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    )
    assert written(answer, with_body=True) == head + b"ok\n"
    assert written(answer, with_body=False) == head
