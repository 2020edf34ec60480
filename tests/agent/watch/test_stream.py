"""The list and watch protocol, by lines: no socket, no thread, no clock but ours."""

import json

import pytest
from msgspec import Raw

from agent.kube.retry import refusal
from agent.watch.protocol import Changed, Event, Item, Listed, Mode
from agent.watch.stream import INITIAL_S, Stream


class Clock:
    """A clock that stands still until it is set."""

    now = 0.0

    def __call__(self) -> float:
        """Seconds, as time.monotonic() gives them."""
        return self.now


def stream(clock: Clock | None = None) -> Stream:
    return Stream("Service", draw=lambda: 0.5, clock=clock or Clock())


def line(kind: str, name: str = "", revision: str = "1", **annotations: str) -> bytes:
    metadata = {"name": name, "resourceVersion": revision, "annotations": annotations}
    return json.dumps({"type": kind, "object": {"kind": "Service", "metadata": metadata}}).encode()


def test_a_kind_of_which_the_newest_is_wanted_is_never_listed_from_a_servers_cache() -> None:
    for is_exact, wanted in ((False, {"resourceVersion": "0"}), (True, {})):
        watch = Stream("Service", draw=lambda: 0.5, clock=Clock(), is_exact=is_exact)
        assert "resourceVersion" not in dict(watch.request().query)  # a streaming list is the newest there is
        refused(watch, 422)
        assert dict(watch.request().query) == wanted


ENDS = {"k8s.io/initial-events-end": "true"}
END = line("BOOKMARK", revision="7", **ENDS)
ERROR_410 = b'{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}'


def fed(watch: Stream, *lines: bytes) -> list[str]:
    return [told(event) for content in lines for event in watch.line(content)]


def body(watch: Stream, content: bytes) -> list[str]:
    """What a list's answer tells, when it comes in small pieces."""
    pieces = (content[at : at + 7] for at in range(0, len(content), 7))
    return [told(event) for piece in pieces for event in watch.part(piece)] + [told(e) for e in watch.whole()]


def of(revision: str, *names: str, more: str = "") -> bytes:
    """A list's answer, or that of a page before *more*."""
    head = {"resourceVersion": revision, **({"continue": more} if more else {})}
    items = [{"metadata": {"name": one}} for one in names]
    return json.dumps({"kind": "ServiceList", "metadata": head, "items": items}).encode()


def told(event: Event) -> str:
    match event:
        case Listed():
            return "listed"
        case Item(content, is_deleted):
            return f"{'not' if is_deleted else 'has'} {name(content)}"
        case Changed(content, is_deleted):
            return f"{'deleted' if is_deleted else 'changed'} {name(content)}"


def name(content: bytes | Raw) -> str:
    return str(json.loads(bytes(content))["metadata"]["name"])


def refused(watch: Stream, code: int, content: bytes = b"", retry_after: str = "") -> None:
    watch.refused(refusal(code, content, retry_after))


def listed(watch: Stream) -> Stream:
    """A stream that has its first list, at revision 7."""
    watch.request()
    fed(watch, END)
    return watch


def test_the_first_request_is_a_streaming_list() -> None:
    request = stream().request()
    query = dict(request.query)
    assert (query["watch"], query["sendInitialEvents"], query["allowWatchBookmarks"]) == ("true",) * 3
    assert query["resourceVersionMatch"] == "NotOlderThan"
    assert (request.is_stream, request.delay_s) == (True, 0.0)


def test_a_streaming_list_is_whole_at_its_last_bookmark_and_not_before() -> None:
    watch = stream()
    watch.request()
    lines = [line("ADDED", "a"), line("ADDED", "b"), line("BOOKMARK", revision="5")]
    assert fed(watch, *lines) == ["has a", "has b"]  # told as they come
    assert not watch.is_listed
    assert fed(watch, END, line("ADDED", "c", "8")) == ["listed", "changed c"]
    assert (watch.is_listed, watch.revision) == (True, "8")


def test_what_goes_while_the_list_streams_is_not_in_it() -> None:
    watch = stream()
    watch.request()
    lines = [line("ADDED", "a"), line("ADDED", "b"), line("DELETED", "a"), line("MODIFIED", "b"), END]
    assert fed(watch, *lines) == ["has a", "has b", "not a", "has b", "listed"]


