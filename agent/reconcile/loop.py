"""The reconcile thread: the latest Cluster goes into the kernel, and a pod that waits goes first.

Everything that writes maps happens on this thread. Others leave a Cluster (the latest wins) or an attachment, whose
caller waits until the kernel has it.
"""

import gc
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from threading import Condition, Event

from agent.compile.records import Desired
from agent.errors import AgentError
from agent.log import logger
from agent.model.attachment import Attachment
from agent.model.cluster import Cluster
from agent.model.local import Local
from agent.reconcile.account import Account
from agent.reconcile.kernel import Kernel
from agent.reconcile.status import Status
from agent.reconcile.sync import Settings, Sync
from agent.reconcile.timetable import Timetable
from agent.threads import Threads
from maps.errors import MapsError

log = logger(__name__)

_BESIDE_LOCAL = tuple(field.name for field in fields(Cluster) if field.name != "local")
_BESIDE_ATTACHMENTS = tuple(field.name for field in fields(Local) if field.name != "attachments")


class LoopStopped(RuntimeError):  # noqa: N818  the name says what is wrong
    """The agent ends; the attachment was not applied."""


@dataclass(slots=True)
class _Request:
    """An attachment, and somebody who waits for it."""

    apply: Callable[[Sync], None]
    whole: bool = False  # done only when the maps of services have it too
    done: Event = field(default_factory=Event)
    error: Exception | None = None


