"""The reconcile thread: the latest Cluster goes into the kernel, and a pod that waits goes first.

Everything that writes maps happens on this thread. Others leave a Cluster (the latest wins) or an attachment, whose
caller waits until the kernel has it. What a round does of devices has a thread of its own
(:mod:`agent.reconcile.pieces`), and while a piece of that waits for the kernel, Clusters that come are written to maps.
"""

import gc
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from threading import Condition, Event

from agent.compile.desired import Desired
from agent.compile.records import Owner, Records
from agent.compile.settings import Settings
from agent.errors import AgentError
from agent.log import logger
from agent.model.attachment import Attachment
from agent.model.cluster import Cluster
from agent.reconcile.account import Account
from agent.reconcile.parts import Dataplane
from agent.reconcile.pieces import Pieces
from agent.reconcile.propagation import Propagation
from agent.reconcile.round import Rounds
from agent.reconcile.status import Status
from agent.reconcile.timetable import Timetable
from agent.threads import Threads
from maps.errors import MapsError

log = logger(__name__)

ENDING = "the agent is ending; try again when it is back"


class LoopStopped(RuntimeError):  # noqa: N818  the name says what is wrong
    """The agent ends; the attachment was not applied."""


@dataclass(slots=True)
class _Request:
    """An attachment that came or left, and somebody who waits for the kernel to know."""

    attachment: Attachment
    is_detached: bool = False
    done: Event = field(default_factory=Event)
    error: Exception | None = None