def test_a_watch_is_taken_up_where_it_ended() -> None:
    clock = Clock()
    watch = listed(stream(clock))
    fed(watch, line("MODIFIED", "a", "9"), line("BOOKMARK", revision="12"))
    clock.now = 400
    watch.ended()
    request = watch.request()
    assert dict(request.query)["resourceVersion"] == "12"
    assert "sendInitialEvents" not in dict(request.query)
    assert (request.delay_s, watch.restarts) == (0.0, 0)


def test_deletions_are_told_as_such() -> None:
    assert fed(listed(stream()), line("DELETED", "a", "9")) == ["deleted a"]


@pytest.mark.parametrize(
    "expire",
    [
        pytest.param(lambda watch: fed(watch, ERROR_410), id="by an ERROR event"),
        pytest.param(lambda watch: refused(watch, 410), id="by the answer's code"),
    ],
)
def test_a_forgotten_revision_is_listed_anew_soon_but_not_at_once(expire) -> None:  # type: ignore[no-untyped-def]
    watch = listed(stream())
    watch.request()
    expire(watch)
    request = watch.request()
    assert watch.mode is Mode.STREAM
    assert dict(request.query)["sendInitialEvents"] == "true"
    assert 0 < request.delay_s < 1
    assert fed(watch, line("ADDED", "b"), END) == ["has b", "listed"]


def test_a_server_that_forgets_what_it_listed_at_once_is_asked_less_and_less_often() -> None:
    watch = stream()
    waits = []
    for _ in range(4):
        listed(watch)
        fed(watch, ERROR_410)
        waits.append(watch.request().delay_s)
    assert waits == [0.25, 0.75, 1.5, 3.0]
    fed(watch, END, line("ADDED", "a", "8"), ERROR_410)
    assert watch.request().delay_s == 0.25


def test_a_revision_that_the_server_does_not_understand_is_listed_anew() -> None:
    watch = listed(stream())
    watch.request()
    refused(watch, 400, b'{"message":"invalid resource version"}')
    assert "sendInitialEvents" in dict(watch.request().query)


@pytest.mark.parametrize("code", [400, 422])
def test_a_server_without_streaming_lists_is_asked_for_a_plain_one_from_its_cache(code: int) -> None:
    watch = stream()
    watch.request()
    refused(watch, code, b'{"message":"sendInitialEvents is forbidden"}')
    request = watch.request()
    assert (request.query, request.is_stream, request.delay_s) == ((("resourceVersion", "0"),), False, 0.0)
    content = of("5", "a")
    assert body(watch, content) == ["has a", "listed"]
    assert dict(watch.request().query)["resourceVersion"] == "5"
    fed(watch, ERROR_410)
    watch.request()
    assert watch.mode is Mode.LIST  # what was refused once is not tried again


def test_a_server_that_is_silent_about_streaming_lists_is_asked_for_a_plain_one() -> None:
    clock = Clock()
    watch = stream(clock)
    watch.request()
    fed(watch, line("ADDED", "a"))
    clock.now = INITIAL_S + 1
    watch.failed("read timed out", was_answered=True)
    assert watch.mode is Mode.LIST


def test_a_connection_that_breaks_early_costs_no_mode() -> None:
    watch = stream()
    watch.request()
    fed(watch, line("ADDED", "a"))
    watch.failed("connection reset", was_answered=True)
    watch.request()
    assert watch.mode is Mode.STREAM
    assert fed(watch, line("ADDED", "b"), END) == ["has b", "listed"]