class Loop:
    """The reconcile thread and its doors."""

    def __init__(
        self,
        kernel: Kernel,
        settings: Settings,
        clock: Callable[[], int] = time.monotonic_ns,
        threads: Threads | None = None,
    ) -> None:
        self._kernel, self._settings, self._clock = kernel, settings, clock
        self._wake = Condition()
        self._latest: Cluster | None = None  # offered, not yet taken
        self._requests: deque[_Request] = deque()
        self._half: list[_Request] = []  # applied, but for the maps of services
        self._stopping = self._is_lost = False
        self._sync: Sync | None = None
        self._account = Account()
        self._times = Timetable(clock)
        self._thread = (threads or Threads()).make("reconcile", self._run)

    def start(self) -> None:
        """Begin; what an earlier agent left is adopted."""
        self._thread.start()

    def stop(self) -> None:
        """End between two writes. What is in the kernel stays."""
        with self._wake:
            self._stopping = True
            self._thread.end()
            self._wake.notify_all()
        self._thread.join()
        self._refuse_requests()

    def offer(self, cluster: Cluster) -> None:
        """Work towards *cluster* from now on; returns at once."""
        with self._wake:
            self._latest = cluster
            self._wake.notify_all()

    def look_again(self) -> None:
        """Something that is kept in the node's network was taken away: have it back; returns at once."""
        with self._wake:
            self._is_lost = True
            self._wake.notify_all()

    def attach(self, attachment: Attachment) -> None:
        """Have a pod's interface, which has its programs; returns when the kernel's maps have it.

        Raises:
            LoopStopped: the agent ends.
            MapsError: the kernel, or a map's size, is in the way.
        """
        self._ask(_Request(lambda sync: sync.attach(attachment), bool(attachment.host_ports)))

    def detach(self, attachment: Attachment) -> None:
        """Have a pod's interface no more; returns when the kernel has forgotten it. Raises as :meth:`attach`."""
        self._ask(_Request(lambda sync: sync.overlay.detach(attachment), bool(attachment.host_ports)))

    def status(self) -> Status:
        """The state after the latest round."""
        return self._account.status

    def written(self) -> Desired | None:
        """What the maps of services hold, from any thread; None while that is not known."""
        return self._sync.written if self._sync is not None else None

    def pod_mtu(self) -> int:
        """The MTU that pods were last to have, from any thread; 0 while that is not known."""
        return self._sync.pod_mtu if self._sync is not None else 0

    def _ask(self, request: _Request) -> None:
        with self._wake:
            if self._stopping:
                raise LoopStopped("the agent is ending; try again when it is back")
            self._requests.append(request)
            self._wake.notify_all()
        request.done.wait()
        if request.error is not None:
            raise request.error

    def _run(self) -> None:
        while not self._stopping:
            self._wait()
            try:
                with self._thread.busy():
                    self._turn() if self._account.status.synced else self._first_turn()
            except Exception as error:  # noqa: BLE001  whatever it is, traffic goes on and the next round tries again
                self._failed(error)
        self._refuse_requests()

    def _wait(self) -> None:
        """Sleep until there is something to do."""
        with self._wake:
            while not (self._stopping or (self._sync and self._is_asked())):
                left = self._times.left_ns
                if left <= 0:
                    return
                self._wake.wait(left / 1e9)

    def _is_asked(self) -> bool:
        """Whether somebody wants something."""
        return bool(self._latest or self._requests or self._half or self._is_lost)

    def _first_turn(self) -> None:
        """Until the first sync is done: a collector that walks all it makes, again and again, would double its time."""
        gc.disable()
        try:
            self._turn()
        finally:
            gc.enable()

    def _turn(self) -> None:
        """One round: adopt once, then pods, then the Cluster or the sweep."""
        if self._sync is None:
            self._sync = Sync(self._kernel, self._settings)
            self._times.begin_sweep()
        due = self._take(self._sync) or self._times.is_round_due
        self._serve(self._sync)
        half, self._half = self._half, []
        if due or half:
            self._times.begin_round()
            self._round(self._sync, half)
        if self._times.is_sweep_due:
            self._sweep(self._sync)
        self._settle(self._sync)

    def _settle(self, sync: Sync) -> None:
        """One piece of what pods need not wait for, when none has come or gone for a while."""
        if not self._times.is_quiet(is_unsettled=sync.is_unsettled):
            return
        try:
            sync.settle()
        except (AgentError, MapsError) as error:
            log.warning("a pod's programs stay where they are; tried again with the next sweep", why=error)

    def _take(self, sync: Sync) -> bool:
        """Take in the latest Cluster and what was lost; whether a round is due for either.

        Where only pods came or went they have been served, so the rest waits for others that come at the same time.
        """
        with self._wake:
            cluster, self._latest = self._latest, None
            is_lost, self._is_lost = self._is_lost, False
        if is_lost:
            sync.look_again()
        if cluster is None:
            return is_lost
        is_more = not _differ_by_pods_alone(sync.cluster, cluster)
        sync.offer(cluster)
        self._times.gather()
        return is_lost or is_more

    def _serve(self, sync: Sync) -> None:
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
                request.apply(sync)
            sync.come_and_gone()
        except Exception as error:  # noqa: BLE001  it is the callers' answer
            failure = error
        self._half += (request for request in waiting if request.whole and not failure)
        _answer((request for request in waiting if failure or not request.whole), failure)

    def _round(self, sync: Sync, half: Sequence[_Request] = ()) -> None:
        """Bring everything to the Cluster; each part is tried, the first failure is told."""
        started, errors = self._clock(), list[Exception]()
        try:
            for _ in sync.services():
                self._pause(sync)
        except LoopStopped as error:
            _answer(half, error)
            return
        except Exception as error:  # noqa: BLE001  the other parts may well succeed
            errors.append(error)
        _answer(half, errors[0] if errors else None)
        errors += [*_tried(sync.tunnel), *_tried(sync.here), *_tried(sync.pods), *_tried(sync.uplinks)]
        beyond = [*_tried(sync.routes), *_tried(sync.no_tunnel), *_tried(sync.wires), *_tried(sync.mtus)]
        if not errors:
            # another node out of reach is no reason to call this one unready
            is_first = self._account.written(sync, started, self._clock())
            if is_first:
                gc.freeze()  # a collector that walks a hundred thousand records every so often costs a round its budget
        errors += beyond
        if errors:
            self._failed(errors[0])
        else:
            self._times.succeeded()
            self._account.succeeded()

    def _pause(self, sync: Sync) -> None:
        """Between two pieces of a long write: pods first, and an end when the agent ends."""
        if self._stopping:
            raise LoopStopped("the agent is ending")
        self._serve(sync)

    def _sweep(self, sync: Sync) -> None:
        """Read the maps back, put right what drifted, and have hooks and routes looked at."""
        self._times.begin_sweep()
        drift = 0
        for found in sync.sweep():
            drift += found
            self._pause(sync)
        self._account.drifted(drift)
        self._round(sync)

    def _failed(self, error: Exception) -> None:
        """Try again later, each time later."""
        self._account.failed(error)
        self._times.failed()

    def _refuse_requests(self) -> None:
        with self._wake:
            waiting = (*self._requests, *self._half)
            self._requests.clear()
        self._half = []
        _answer(waiting, LoopStopped("the agent is ending; try again when it is back"))


def _differ_by_pods_alone(old: Cluster, new: Cluster) -> bool:
    """By identity: what did not change is the identical value, and what seems to have costs a round."""
    pairs = ((old, new, _BESIDE_LOCAL), (old.local, new.local, _BESIDE_ATTACHMENTS))
    return all(getattr(was, name) is getattr(now, name) for was, now, names in pairs for name in names)


def _answer(requests: Iterable[_Request], error: Exception | None = None) -> None:
    """Let them go."""
    for request in requests:
        request.error = error
        request.done.set()


def _tried(part: Callable[[], object]) -> Iterator[Exception]:
    """Do a part of a round; what stood in the way, if anything."""
    try:
        part()
    except Exception as error:  # noqa: BLE001  the other parts may well succeed
        yield error
