"""A line per event, for people and for programs."""

import io
import json
import logging
import re
from collections.abc import Iterator, Mapping

import pytest

from agent.log import FRESH_S, REMEMBERED, Repeats, configure, logger
from agent.model.name import ObjectName


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def written(
    line_format: str, fields: Mapping[str, object] | None = None, level: str = "info", *, traceback: bool = False
) -> str:
    stream = io.StringIO()
    configure(level, line_format, stream)
    log = logger("agent.reconcile.loop")
    if traceback:
        try:
            raise ValueError("bad\nluck")  # noqa: TRY301
        except ValueError:
            log.exception("sync failed")
    else:
        log.info("services programmed", **(fields or {}))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        pytest.param({}, "services programmed\n", id="a sentence alone"),
        pytest.param({"services": 2, "took_ms": 0.5}, "programmed services=2 took_ms=0.5\n", id="values by name"),
        pytest.param({"why": 'no "x" = y'}, 'programmed why="no \\"x\\" = y"\n', id="what has blanks is quoted"),
        pytest.param({"why": "a\nb"}, 'programmed why="a\\nb"\n', id="a value never makes a second line"),
        pytest.param({"why": ""}, 'programmed why=""\n', id="nothing is seen as nothing"),
    ],
)
def test_text(fields: dict[str, object], end: str) -> None:
    line = written("text", fields)
    assert line.endswith(end)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO reconcile\.loop: ", line)


@pytest.mark.parametrize("line_format", ["text", "json"])
@pytest.mark.parametrize("name", ["\x1b[2J", "\x9b2J", "a\u202eb", "a b\x9b", "\x07", "\x7f", "\ud800"])
def test_a_name_that_a_pod_has_chosen_says_a_terminal_nothing(name: str, line_format: str) -> None:
    line = written(line_format, {"device": name})
    assert line.rstrip("\n").isprintable()
    told = json.loads(line)["device"] if line_format == "json" else json.loads(line.partition("device=")[2])
    assert told == name


@pytest.mark.parametrize("line_format", ["text", "json"])
def test_a_value_that_somebody_made_very_long_is_cut(line_format: str) -> None:
    line = written(line_format, {"why": "x" * 300_000, "object": ObjectName("a", "y" * 300_000), "services": 2})
    assert len(line) < 10_000
    assert "xxx..." in line
    assert "services" in line


def test_json() -> None:
    line = json.loads(written("json", {"services": 2, "message": "mine"}))
    del line["time"]
    assert line == {
        "level": "info",
        "logger": "reconcile.loop",
        "message": "services programmed",
        "services": 2,
        "message_": "mine",
    }


@pytest.mark.parametrize("line_format", ["text", "json"])
def test_a_traceback_stays_on_its_line(line_format: str) -> None:
    text = written(line_format, traceback=True)
    assert text.count("\n") == 1
    assert "ValueError" in text


def test_what_is_below_the_level_is_not_written() -> None:
    assert written("text", level="warning") == ""


# ---- repeats ---------------------------------------------------------------------------------------------------------


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def line(text: str = "tried again", level: int = logging.WARNING, **fields: object) -> logging.LogRecord:
    record = logging.LogRecord("agent.x", level, "", 0, text, (), None)
    record.fields = fields
    return record


def test_a_line_that_repeats_is_written_at_once_and_then_at_growing_intervals_with_its_count() -> None:
    clock = _Clock()
    repeats, written_at, counts = Repeats(clock), [], []
    for second in range(4 * 3600):
        clock.now = float(second)
        if repeats.filter(record := line()):
            written_at.append(second)
            counts.append(getattr(record, "fields", {}).get("times", 1))
    assert written_at == [0, 60, 180, 420, 900, 1860, 3780, 7380, 10980]
    assert counts == [1, 60, 120, 240, 480, 960, 1920, 3600, 3600]


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        pytest.param(line(why="5000 refused", part="routes"), True, id="numbers of a reason alone"),
        pytest.param(line(why="4999 refused", part="tunnel"), False, id="another part"),
        pytest.param(line(why="timed out", part="routes"), False, id="another reason"),
        pytest.param(line("gone", why="4999 refused", part="routes"), False, id="another sentence"),
    ],
)
def test_which_lines_say_the_same(other: logging.LogRecord, is_same: bool) -> None:  # noqa: FBT001
    repeats = Repeats(_Clock())
    assert repeats.filter(line(why="4999 refused", part="routes"))
    assert repeats.filter(other) is not is_same


def test_objects_are_told_apart_by_their_numbers() -> None:
    repeats = Repeats(_Clock())
    assert all(repeats.filter(line(problem=f"Service default/web-{i}")) for i in range(3))


def test_what_was_not_said_for_a_while_is_new() -> None:
    clock = _Clock()
    repeats = Repeats(clock)
    passed = []
    for at in (0.0, 30.0, 70.0, 71.0 + FRESH_S, 72.0 + FRESH_S):
        clock.now = at
        passed.append(repeats.filter(line()))
    assert passed == [True, False, True, True, False]


def test_lines_for_developers_are_never_left_out() -> None:
    repeats = Repeats(_Clock())
    assert all(repeats.filter(line(level=logging.DEBUG)) for _ in range(3))


def test_what_is_remembered_has_a_bound() -> None:
    repeats = Repeats(_Clock())
    for number in range(REMEMBERED + 1):
        repeats.filter(line(pod=number))
    assert repeats.filter(line(pod=0)), "said longest ago, it is forgotten"
    assert not repeats.filter(line(pod=REMEMBERED))


def test_the_agents_own_log_leaves_repeats_out() -> None:
    stream = io.StringIO()
    configure("info", "text", stream)
    for number in range(3):
        logger("agent.reconcile.loop").warning("trying again", why=f"{number} routes refused")
    assert stream.getvalue().count("trying again") == 1
