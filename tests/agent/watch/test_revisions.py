"""Nothing goes back in time: lists and events that are older than what is held are not believed, or late."""

import json

import pytest

from agent.watch.protocol import Mode
from agent.watch.stream import OLDER_S, Stream
from tests.agent.watch.test_stream import ERROR_410, Clock, body, fed, line, listed, of, refused, stream

TOO_NEW = json.dumps(
    {
        "kind": "Status",
        "code": 504,
        "reason": "Timeout",
        "message": "Too large resource version: 7, current: 5",
        "details": {"causes": [{"reason": "ResourceVersionTooLarge"}], "retryAfterSeconds": 1},
    }
).encode()


def asked(watch: Stream) -> tuple[str | None, str | None]:
    """What the next list must not be older than."""
    query = dict(watch.request().query)
    return query.get("resourceVersion"), query.get("resourceVersionMatch")


def test_a_list_after_a_loss_is_no_older_than_what_is_held() -> None:
    watch = listed(stream())
    fed(watch, line("ADDED", "a", "9"), ERROR_410)
    assert asked(watch) == ("9", "NotOlderThan")
    refused(watch, 422)
    assert watch.mode is Mode.LIST
    assert asked(watch) == ("9", "NotOlderThan")


@pytest.mark.parametrize("streams", [True, False], ids=["streaming", "plain"])
def test_an_older_list_is_not_taken_and_is_asked_for_again(streams: bool) -> None:  # noqa: FBT001
    clock = Clock()
    watch = listed(stream(clock))
    fed(watch, line("ADDED", "a", "9"), ERROR_410)
    watch.request()
    if not streams:
        refused(watch, 400)
        watch.request()
    older = line("BOOKMARK", revision="8", **{"k8s.io/initial-events-end": "true"})
    queries = set()
    for _ in range(6):
        assert (fed(watch, older) if streams else body(watch, of("8"))) == []
        assert "older than 9" in watch.trouble
        queries.add(asked(watch))
    assert queries == {(None, "NotOlderThan" if streams else None), ("9", "NotOlderThan")}
    newer = line("BOOKMARK", revision="10", **{"k8s.io/initial-events-end": "true"})
    assert (fed(watch, newer) if streams else body(watch, of("10"))) == ["listed"]
    assert (watch.revision, watch.trouble) == ("10", "")


def test_a_cluster_restored_from_a_backup_is_believed_after_a_minute() -> None:
    clock = Clock()
    watch = listed(stream(clock))
    fed(watch, ERROR_410)
    older = line("BOOKMARK", revision="3", **{"k8s.io/initial-events-end": "true"})
    told_at = []
    for clock.now in range(0, 100, 10):
        watch.request()
        told_at += [clock.now for _ in fed(watch, older)]
        if told_at:
            break
    assert OLDER_S <= told_at[0] <= OLDER_S + 20
    assert watch.revision == "3"


@pytest.mark.parametrize("in_watch", [True, False], ids=["a watch", "a list"])
def test_a_server_behind_the_others_is_asked_for_the_newest_there_is(in_watch: bool) -> None:  # noqa: FBT001
    watch = listed(stream())
    if in_watch:
        fed(watch, b'{"type":"ERROR","object":%s}' % TOO_NEW)
    else:
        fed(watch, ERROR_410)
        watch.request()
        refused(watch, 504, TOO_NEW)
    assert watch.mode is Mode.STREAM
    assert asked(watch) == (None, "NotOlderThan")


def test_events_older_than_what_is_held_say_nothing() -> None:
    watch = listed(stream())
    watch.request()
    assert fed(watch, line("MODIFIED", "a", "6"), line("DELETED", "a", "5"), line("BOOKMARK", revision="4")) == []
    assert watch.revision == "7"
    assert fed(watch, line("MODIFIED", "a", "8")) == ["changed a"]
