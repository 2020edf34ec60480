"""One kind of objects, watched: a thread performs what stream.py asks, decodes as objects arrive, changes mirror.py."""

import contextlib
import random
import time
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from threading import Event as Signal
from threading import Lock

import urllib3

from agent.kube.client import TROUBLE, Client
from agent.kube.retry import Refusal, refusal
from agent.log import logger
from agent.model.name import ObjectName, Problem
from agent.threads import Threads
from agent.watch.decode.decoder import Decoder, identity
from agent.watch.decode.kind import Decoded, Kind
from agent.watch.met import Met
from agent.watch.mirror import Mirror
from agent.watch.protocol import Changed, Event, Item, Listed, Request
from agent.watch.status import WatchStatus
from agent.watch.stream import Stream

log = logger(__name__)

CHUNK = 1 << 16  # bytes read at once at most
STOP_S = 0.5


class Watch:
    """A watch and its thread."""

    def __init__(  # noqa: PLR0913, PLR0917  whom it asks and tells
        self, client: Client, kind: Kind, decoder: Decoder, mirror: Mirror, threads: Threads, met: Met
    ) -> None:
        self.kind = kind
        self._met = met
        self._client = client
        self._decoder = decoder
        self._mirror = mirror
        self._threads = threads
        self._query = selectors(kind, decoder.node_name)
        self._paths = (kind.path, *kind.older_paths)
        self._without = 0  # of the paths, so many in turn are not there
        self._path = 0  # the one that is asked for
        # jitter between nodes, nothing that anyone must not guess; drawn from nobody else's numbers
        draw = random.Random().random  # noqa: S311
        had = kind.is_optional and met.had(kind.name)
        self._stream = Stream(kind.object_kind, draw, time.monotonic, is_exact=kind.is_exact, was_there=had)
        self._stopping = Signal()
        self._changing = Lock()  # the mirror; not after the end was asked for
        self._response: urllib3.BaseHTTPResponse | None = None
        self._listed: dict[ObjectName, Decoded] = {}  # of a list that is under way
        self._events = 0
        self._is_troubled = False
        self._thread = threads.make(f"watch-{kind.table}", self._run)

    def start(self) -> None:
        """Begin; an API server that does not answer is tried again and again."""
        self._thread.start()

    def end(self) -> None:
        """Make the thread end, which may be reading; it changes nothing in the mirror from now on."""
        self._thread.end()
        with self._changing:
            self._stopping.set()
        response = self._response
        if response is not None:
            with contextlib.suppress(ValueError, RuntimeError, OSError):  # it is closed, or read to its end
                response.shutdown()

    def join(self, timeout_s: float = STOP_S) -> None:
        """Wait until it has ended."""
        self._thread.join(timeout_s)
        self._threads.forget(self._thread)

    def status(self) -> WatchStatus:
        """How it fares, from any thread."""
        stream = self._stream
        return WatchStatus(
            kind=self.kind.name,
            is_listed=stream.is_listed,
            trouble=stream.trouble,
            is_denied=stream.is_denied,
            restarts=stream.restarts,
            events=self._events,
            heard_at=stream.heard_at,
        )

    def _run(self) -> None:
        while not self._stopping.is_set():
            request = self._stream.request()
            if self._stopping.wait(request.delay_s):
                return
            try:
                self._perform(request)
            except TROUBLE as error:
                self._stream.failed(_one_line(error), was_answered=self._response is not None)
            # a watch that dies in silence is worse than any error; what it was sent may not have reached the mirror
            except Exception as error:
                log.exception("watch failed", kind=self.kind.name)
                self._stream.lost(_one_line(error))
            finally:
                self._release()
            self._report_trouble()

    def _perform(self, request: Request) -> None:
        if request.begins_list:
            self._listed = {}
        path = self._paths[self._path]
        response = self._client.get(path, request.query + self._query, request.read_timeout_s)
        if response.status != HTTPStatus.OK:
            self._refused(refusal(response.status, response.data, response.headers.get("Retry-After", "")))
            return
        self._without = 0
        self._response = response
        if request.is_stream:
            self._follow(response)
        else:
            while chunk := response.read1(CHUNK):
                self._take(self._stream.part(chunk))
            self._take(self._stream.whole())

    def _refused(self, answer: Refusal) -> None:
        """An answer without objects; a resource that need not be there is looked for at each of its paths."""
        if answer.code != HTTPStatus.NOT_FOUND or not self.kind.is_optional:
            self._stream.refused(answer)
            return
        self._without += 1
        self._path = (self._path + 1) % len(self._paths)
        if self._without == len(self._paths):
            self._without = self._path = 0
            self._listed = {}
            self._take(self._stream.absent(answer, is_held=self._mirror.holds(self.kind)))

    def _follow(self, response: urllib3.BaseHTTPResponse) -> None:
        """Read a watch until it ends, or is of no more use."""
        for lines in _lines(response):
            self._take(event for line in lines for event in self._stream.line(line))
            if self._stream.is_cut:
                return
        self._stream.ended()

    def _take(self, events: Iterable[Event]) -> None:
        """Decode, and change the mirror; what came in one read makes one Cluster."""
        changes: list[Decoded] = []
        with self._thread.busy():
            for event in events:
                match event:
                    case Item(content, is_deleted):
                        self._note(content, is_deleted=is_deleted)
                    case Listed():
                        self._give_list()
                        changes = []  # those before a list are in it
                    case Changed(content, is_deleted):
                        self._events += 1
                        decode = self._decoder.deleted if is_deleted else self._decoder.decode
                        changes.append(decode(self.kind, content))
            with self._changing:
                if changes and not self._stopping.is_set():
                    self._mirror.change(changes)

    def _note(self, content: bytes, *, is_deleted: bool) -> None:
        """Keep one object of a list; one that is as before is kept as the identical value, not twice."""
        if is_deleted:
            self._listed.pop(identity(content), None)
            return
        decoded = self._decoder.decode(self.kind, content)
        held = self._mirror.held(self.kind, decoded.name)
        if held is not None and held == decoded.value:
            decoded = Decoded(self.kind, decoded.name, held, decoded.problems)
        self._listed[decoded.name] = decoded

    def _give_list(self) -> None:
        listed, self._listed = self._listed, {}
        with self._changing:
            if self._stopping.is_set():
                return
            self._mirror.replace(self.kind, listed.values())
        self._events += len(listed)
        if self.kind.is_optional:
            self._met.note(self.kind.name, is_there=bool(self._stream.revision))
        self._report_trouble()
        log.info("listed", kind=self.kind.name, objects=len(listed))

    def _report_trouble(self) -> None:
        """Log trouble, and its end; what somebody must change is a Problem."""
        trouble = self._stream.trouble
        with self._changing:
            if self._stopping.is_set():
                return
            self._mirror.report(self.kind.name, tuple(self._problems(trouble)))
        if trouble:
            log.warning("watch is tried again; the last state is kept", kind=self.kind.name, why=trouble)
        elif self._is_troubled:
            log.info("watch works again", kind=self.kind.name)
        self._is_troubled = bool(trouble)

    def _problems(self, trouble: str) -> Iterator[Problem]:
        """What no further try changes until somebody changes the cluster."""
        if self._stream.is_denied:
            way_out = f"the agent must be allowed to list and watch {self.kind.resource} (deploy/manifests)"
        elif self._stream.is_kept:
            way_out = f"install {self.kind.path}, or where it is to be gone for good start the agent anew"
        else:
            return
        yield Problem("Watch", ObjectName("", self.kind.resource), "list", f"{trouble}; {way_out}")

    def _release(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()


def selectors(kind: Kind, node_name: str) -> tuple[tuple[str, str], ...]:
    """The part of a query that says which objects are asked for."""
    pairs = (("fieldSelector", kind.field_selector.format(node=node_name)), ("labelSelector", kind.label_selector))
    return tuple((name, value) for name, value in pairs if value)


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[list[bytes]]:
    """The lines of a watch, as many at once as have arrived; a line cut off at the end is dropped."""
    rest = b""
    while chunk := response.read1(CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield lines


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