class Loop:
    """The reconcile thread, and the calls by which others reach it."""

    def __init__(  # noqa: PLR0913, PLR0917  who is told what
        self,
        dataplane: Dataplane,
        settings: Settings,
        clock: Callable[[], int] = time.monotonic_ns,
        threads: Threads | None = None,
        on_sync: Callable[[float], None] = lambda _: None,
        on_needs_peers: Callable[[bool], None] = lambda _: None,
        on_policy: Callable[[float], None] = lambda _: None,
    ) -> None:
        """*on_sync* is called with the seconds of each round after which maps and vital parts are right.

        *on_needs_peers* is called when rules begin to mean pods of all nodes, and when none does any more; it returns
        at once. *on_policy* is called with the seconds from a change's arrival to the maps that pods are judged by.
        """
        self._dataplane, self._settings, self._clock = dataplane, settings, clock
        self._wake = Condition()
        self._latest: Cluster | None = None  # offered, not yet taken
        self._requests: deque[_Request] = deque()
        self._adopted: tuple[Attachment, ...] = ()
        self._is_stopping = self._is_drifting = False
        self._is_ahead = False  # a Cluster went into the maps while parts were brought to the one before
        self._synced = Event()  # or it never will be
        self._cluster = Cluster()
        self._rounds: Rounds | None = None
        self._account = Account()
        self._on_sync = on_sync
        self._on_needs_peers = on_needs_peers
        self._needed_peers = False
        self._propagation = Propagation(clock, on_policy)
        self._times = Timetable(clock)
        threads = threads or Threads()
        self._pieces = Pieces(self._wake, threads)
        self._thread = threads.make("reconcile", self._run)

    def adopt(self, attachments: tuple[Attachment, ...]) -> None:
        """Serve these, which live already; called before :meth:`start`."""
        self._adopted = attachments

    def start(self) -> None:
        """Begin; what an earlier agent left in the kernel is adopted."""
        self._pieces.start()
        self._thread.start()

    def stop(self) -> None:
        """End between two writes. What is in the kernel stays."""
        with self._wake:
            self._is_stopping = True
            self._thread.end()
            self._synced.set()
            self._wake.notify_all()
        self._thread.join()
        self._pieces.stop()
        self._refuse_requests()

    def offer(self, cluster: Cluster) -> None:
        """Work towards *cluster* from now on; returns at once. It says nothing of attachments: CNI does."""
        with self._wake:
            self._latest = cluster
            self._propagation.arrived()
            self._wake.notify_all()

    def resync_watched(self) -> None:
        """Compare the watched parts with the kernel, which lost something of theirs; returns at once."""
        with self._wake:
            self._is_drifting = True
            self._wake.notify_all()

    def attach(self, attachment: Attachment) -> None:
        """Serve a pod's interface, whose device has its programs; returns when the maps have it.

        Raises:
            LoopStopped: the agent ends.
            MapsError: the kernel, or a map's size, is in the way.
        """
        self._ask(_Request(attachment))

    def detach(self, attachment: Attachment) -> None:
        """Serve a pod's interface no more; returns when the maps have forgotten it. Raises as :meth:`attach`."""
        self._ask(_Request(attachment, is_detached=True))

    def status(self) -> Status:
        """The state after the latest round."""
        return self._account.status

    def pending_s(self) -> float:
        """For how long the oldest change waits that is not written yet, from any thread; 0: all is written."""
        with self._wake:  # what is taken is never in neither place
            since = self._propagation.pending_since_ns
        return 0.0 if since is None else (self._clock() - since) / 1e9

    def wait_synced(self, timeout_s: float) -> bool:
        """Whether everything of a whole Cluster has been written once, from any thread, after *timeout_s* at most.

        Raises:
            LoopStopped: the agent ends.
        """
        self._synced.wait(timeout_s)
        if self._is_stopping:
            raise LoopStopped(ENDING)
        return self._synced.is_set()

    def attachments(self) -> tuple[Attachment, ...]:
        """The attachments of this moment, from any thread."""
        return self._rounds.attachments if self._rounds is not None else self._adopted

    def records(self, owner: Owner) -> Records | None:
        """What the maps hold of an owner, from any thread; None while that is not known."""
        return self._rounds.records(owner) if self._rounds is not None else None

    def desired(self) -> Desired:
        """What is asked for at this moment, from any thread."""
        return self._rounds.desired if self._rounds is not None else Desired()

    def pod_mtu(self) -> int:
        """The MTU that pods are to have, from any thread; 0 while that is not known."""
        return self._rounds.desired.pod_mtu if self._rounds is not None else 0

    def _ask(self, request: _Request) -> None:
        with self._wake:
            if self._is_stopping:
                raise LoopStopped(ENDING)
            self._requests.append(request)
            self._wake.notify_all()
        request.done.wait()
        if request.error is not None:
            raise request.error

    def _run(self) -> None:
        while not self._is_stopping:
            self._wait()
            try:
                with self._thread.busy():
                    self._turn() if self._account.status.synced else self._first_turn()
            except LoopStopped:
                break
            except Exception as error:  # noqa: BLE001  whatever it is, traffic goes on and the next round tries again
                self._failed(error)
        self._refuse_requests()

    def _wait(self) -> None:
        """Sleep until there is something to do."""
        with self._wake:
            while not (self._is_stopping or (self._rounds and self._is_asked())):
                left = self._times.left_ns(self._parts_retry_at)
                if left <= 0:
                    return
                self._wake.wait(left / 1e9)

    def _is_asked(self) -> bool:
        """Whether somebody wants something."""
        return bool(self._latest or self._requests or self._is_drifting or self._is_ahead)

    @property
    def _parts_retry_at(self) -> int | None:
        return self._rounds.parts.retry_at_ns if self._rounds is not None else None

    def _first_turn(self) -> None:
        """Until the first sync is done: a collector that walks all it makes, again and again, would double its time."""
        gc.disable()
        try:
            self._turn()
        finally:
            gc.enable()

    def _turn(self) -> None:
        """Adopt once; then pods, then a round or a resync where one is due, then what can wait."""
        if self._rounds is None:
            self._rounds = Rounds(self._dataplane, self._settings, self._adopted, self._clock)
            self._times.begin_resync()
        rounds = self._rounds
        self._serve(rounds)
        if self._take(rounds) or self._is_unsettled(rounds) or self._times.is_round_due(rounds.parts.retry_at_ns):
            self._times.begin_round()
            self._round(rounds)
        if self._times.is_resync_due:
            self._resync(rounds)
        self._do_deferred(rounds)

    @staticmethod
    def _is_unsettled(rounds: Rounds) -> bool:
        """Whether a round is to end what an attachment's coming or going has begun; after a failure its time comes."""
        return rounds.is_unsettled and rounds.map_error is None

    def _take(self, rounds: Rounds) -> bool:
        """Take in the latest Cluster and what drifted; whether there is either, or parts are behind the maps."""
        is_new = self._take_cluster()
        with self._wake:
            is_drifting, self._is_drifting = self._is_drifting, False
        if is_drifting:
            rounds.parts.resync(watched=True)
        is_ahead, self._is_ahead = self._is_ahead, False
        return is_new or is_drifting or is_ahead

    def _take_cluster(self) -> bool:
        """Take in the latest Cluster; whether there is one."""
        with self._wake:
            cluster, self._latest = self._latest, None
            self._propagation.taken()
        self._cluster = cluster or self._cluster
        return cluster is not None

    def _serve(self, rounds: Rounds) -> None:
        """Serve everyone who waits for an attachment, together."""
        if not self._requests:
            return
        with self._wake:
            waiting = tuple(self._requests)
            self._requests.clear()
        self._times.disturb()
        failure = None
        try:
            for request in waiting:
                (rounds.detach if request.is_detached else rounds.attach)(request.attachment)
            rounds.serve(request.attachment.key for request in waiting)
        except Exception as error:  # noqa: BLE001  it is the callers' answer
            failure = error
        self._times.gather()
        _answer(waiting, failure)

    def _round(self, rounds: Rounds) -> None:
        """Bring everything to the Cluster; each part is tried, the first failure is told."""
        began = self._clock()
        self._write(rounds)
        brought_to = rounds.desired  # or to what comes meanwhile
        parts = rounds.finish()
        while self._apart(rounds, lambda: _is_left(parts)):
            pass
        vital = (*((rounds.map_error,) if rounds.map_error else ()), *rounds.parts.errors(vital=True))
        errors = (*vital, *rounds.parts.errors(vital=False))
        self._account.judge(rounds, errors)
        # another node out of reach is no reason to call this one unready
        if not vital:
            self._written(brought_to, began)
        if rounds.map_error:
            self._times.backoff.failed()
        else:
            self._times.backoff.succeeded()

    def _write(self, rounds: Rounds) -> None:
        """Bring the maps to the Cluster."""
        for _ in rounds.write(self._cluster):
            self._pause(rounds)
        self._ask_for_peers(rounds)
        if not rounds.map_error:
            self._propagation.written(rounds.desired.policies)

    def _apart(self, rounds: Rounds, piece: Callable[[], object]) -> object:
        """Have the thread of pieces do one, and meanwhile what needs none: pods, and the maps of Clusters that come."""
        self._pieces.begin(piece)
        while not self._is_piece_done():
            self._pause(rounds)
            if self._take_cluster():
                self._is_ahead = True
                self._write(rounds)
        self._thread.progressed()
        return self._pieces.result()

    def _is_piece_done(self) -> bool:
        """Wait until the piece has ended, which is the answer, or somebody wants something that needs none."""
        with self._wake:
            self._wake.wait_for(lambda: self._pieces.is_done or self._is_stopping or self._latest or self._requests)
            return self._pieces.is_done

    def _ask_for_peers(self, rounds: Rounds) -> None:
        needs = rounds.desired.policies.needs_peers
        if needs != self._needed_peers:
            self._on_needs_peers(needs)
        self._needed_peers = needs

    def _written(self, desired: Desired, began_ns: int) -> None:
        now_ns = self._clock()
        if self._account.written(desired, began_ns, now_ns):
            self._synced.set()
            gc.freeze()  # a collector that walks a hundred thousand records every so often costs a round its budget
        self._on_sync((now_ns - began_ns) / 1e9)

    def _pause(self, rounds: Rounds) -> None:
        """Between two pieces of a long write: pods first, and an end when the agent ends."""
        if self._is_stopping:
            raise LoopStopped("the agent is ending")
        self._serve(rounds)

    def _resync(self, rounds: Rounds) -> None:
        """Read the maps back, put right what drifted, and compare all parts with the kernel."""
        self._times.begin_resync()
        drift = 0
        for found in rounds.resync():
            drift += found
            self._pause(rounds)
        self._account.drifted(drift)
        self._round(rounds)

    def _do_deferred(self, rounds: Rounds) -> None:
        """One piece of what pods need not wait for, when none has come or gone for a while."""
        deferred = rounds.deferred
        if not self._times.is_quiet(is_left=deferred.is_left):
            return
        try:
            self._apart(rounds, deferred.piece)
        except (AgentError, MapsError) as error:
            log.warning("a pod's programs stay where they are; tried again with the next resync", why=error)

    def _failed(self, error: Exception) -> None:
        """Try again later, each time later."""
        self._account.failed(error)
        self._times.backoff.failed()

    def _refuse_requests(self) -> None:
        with self._wake:
            waiting = tuple(self._requests)
            self._requests.clear()
        _answer(waiting, LoopStopped(ENDING))


def _is_left(pieces: Iterator[None]) -> bool:
    """Go one piece further; whether there was one."""
    return next(pieces, pieces) is not pieces


def _answer(requests: Iterable[_Request], error: Exception | None = None) -> None:
    """Let them go."""
    for request in requests:
        request.error = error
        request.done.set()
