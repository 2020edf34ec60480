"""A line per event, for people and for programs."""

import io
import json
import logging
import re
from collections.abc import Iterator, Mapping

import pytest

from agent.log import configure, logger


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
