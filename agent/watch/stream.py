"""The list and watch protocol of one kind of objects, as a state machine without sockets or threads.

The caller (watch.py) asks for the next :class:`Request`, performs it, and feeds what comes back; events
come out as the objects arrive. The ways to a whole list, in the order they are tried::

    STREAM   watch with sendInitialEvents, until the bookmark that ends them
    LIST     list from the server's cache: STREAM is not known there
    PAGES    list in chunks: LIST did not come through
    WATCH    changes since the revision we hold: after any of these

A server that does not have the resource (a CustomResourceDefinition that is not installed) may be taken as one that has
no such objects; it is asked again, soon and then at long intervals, for the resource may come. It is not while objects
are held that nobody has deleted: they stay, however long.

What is answered as a success and is no list of the kind, or an event of another, is a failure: a proxy's own answer
would be a list without objects, and take all away.

Nothing goes back in time, though API servers may lag behind each other: a list is asked for at no older revision than
the one held (resourceVersionMatch NotOlderThan), and one that is older all the same is not taken. Only a consistent
list that is still older after a minute is: etcd was restored from a backup.

Source: Kubernetes API Concepts, "Streaming lists", "Efficient detection of changes" and "Resource versions"; KEP-3157,
KEP-5504 (revisions are compared as numbers).
"""

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import assert_never

from agent.json_text import NOT_JSON
from agent.kube.answers import is_of, not_a_list
from agent.kube.retry import DENIALS, Refusal, backoff_s, refusal
from agent.watch.decode.objects import Metadata, Named
from agent.watch.items import Items
from agent.watch.protocol import HEAD, LINE, LIST, Changed, Event, Item, Line, Listed, Mode, Query, Request

_NO_STREAMS = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)  # feature gate WatchList
_TOO_LARGE = (
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.GATEWAY_TIMEOUT,
)

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
PAGE = 500  # objects in a chunk, as client-go's
WATCH_S = (300, 600)  # the server ends a watch after this long; drawn, so that nodes come back one by one
# a streaming list without its last bookmark by then is none; and it goes on as a watch on the same connection, where an
# API server may be silent for the minute between two bookmarks, and a little longer
INITIAL_S = 150
LIST_S = 60
SOON_S = 0.5  # a place in the watch that was lost is looked for again within this time, drawn
QUICK_S = 1.0  # a watch that ends sooner counts as failed, else a broken proxy makes us spin
OLDER_S = 60.0  # for so long no consistent list is believed that is older than what is held
ABSENT_S = (45, 75)  # between two looks for a resource that the server does not have; drawn
LOOK_S = 2.0  # the first is sooner than that, the next than twice as long, and so on
# so long a resource that was there before the agent's start must be away before it is taken for one without objects: a
# server that starts may not have it yet. While objects of it are held, after so long somebody is to look
WENT_S = 60.0


