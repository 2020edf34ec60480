"""HTTP as load balancers' health checks speak it: requests without a body, one a connection, and answers to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

MOST_OCTETS = 4096  # of a request's line and headers; those of health checks have some hundred
END = b"\r\n\r\n"
METHOD_GET, METHOD_HEAD = "GET", "HEAD"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to a request."""

    status: HTTPStatus
    body: str
    kind: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked; of the headers none means anything here."""

    method: str
    path: str


def request(octets: bytes) -> Request | Answer | None:
    """The request that has come so far: None, while it is not whole, an Answer where it is none."""
    head, end, _ = octets.partition(END)
    if not end:
        too_long = Answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {MOST_OCTETS} octets\n")
        return too_long if len(octets) >= MOST_OCTETS else None
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    match words:
        case [method, target, version] if version.startswith("HTTP/1."):
            return _asked(method, target)
    return Answer(HTTPStatus.BAD_REQUEST, "not a request of HTTP/1.1\n")


def _asked(method: str, target: str) -> Request | Answer:
    if method not in {METHOD_GET, METHOD_HEAD}:
        return Answer(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD alone\n", headers={"Allow": "GET, HEAD"})
    try:
        return Request(method, urlsplit(target).path)
    except ValueError:
        return Answer(HTTPStatus.BAD_REQUEST, "not a path\n")


def written(answer: Answer, *, with_body: bool) -> bytes:
    """An answer as it is sent, after which the connection ends."""
    body = answer.body.encode()
    lines = [f"HTTP/1.1 {answer.status.value} {answer.status.phrase}"]
    fields = {"Content-Type": answer.kind, "X-Content-Type-Options": "nosniff", **answer.headers}
    fields |= {"Content-Length": str(len(body)), "Connection": "close"}
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body if with_body else b"")
