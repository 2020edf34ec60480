"""The list and watch protocol of one resource, as a state machine without sockets or threads.

The caller (api.py) asks for the next :class:`Request`, performs it, and feeds what comes back; events
come out. The ways to a whole list, in the order they are tried::

    STREAM   watch with sendInitialEvents, until the bookmark that ends them
    LIST     list at resourceVersion=0, from the server's cache: STREAM is not known there
    PAGES    list in chunks: LIST did not come through
    WATCH    changes since the revision we hold: after any of these

Source: Kubernetes API Concepts, "Streaming lists" and "Efficient detection of changes"; KEP-3157.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import assert_never

import msgspec
from msgspec import Raw, Struct

from agent.watch.decode.objects import Metadata, Status

_NO_STREAMS = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)  # feature gate WatchList
_TOO_LARGE = (
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.GATEWAY_TIMEOUT,
)

Query = tuple[tuple[str, str], ...]

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
PAGE = 500  # objects in a chunk, as client-go's
WATCH_S = (300, 600)  # the server ends a watch after this long; drawn, so that nodes come back one by one
# a streaming list without its last bookmark by then is none; and it goes on as a watch on the same connection, where an
# API server may be silent for the minute between two bookmarks, and a little longer
INITIAL_S = 150
LIST_S = 60
BACKOFF_S = (0.5, 30.0)  # first and longest
QUICK_S = 1.0  # a watch that ends sooner counts as failed, else a broken proxy makes us spin


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
    read_timeout_s: float  # of silence
    delay_s: float


@dataclass(frozen=True, slots=True)
class Listed:
    """Every object there is; what is not among them is gone."""

    objects: tuple[Raw, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """One object was added or modified, or deleted."""

    content: Raw
    is_deleted: bool = False


Event = Listed | Changed


class _Line(Struct, frozen=True):
    type: str
    object: Raw


class _Head(Struct, frozen=True):
    metadata: Metadata = Metadata()


class _ListHead(Struct, rename="camel", frozen=True):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _List(Struct, frozen=True):
    metadata: _ListHead = _ListHead()
    items: list[Raw] | None = None


_LINE = msgspec.json.Decoder(_Line)
_HEAD = msgspec.json.Decoder(_Head)
_LIST = msgspec.json.Decoder(_List)
_STATUS = msgspec.json.Decoder(Status)


class Stream:
    """One resource's protocol. *draw* gives numbers in [0, 1), *clock* seconds that never go back."""

    def __init__(self, draw: Callable[[], float], clock: Callable[[], float]) -> None:
        self._draw = draw
        self._clock = clock
        self._first = Mode.STREAM  # how a list is begun; what the server refused is not tried again
        self.mode = Mode.STREAM
        self.revision = ""
        self.trouble = ""  # why the last request ended badly; empty while all is well
        self.restarts = 0  # requests that ended badly
        self.is_listed = False  # a whole list has come since the start
        self._failures = 0  # in a row
        self._losses = 0  # of our place in the watch, without a sign of life from it in between
        self._delay_s = 0.0
        self._next_page = ""
        self._gathered: list[Raw] = []  # of a list's chunks
        self._streamed: dict[tuple[str, str], Raw] = {}  # of a streaming list, by namespace and name
        self._asked_at = 0.0
        self._is_cut = False

    def request(self) -> Request:
        """The request to perform next, after its delay."""
        delay_s, self._delay_s = self._delay_s, 0.0
        self._asked_at = self._clock() + delay_s
        self._is_cut = False
        query: Query
        match self.mode:
            case Mode.STREAM:
                self._streamed = {}
                query = _watch(self._watch_s(), "", initial=True)
                return Request(query, is_stream=True, read_timeout_s=INITIAL_S, delay_s=delay_s)
            case Mode.LIST:
                query = (("resourceVersion", "0"),)
            case Mode.PAGES:
                query = (("limit", str(PAGE)),)
                if self._next_page:
                    query += (("continue", self._next_page),)
            case Mode.WATCH:
                watch_s = self._watch_s()
                query = _watch(watch_s, self.revision, initial=False)
                # the server ends it; only a lost connection is silent for longer
                return Request(query, is_stream=True, read_timeout_s=watch_s + 30, delay_s=delay_s)
            case _:
                assert_never(self.mode)
        return Request(query, is_stream=False, read_timeout_s=LIST_S, delay_s=delay_s)

    def body(self, content: bytes) -> Iterator[Event]:
        """A list's answer, or one chunk of it."""
        try:
            found = _LIST.decode(content)
        except msgspec.DecodeError as error:
            self.failed(f"the list was cut short: {error}", was_answered=True)
            return
        self._gathered += found.items or []
        self._next_page = found.metadata.continue_
        if self._next_page:
            self.mode = Mode.PAGES  # the server may also cut a list that did not ask for it
            return
        self.revision = found.metadata.resource_version
        gathered, self._gathered = self._gathered, []
        yield self._listed(gathered)

    def line(self, content: bytes) -> Iterator[Event]:
        """One line of a watch. Once :attr:`is_cut`, the connection is of no more use."""
        if self._is_cut or not content.strip():
            return
        try:
            found = _LINE.decode(content)
            head = _Head() if found.type == "ERROR" else _HEAD.decode(found.object)
        except msgspec.DecodeError as error:
            self.failed(f"a line was cut short: {error}")
            return
        match found.type:
            case "ERROR":
                self._error(found.object)
            case "BOOKMARK":
                yield from self._bookmark(head.metadata)
            case "ADDED" | "MODIFIED" | "DELETED":
                yield from self._change(found, head.metadata)
            case other:
                self.failed(f"an event of unknown type {other!r}")

    @property
    def is_cut(self) -> bool:
        """Whether the current answer is to be dropped and :meth:`request` asked again."""
        return self._is_cut

    def refused(self, code: int, content: bytes = b"", retry_after_s: float = 0.0) -> None:
        """An answer with another code than 200."""
        try:
            told = _STATUS.decode(content).message
        except msgspec.DecodeError:
            told = ""
        text = f"HTTP {code}{': ' + told if told else ''}"
        if code == HTTPStatus.GONE:
            self.lost(text)
        elif self.mode is Mode.WATCH and code == HTTPStatus.BAD_REQUEST:
            self.lost(text)  # a revision that this server cannot have given
        elif self.mode is Mode.STREAM and code in _NO_STREAMS:
            self._first = self.mode = Mode.LIST
        elif self.mode is Mode.LIST and code in _TOO_LARGE:
            self.failed(text)
            self.mode = Mode.PAGES
        else:
            self.failed(text)
            self._delay_s = max(self._delay_s, retry_after_s)

    def failed(self, text: str, *, was_answered: bool = False) -> None:
        """The connection could not be made, or broke; *was_answered*: after the answer had begun."""
        self._is_cut = True
        self.trouble = text
        self.restarts += 1
        self._failures += 1
        self._delay_s = self._backoff_s()
        if self.mode is Mode.LIST and was_answered:
            self.mode = Mode.PAGES
        elif self.mode is Mode.STREAM and self._is_overdue():
            self._first = self.mode = Mode.LIST  # a server that knows no streaming lists says nothing
        if self.mode is not Mode.WATCH:
            self._gathered, self._next_page = [], ""

    def lost(self, text: str) -> None:
        """Our place in the watch is lost: list again, at first soon but not all nodes at once."""
        self._losses += 1
        self.failed(text)
        self.mode = self._first
        self._gathered, self._next_page = [], ""
        if self._failures == self._losses == 1:
            self._delay_s = self._draw() * BACKOFF_S[0]

    def ended(self) -> None:
        """The server closed a watch in good order."""
        if self._is_cut:
            return
        if self.mode is Mode.STREAM:
            self.failed("the streaming list ended before its last bookmark")
        elif self._clock() - self._asked_at < QUICK_S:
            self.failed("the watch ended as soon as it began")
        else:
            self._fine()

    def _error(self, content: Raw) -> None:
        try:
            status = _STATUS.decode(content)
        except msgspec.DecodeError:
            status = Status()
        text = f"watch error {status.code}: {status.message or status.reason}"
        if status.code == HTTPStatus.GONE:
            self.lost(text)
        else:
            self.failed(text)

    def _bookmark(self, metadata: Metadata) -> Iterator[Event]:
        self.revision = metadata.resource_version or self.revision
        if self.mode is Mode.STREAM:
            if (metadata.annotations or {}).get(INITIAL_EVENTS_END) == "true":
                streamed, self._streamed = self._streamed, {}
                yield self._listed(streamed.values())
            return
        self._fine()

    def _change(self, found: _Line, metadata: Metadata) -> Iterator[Event]:
        if self.mode is Mode.STREAM:
            key = (metadata.namespace, metadata.name)
            if found.type == "DELETED":
                self._streamed.pop(key, None)
            else:
                self._streamed[key] = found.object
            if self._is_overdue():
                self.failed(f"no end of the streaming list within {INITIAL_S} s")
            return
        self.revision = metadata.resource_version or self.revision
        self._fine()
        yield Changed(found.object, is_deleted=found.type == "DELETED")

    def _listed(self, objects: Iterable[Raw]) -> Listed:
        self.mode = Mode.WATCH
        self.is_listed = True
        self._failures, self.trouble = 0, ""
        return Listed(tuple(objects))

    def _fine(self) -> None:
        self._failures = self._losses = 0
        self.trouble = ""

    def _is_overdue(self) -> bool:
        return self._clock() - self._asked_at >= INITIAL_S

    def _watch_s(self) -> int:
        low, high = WATCH_S
        return int(low + self._draw() * (high - low))

    def _backoff_s(self) -> float:
        """Twice as long after each failure in a row, and half of it drawn."""
        first, longest = BACKOFF_S
        whole = min(longest, first * (1 << min(max(self._failures, self._losses) - 1, 10)))
        return whole / 2 + self._draw() * whole / 2


def _watch(watch_s: int, revision: str, *, initial: bool) -> Query:
    query: Query = (
        ("watch", "true"),
        ("allowWatchBookmarks", "true"),
        ("timeoutSeconds", str(watch_s)),
    )
    if initial:
        return (*query, ("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan"))
    return (*query, ("resourceVersion", revision))