class Stream:
    """One *kind*'s protocol, "Service". *draw* gives numbers in [0, 1), *clock* seconds that never go back.

    *is_exact*: no list comes from a server's cache before one has come that is the newest there is.
    """

    def __init__(
        self,
        kind: str,
        draw: Callable[[], float],
        clock: Callable[[], float],
        *,
        is_exact: bool = False,
        was_there: bool = False,
    ) -> None:
        """*was_there*: before the agent's start the server had the resource."""
        self._kind = kind
        self._draw = draw
        self._is_exact = is_exact
        self._clock = clock
        self._first = Mode.STREAM  # how a list is begun; what the server refused is not tried again
        self.mode = Mode.STREAM
        self.revision = ""  # of what is held
        self.trouble = ""  # why the last request ended badly; empty while all is well
        self.is_denied = False  # the trouble is one of rights: somebody has to change something
        self.restarts = 0  # requests that ended badly
        self.is_listed = False  # a whole list has come since the start
        self.heard_at: float | None = None  # of the clock, when the server last sent something useful
        self._failures = 0  # in a row
        self._losses = 0  # of our place in the watch, without a sign of life from it in between
        self._delay_s = 0.0
        self._next_page = ""
        self._items = Items()
        self._is_consistent = False  # ask for the newest there is, whatever revision is held
        self._older_since: float | None = None  # lists are older than what is held
        self._was_there = was_there
        self.is_kept = False  # the server has long been without the resource, and what is held of it stays
        self._absent_since: float | None = None  # the server does not have the resource
        self._looks = 0  # for it since
        self._is_absent = False  # and that has been told
        self._asked_at = 0.0
        self._is_cut = False

    def request(self) -> Request:
        """The request to perform next, after its delay."""
        delay_s, self._delay_s = self._delay_s, 0.0
        self._asked_at = self._clock() + delay_s
        self._is_cut = False
        self._items = Items()
        match self.mode:
            case Mode.STREAM:
                query = (*_watch(self._watch_s()), ("sendInitialEvents", "true"), *self._not_older(""))
                return Request(query, is_stream=True, begins_list=True, read_timeout_s=INITIAL_S, delay_s=delay_s)
            case Mode.LIST:
                query = self._not_older("" if self._is_exact else "0")
            case Mode.PAGES:
                query = (("limit", str(PAGE)),)
                if self._next_page:
                    query += (("continue", self._next_page),)
            case Mode.WATCH:
                watch_s = self._watch_s()
                query = (*_watch(watch_s), ("resourceVersion", self.revision))
                # the server ends it; only a lost connection is silent for longer
                return Request(query, is_stream=True, begins_list=False, read_timeout_s=watch_s + 30, delay_s=delay_s)
            case _:
                assert_never(self.mode)
        begins = not self._next_page
        return Request(query, is_stream=False, begins_list=begins, read_timeout_s=LIST_S, delay_s=delay_s)

    def part(self, content: bytes) -> Iterator[Event]:
        """A part of a list's answer, or of one page of it."""
        for item in self._items.feed(content):
            yield Item(item)

    def whole(self) -> Iterator[Event]:
        """The end of such an answer."""
        try:
            found = LIST.decode(self._items.around())
        except NOT_JSON as error:
            self.failed(f"the list was cut short: {error}", was_answered=True)
            return
        if why := not_a_list(found, self._kind):
            self.failed(why)
            return
        self._next_page = found.metadata.continue_
        if self._next_page:
            self.mode = Mode.PAGES  # the server may also cut a list that did not ask for it
        else:
            yield from self._listed(found.metadata.resource_version)

    def line(self, content: bytes) -> Iterator[Event]:
        """One line of a watch. Once :attr:`is_cut`, the connection is of no more use."""
        if self._is_cut or not content.strip():
            return
        try:
            found = LINE.decode(content)
            head = Named() if found.type == "ERROR" else HEAD.decode(found.object)
        except NOT_JSON as error:
            self.failed(f"a line was cut short: {error}")
            return
        match found.type:
            case "ERROR":
                self._error(refusal(0, found.object))
            case _ if not self._is_of_kind(head):
                self.failed(f"an event {found.type[:64]!r} of {head.kind[:64]!r}, and of no {self._kind}")
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

    def refused(self, answer: Refusal) -> None:
        """An answer with another code than 200."""
        text = str(answer)
        if answer.is_too_new:
            self._behind(text, answer)
        elif answer.code == HTTPStatus.GONE or (self.mode is Mode.WATCH and answer.code == HTTPStatus.BAD_REQUEST):
            self.lost(text)  # forgotten, or a revision that this server cannot have given
        elif self.mode is Mode.STREAM and answer.code in _NO_STREAMS:
            self._first = self.mode = Mode.LIST
        else:
            self.failed(text, at_least_s=answer.retry_after_s)
            self.is_denied = answer.code in DENIALS
            if self.mode is Mode.LIST and answer.code in _TOO_LARGE:
                self.mode = Mode.PAGES

    def absent(self, answer: Refusal, *, is_held: bool = False) -> Iterator[Event]:
        """The server does not have the resource: a list without objects, where that takes nothing away.

        Who removes a resource for good has its objects deleted one by one. Where some are held all the same (*is_held*)
        the server is another, has not read its CustomResourceDefinitions yet (most say 503 then), or no more has the
        version that is asked for.
        """
        since = self._clock() if self._absent_since is None else self._absent_since
        left_s = since + WENT_S - self._clock()
        if is_held or (self._was_there and left_s > 0):
            what = "what was read of it before is kept" if is_held else "it was there before the agent's start"
            self.failed(f"{answer}; {what}", at_least_s=answer.retry_after_s)
            self.mode = self._first
            self._absent_since = since
            self.is_kept = is_held and left_s <= 0
            if not is_held:
                self._delay_s = max(answer.retry_after_s, min(self._delay_s, left_s))
            return
        was_told, self._is_absent = self._is_absent, True
        self.mode = self._first
        self.revision, self._next_page = "", ""
        self.is_listed, self._was_there = True, False
        self._fine()
        self._delay_s = self._look_s()
        if not was_told:
            yield Listed()

    def failed(self, text: str, *, was_answered: bool = False, at_least_s: float = 0.0) -> None:
        """The connection could not be made, or broke; *was_answered*: after the answer had begun."""
        self._is_cut = True
        self.trouble = text
        self.is_denied = self.is_kept = False
        self._absent_since = None
        self.restarts += 1
        self._failures += 1
        self._delay_s = backoff_s(max(self._failures, self._losses), self._draw(), at_least_s=at_least_s)
        if self.mode is Mode.LIST and was_answered:
            self.mode = Mode.PAGES
        elif self.mode is Mode.STREAM and self._is_overdue():
            self._first = self.mode = Mode.LIST  # a server that knows no streaming lists is silent
        self._next_page = ""

    def lost(self, text: str) -> None:
        """Our place in the watch is lost: list again, at first soon but not all nodes at once."""
        self._losses += 1
        self.failed(text)
        self.mode = self._first
        if self._failures == self._losses == 1:
            self._delay_s = self._draw() * SOON_S

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

    def _error(self, found: Refusal) -> None:
        text = f"watch error {found.code}: {found.message}"
        if found.is_too_new:
            self._behind(text, found)
        elif found.code == HTTPStatus.GONE:
            self.lost(text)
        else:
            self.failed(text, at_least_s=found.retry_after_s)

    def _behind(self, text: str, found: Refusal) -> None:
        """This server has not seen what we hold; a list of the newest there is does not depend on that."""
        self._is_consistent = True
        if self.mode is Mode.WATCH:
            self.lost(text)
        else:
            self.failed(text, at_least_s=found.retry_after_s)

    def _is_of_kind(self, head: Named) -> bool:
        return is_of(self._kind, head.kind, name=head.metadata.name, revision=head.metadata.resource_version)

    def _bookmark(self, metadata: Metadata) -> Iterator[Event]:
        revision = metadata.resource_version
        if self.mode is not Mode.STREAM:
            self.revision = self._newer(revision)
            self._fine()
        elif (metadata.annotations or {}).get(INITIAL_EVENTS_END) == "true":
            yield from self._listed(revision)

    def _change(self, found: Line, metadata: Metadata) -> Iterator[Event]:
        is_deleted = found.type == "DELETED"
        if self.mode is Mode.STREAM:
            self.heard_at = self._clock()
            yield Item(found.object, is_deleted)
            if self._is_overdue():
                self.failed(f"no end of the streaming list within {INITIAL_S} s")
            return
        self._fine()
        if _is_older(metadata.resource_version, self.revision):
            return  # sent by a server that is behind the one that we heard before
        self.revision = self._newer(metadata.resource_version)
        yield Changed(found.object, is_deleted)

    def _listed(self, revision: str) -> Iterator[Event]:
        if not revision:
            self.failed("the list has no resourceVersion")
            return
        if not self._is_believed(revision):
            return
        self.revision = revision
        self.mode = Mode.WATCH
        self.is_listed = True
        self.is_denied = self._is_consistent = self._is_absent = self._was_there = self.is_kept = False
        self._looks = 0
        self._failures, self.trouble = 0, ""
        self._absent_since = None
        self.heard_at = self._clock()
        yield Listed()

    def _is_believed(self, revision: str) -> bool:
        """Whether a list of this revision may take the place of what is held; if not, it is asked for again."""
        if not _is_older(revision, self.revision):
            self._older_since = None
            return True
        now = self._clock()
        self._older_since = now if self._older_since is None else self._older_since
        was_consistent = self._is_consistent or self.mode is Mode.PAGES
        if was_consistent and now - self._older_since >= OLDER_S:
            self._older_since = None
            return True
        self.failed(f"the list is of revision {revision}, older than {self.revision}, which is held")
        self.mode = self._first
        self._is_consistent = not was_consistent
        return False

    def _newer(self, revision: str) -> str:
        return self.revision if not revision or _is_older(revision, self.revision) else revision

    def _not_older(self, without: str) -> Query:
        """What a list must not be older than; *without* anything held, that revision."""
        if self._is_consistent or not self.revision:
            at = "" if self._is_consistent else without
            match_it = (("resourceVersionMatch", "NotOlderThan"),) if self.mode is Mode.STREAM else ()
            return (*((("resourceVersion", at),) if at else ()), *match_it)
        return (("resourceVersion", self.revision), ("resourceVersionMatch", "NotOlderThan"))

    def _fine(self) -> None:
        self._failures = self._losses = 0
        self.trouble, self.is_denied, self.is_kept = "", False, False
        self.heard_at = self._clock()

    def _is_overdue(self) -> bool:
        return self._clock() - self._asked_at >= INITIAL_S

    def _look_s(self) -> float:
        """The wait before the next look for a resource that is not there."""
        self._looks += 1
        low, high = ABSENT_S
        usual_s = low + self._draw() * (high - low)
        return min(usual_s, backoff_s(self._looks, self._draw(), first_s=LOOK_S, longest_s=high * 2))

    def _watch_s(self) -> int:
        low, high = WATCH_S
        return int(low + self._draw() * (high - low))


def _watch(watch_s: int) -> Query:
    return (("watch", "true"), ("allowWatchBookmarks", "true"), ("timeoutSeconds", str(watch_s)))


def _is_older(revision: str, held: str) -> bool:
    """Whether *revision* comes before *held*; those that are no numbers cannot be compared."""
    return revision.isdecimal() and held.isdecimal() and int(revision) < int(held)
