"""One line per event, as text or JSON; everything that the agent logs passes here.

A line is a short sentence and the values it is about::

    log = logger(__name__)
    log.info("services programmed", services=12, took_ms=4)

gives ``2026-01-02T03:04:05.678Z INFO reconcile.loop: services programmed services=12 took_ms=4``.
"""

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

_PLAIN = re.compile(r"[^\s\"'=\\]+")  # printed without quotes


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
            line[f"{key}_" if key in line else key] = value
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(level: str, line_format: str, stream: TextIO | None = None) -> logging.Handler:
    """Send every line to *stream* (standard error), and nothing twice.

    *level* is one of :data:`LEVELS`, *line_format* of :data:`FORMATS`. Returns the handler, so that
    a test can take it off again.
    """
    handler = logging.StreamHandler(stream)
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
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, tz=UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _module(record: logging.LogRecord) -> str:
    return record.name.removeprefix("agent.")
