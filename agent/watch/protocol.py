"""What passes between a kind's list and watch protocol (stream.py) and the thread that speaks it (watch.py)."""

from dataclasses import dataclass
from enum import Enum

import msgspec
from msgspec import Raw, Struct

from agent.kube.answers import Answered
from agent.watch.decode.objects import Named

Query = tuple[tuple[str, str], ...]


class Mode(Enum):
    """What the next request asks for."""

    STREAM = "stream"
    LIST = "list"
    PAGES = "pages"
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask, and when."""

    query: Query
    is_stream: bool  # answered line by line, else by one body
    begins_list: bool  # what came of a list before is of no more use
    read_timeout_s: float  # of silence
    delay_s: float


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a list that is under way; deleted: it was, and went meanwhile."""

    content: bytes | Raw
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """The list is whole: what was not among its items is gone."""


@dataclass(frozen=True, slots=True)
class Changed:
    """One object was added or modified, or deleted."""

    content: Raw
    is_deleted: bool = False


Event = Item | Listed | Changed


class Line(Struct, frozen=True):
    """One line of a watch."""

    type: str
    object: Raw


LINE = msgspec.json.Decoder(Line)
HEAD = msgspec.json.Decoder(Named)
LIST = msgspec.json.Decoder(Answered)