@pytest.mark.parametrize(
    "fail",
    [
        pytest.param(lambda watch: refused(watch, 504), id="the server ran out of time"),
        pytest.param(lambda watch: watch.failed("reset", was_answered=True), id="the connection broke midway"),
        pytest.param(lambda watch: body(watch, b'{"items":[{'), id="the body was cut short"),
        pytest.param(
            lambda watch: body(watch, b'{"metadata":{"continue":"\xff"},"items":[]}'), id="the body is not UTF-8"
        ),
    ],
)
def test_a_list_that_does_not_come_through_is_fetched_in_pages(fail) -> None:  # type: ignore[no-untyped-def]
    watch = stream()
    watch.request()
    refused(watch, 400)
    watch.request()
    fail(watch)
    assert watch.request().query == (("limit", "500"),)
    content = of("5", "a", more="x")
    assert body(watch, content) == ["has a"]
    assert watch.request().query == (("limit", "500"), ("continue", "x"))
    content = of("5", "b")
    assert body(watch, content) == ["has b", "listed"]


def test_pages_whose_continuation_expired_begin_anew() -> None:
    watch = stream()
    watch.request()
    refused(watch, 400)
    watch.request()
    refused(watch, 504)
    watch.request()
    body(
        watch,
        of("5", "a", more="x"),
    )
    watch.request()
    refused(watch, 410)
    assert watch.request().begins_list
    content = of("5", "b")
    assert body(watch, content) == ["has b", "listed"]


def test_the_wait_doubles_up_to_a_bound_and_is_drawn() -> None:
    watch = stream()
    waits = []
    for _ in range(9):
        watch.failed("connection refused")
        waits.append(watch.request().delay_s)
    assert waits == [0.375, 0.75, 1.5, 3.0, 6.0, 12.0, 22.5, 22.5, 22.5]


def test_success_ends_the_wait_and_the_trouble() -> None:
    watch = stream()
    for _ in range(5):
        watch.failed("connection refused")
    watch.request()
    fed(watch, END)
    assert watch.trouble == ""
    watch.failed("connection reset")
    assert watch.request().delay_s == 0.375


def test_the_server_may_say_when_to_come_back() -> None:
    watch = stream()
    watch.request()
    refused(watch, 429, b"", "17")
    assert watch.request().delay_s == 17


def test_a_refusal_is_told_in_the_servers_words() -> None:
    watch = stream()
    watch.request()
    refused(watch, 403, b'{"kind":"Status","message":"services is forbidden"}')
    assert watch.trouble == "HTTP 403: services is forbidden"


def test_a_watch_that_ends_as_it_begins_is_no_success() -> None:
    watch = listed(stream())
    watch.request()
    watch.ended()
    assert watch.request().delay_s > 0


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(line("ADDED", "b", "9")[:-9], id="cut"),
        pytest.param(line("ADDED", "b", "9").replace(b'"9"', b'"\xff"'), id="not UTF-8"),
    ],
)
def test_a_bad_line_is_not_taken_for_an_object_and_the_watch_goes_on_from_before(bad: bytes) -> None:
    watch = listed(stream())
    watch.request()
    assert fed(watch, line("ADDED", "a", "8"), bad) == ["changed a"]
    assert watch.is_cut
    assert fed(watch, line("ADDED", "c", "10")) == []  # nothing after a gap
    assert dict(watch.request().query)["resourceVersion"] == "8"


def test_other_errors_within_a_watch_keep_the_revision() -> None:
    watch = listed(stream())
    watch.request()
    fed(watch, b'{"type":"ERROR","object":{"code":500,"message":"etcd"}}')
    assert watch.trouble == "watch error 500: etcd"
    assert dict(watch.request().query)["resourceVersion"] == "7"


def test_a_bookmark_is_news() -> None:
    clock = Clock()
    watch = stream(clock)
    assert watch.heard_at is None
    clock.now = 5
    listed(watch)
    assert watch.heard_at == 5
    clock.now = 65
    fed(watch, line("BOOKMARK", revision="12"))
    assert watch.heard_at == 65


def test_what_is_forbidden_is_told_apart_from_what_passes() -> None:
    watch = stream()
    watch.request()
    refused(watch, 403, b'{"kind":"Status","message":"services is forbidden"}')
    assert watch.is_denied
    watch.request()
    watch.failed("connection refused")
    assert not watch.is_denied


def test_an_error_in_a_watch_may_say_when_to_come_back() -> None:
    watch = listed(stream())
    watch.request()
    fed(watch, b'{"type":"ERROR","object":{"code":429,"message":"busy","details":{"retryAfterSeconds":9}}}')
    assert watch.request().delay_s == 9
