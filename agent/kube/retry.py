"""When to ask an API server again, and what its refusal means; for whatever talks to it.

Source: Kubernetes API Concepts, "Status" (details.retryAfterSeconds); RFC 9110 10.2.3 (Retry-After); RFC 6585 4 (429).
"""

from dataclasses import dataclass
from http import HTTPStatus

import msgspec
import urllib3
from msgspec import Struct

from agent.json_text import NOT_JSON

FIRST_S, LONGEST_S = 0.5, 30.0  # of the delays after failures
RETRY_AFTER_MAX_S = 60.0  # a server that asks for more is asked again by then: it may have been another's mistake
TOO_NEW = "ResourceVersionTooLarge"  # the cause of a refusal: this server has not seen so new a revision yet
# what no new attempt changes until somebody changes the cluster: rights, credentials, kinds that the server lacks
DENIALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
# of a write: what it is for is gone or another, or the content is not accepted
_FINAL = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})


class _Cause(Struct, frozen=True):
    reason: str = ""


class _Details(Struct, rename="camel", frozen=True):
    retry_after_seconds: int = 0
    causes: list[_Cause] | None = None


class _Status(Struct, frozen=True):
    """A failure, in the API server's own form (meta/v1 Status)."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Details | None = None


_STATUS = msgspec.json.Decoder(_Status)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no success."""

    code: int
    message: str = ""
    retry_after_s: float = 0.0  # not to be asked again before; 0: it did not say
    is_too_new: bool = False  # the revision that was asked for is beyond what this server has seen

    @property
    def is_of_one(self) -> bool:
        """Whether it says nothing of other writes: a namespace that ends, a quota, a webhook that does not agree."""
        return self.code == HTTPStatus.FORBIDDEN

    @property
    def is_final(self) -> bool:
        """Whether no other answer will come to the same write."""
        return self.code in _FINAL

    def __str__(self) -> str:
        return f"HTTP {self.code}{': ' + self.message if self.message else ''}"


def refusal(code: int, content: bytes | msgspec.Raw = b"", retry_after: str = "") -> Refusal:
    """What a Status says, with the *code* and Retry-After header of its answer; *code* 0: the Status has it."""
    try:
        status = _STATUS.decode(content)
    except NOT_JSON:
        status = _Status()
    details = status.details or _Details()
    wait_s = max(float(details.retry_after_seconds), _seconds(retry_after))
    return Refusal(
        code=code or status.code,
        message=status.message or status.reason,
        retry_after_s=min(wait_s, RETRY_AFTER_MAX_S),
        is_too_new=any(cause.reason == TOO_NEW for cause in details.causes or ()),
    )


def backoff_s(
    failures: int, drawn: float, *, at_least_s: float = 0.0, first_s: float = FIRST_S, longest_s: float = LONGEST_S
) -> float:
    """The wait after so many failures in a row: twice as long after each, and half of it *drawn* from [0, 1)."""
    whole = min(longest_s, first_s * (1 << min(max(failures, 1) - 1, 10)))
    return max(at_least_s, whole / 2 + drawn * whole / 2)


def _seconds(retry_after: str) -> float:
    """The header's value, seconds or a date, as seconds from now."""
    if not retry_after:
        return 0.0
    try:
        return urllib3.Retry().parse_retry_after(retry_after)
    except urllib3.exceptions.InvalidHeader:
        return 0.0
