"""What comes as a success and is not what was asked for: a proxy's own answer, another kind's, a part of a list."""

import pytest

from tests.agent.watch.test_stream import ENDS, ERROR_410, body, fed, line, listed, of, refused, stream


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"{}", id="a proxy's own object"),
        pytest.param(b'{"kind":"Status","metadata":{},"status":"Failure","code":500}', id="a failure"),
        pytest.param(b'{"kind":"PodList","metadata":{"resourceVersion":"9"},"items":[]}', id="another kind's list"),
        pytest.param(b'{"kind":"ServiceList","metadata":{},"items":[]}', id="a list without a revision"),
    ],
)
@pytest.mark.parametrize("in_pages", [False, True], ids=["whole", "in pages"])
def test_what_is_answered_as_a_success_and_is_no_list_of_the_kind_takes_nothing_away(
    answer: bytes,
    in_pages: bool,  # noqa: FBT001
) -> None:
    watch = listed(stream())
    fed(watch, ERROR_410)
    watch.request()
    refused(watch, 422)
    watch.request()
    if in_pages:
        refused(watch, 504)
        watch.request()
    assert body(watch, answer) == []
    assert "ServiceList" in watch.trouble
    request = watch.request()
    assert (request.begins_list, request.delay_s > 0, watch.revision) == (True, True, "7")
    assert body(watch, of("9")) == ["listed"]


def test_a_streaming_list_is_whole_at_a_bookmark_with_a_revision_and_of_the_kind() -> None:
    watch = stream()
    for end in (
        line("BOOKMARK", revision="", **ENDS),
        line("BOOKMARK", revision="9", **ENDS).replace(b"Service", b"Pod"),
    ):
        watch.request()
        assert fed(watch, end) == []
        assert watch.is_cut
        assert watch.trouble


def test_an_event_of_another_kind_is_no_object_and_the_watch_goes_on_from_before() -> None:
    watch = listed(stream())
    watch.request()
    wrong = line("DELETED", "a", "9").replace(b'"Service"', b'"Pod"')
    assert fed(watch, wrong, line("ADDED", "b", "10")) == []
    assert watch.trouble == "an event 'DELETED' of 'Pod', and of no Service"
    assert dict(watch.request().query)["resourceVersion"] == "7"


def test_who_writes_no_kind_is_believed_by_name_and_revision() -> None:
    watch = listed(stream())
    fed(watch, ERROR_410)
    watch.request()
    refused(watch, 422)
    watch.request()
    assert body(watch, b'{"metadata":{"resourceVersion":"9"},"items":[]}') == ["listed"]
    watch.request()
    nameless = line("ADDED", "", "").replace(b'"kind": "Service"', b'"kind": ""')
    assert fed(watch, line("ADDED", "b", "10").replace(b'"Service"', b'""')) != []
    assert not watch.is_cut
    assert fed(watch, nameless) == []
    assert watch.is_cut
