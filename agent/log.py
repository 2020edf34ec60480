"""One line per event, as text or JSON; everything that the agent logs passes here.

A line is a short sentence and the values it is about::

    log = logger(__name__)
    log.info("services programmed", services=12, took_ms=4)

gives ``2026-01-02T03:04:05.678Z INFO reconcile.loop: services programmed services=12 took_ms=4``.

Who meets trouble says so each time: a line that repeats is written at once and then at growing intervals, with how many
there were (:class:`Repeats`).
"""

import json
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

FIRST_S, LAST_S = 60.0, 3600.0  # from a line to the next that says the same
FRESH_S = 600.0  # a line that was not said for so long is a new one
REMEMBERED = 4096  # lines
_REASONS = frozenset({"why", "error"})  # fields in which numbers alone make no other line
_NUMBER = re.compile(r"\d+")
_PLAIN = re.compile(r"[^\s\"'=\\]+")  # printed without quotes
_LONGEST = 4096  # characters of a value


class Log:
    """A logger whose calls take the event's values by name."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, text: str, **fields: object) -> None:
        """Log what helps a developer and nobody else."""
        self._emit(logging.DEBUG, text, fields)

    def info(self, text: str, **fields: object) -> None:
        """Log what happened as it should."""
        self._emit(logging.INFO, text, fields)

    def warning(self, text: str, **fields: object) -> None:
        """Log what somebody should look at some day."""
        self._emit(logging.WARNING, text, fields)

    def error(self, text: str, **fields: object) -> None:
        """Log what keeps the agent from its work."""
        self._emit(logging.ERROR, text, fields)

    def exception(self, text: str, **fields: object) -> None:
        """Log what went wrong, with the traceback of the exception being handled, in one line."""
        self._emit(logging.ERROR, text, fields, traceback=True)

    def _emit(self, level: int, text: str, fields: Mapping[str, object], *, traceback: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", text, extra={"fields": fields}, exc_info=traceback)


def logger(name: str) -> Log:
    """The logger of a module; *name* is its ``__name__``."""
    return Log(name)


@dataclass(slots=True)
class _Said:
    """A line that was written."""

    seen_at: float
    next_at: float
    wait_s: float = FIRST_S
    times: int = 0  # since it was written


class Repeats(logging.Filter):
    """Passes a line that repeats at once, then a minute later, then two, up to every hour; those for developers all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = Lock()
        self._said: OrderedDict[object, _Said] = OrderedDict()  # said longest ago first

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is to be written; one that was left out before has a count then."""
        if record.levelno <= logging.DEBUG:
            return True
        with self._lock:
            times = self._times(_line(record), self._clock())
        if times > 1:
            record.fields = {**getattr(record, "fields", {}), "times": times}
        return times > 0

    def _times(self, line: object, now: float) -> int:
        """How often it was said since it was written last, this time included; 0: it is not written now."""
        said = self._said.pop(line, None)
        if said is None or now - said.seen_at > FRESH_S:
            said = _Said(now, now)
        elif now >= said.next_at:
            said.wait_s = min(said.wait_s * 2, LAST_S)
        self._said[line] = said
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        said.seen_at = now
        said.times += 1
        if now < said.next_at:
            return 0
        times, said.times, said.next_at = said.times, 0, now + said.wait_s
        return times


def _line(record: logging.LogRecord) -> object:
    """What makes two lines the same."""
    fields = getattr(record, "fields", {}).items()
    told = tuple((key, _NUMBER.sub("", str(value)) if key in _REASONS else str(value)) for key, value in fields)
    return record.name, record.getMessage(), told, repr(record.exc_info[1]) if record.exc_info else ""


class TextFormatter(logging.Formatter):
    """A line for people: time, level, module, sentence, ``key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the values hold."""
        parts = [record.getMessage().replace("\n", " ")]
        parts += [f"{key}={_text(value)}" for key, value in _fields(self, record).items()]
        return f"{_time(record)} {record.levelname} {_module(record)}: {' '.join(parts)}"


class JsonFormatter(logging.Formatter):
    """A line for programs: the same event as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object; a value's key never replaces the event's own."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": _module(record),
            "message": record.getMessage(),
        }
        for key, value in _fields(self, record).items():
            line[f"{key}_" if key in line else key] = _cut(value) if isinstance(value, str) else value
        return _json(line)


def configure(level: str, line_format: str, stream: TextIO | None = None) -> logging.Handler:
    """Send every line to *stream* (standard error), and nothing twice.

    *level* is one of :data:`LEVELS`, *line_format* of :data:`FORMATS`. Returns the handler, so that
    a test can take it off again.
    """
    handler = logging.StreamHandler(stream)
    handler.addFilter(Repeats())
    handler.setFormatter(JsonFormatter() if line_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # the client's pool logs every retry at WARNING; the watch logs a failure once
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    return handler


def _fields(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, object]:
    fields = dict(getattr(record, "fields", {}))
    if record.exc_info:
        fields["traceback"] = formatter.formatException(record.exc_info)
    return fields


def _text(value: object) -> str:
    text = _cut(str(value))
    return text if _PLAIN.fullmatch(text) and text.isprintable() else _json(text)


def _json(value: object) -> str:
    """As JSON, in which a terminal finds nothing to obey: pods name devices, and who writes objects their fields."""
    text = json.dumps(value, default=lambda one: _cut(str(one)), ensure_ascii=False)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, tz=UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _module(record: logging.LogRecord) -> str:
    return record.name.removeprefix("agent.")
