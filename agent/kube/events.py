"""Writes why a pod has no address, or not all it asks for, as an Event on the Pod, and what is wrong with this node.

In the background, and never in ADD's way. What is wrong with other objects every node sees, and would write: that is
no Event, but of a NetworkAttachmentDefinition or an IPPool, whose Event has a name that follows from what it says, so
that the first node's stays the only one. Pods are known to their own node alone, and why a Service has no load
balancer address to the one that allocates. There is one per pod, setting of the node or field, which counts; it is
written at once, and then anew every five minutes while it goes on.

Source: Kubernetes API reference, Event v1 core.
"""

import random
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from hashlib import sha256
from threading import Condition

from agent.kube.client import AGENT, TROUBLE, Client, Refused
from agent.kube.event_book import QUIET_S, EventBook, Happened, Subject
from agent.kube.retry import backoff_s
from agent.log import logger
from agent.model.ip_pool import IP_POOL
from agent.model.name import ObjectName, Problem
from agent.model.network import DEFINITION
from agent.threads import Threads

log = logger(__name__)

NO_ADDRESS, PROBLEM, NO_LB_ADDRESS = "FailedIPAllocation", "NetworkProblem", "LoadBalancerAddress"  # reasons
LOST, BACK = "BGPSessionLost", "BGPSessionEstablished"
REMIND_S = 1800.0  # an API server keeps Events for an hour: what goes on is written again before
TIMEOUT_S = 10.0
_MESSAGE_MAX = 1024
_API_VERSIONS = {
    "LoadBalancerPool": "sluiceway.io/v1alpha1",
    IP_POOL: "sluiceway.io/v1alpha1",
    DEFINITION: "k8s.cni.cncf.io/v1",
}  # of kinds that are not of the first group
_OF_ALL_NODES = frozenset({DEFINITION, IP_POOL})  # kinds of which each node finds the same mistakes
_NAME_MAX = 253 - 17  # a DNS subdomain, less a dot and 16 hex digits


class Events:
    """One thread that writes Events to an API server."""

    def __init__(  # noqa: PLR0913  who knows what an Event has
        self,
        client: Client,
        node_name: str,
        threads: Threads,
        clock: Callable[[], float] = time.monotonic,
        *,
        pod_uid: Callable[[ObjectName], str] = lambda _: "",
        definition_uid: Callable[[ObjectName], str] = lambda _: "",
        pool_uid: Callable[[ObjectName], str] = lambda _: "",
    ) -> None:
        """*clock* is what quiet is measured by, *pod_uid* has the uid of a Pod of this node.

        *definition_uid* has that of a NetworkAttachmentDefinition, *pool_uid* that of an IPPool.
        """
        self._pod_uid = pod_uid
        self._uids = {DEFINITION: definition_uid, IP_POOL: pool_uid}
        self._client = client
        self._node = node_name
        self._clock = clock
        self._book = EventBook()
        self._wake = Condition()  # guards the book
        self._stopping = False
        self._problems: tuple[Problem, ...] = ()  # as last reported
        self._remind_at = 0.0
        self._failures = 0  # in a row
        # jitter between nodes, nothing that anyone must not guess; drawn from nobody else's numbers
        self._random = random.Random().random  # noqa: S311
        self._not_before = 0.0  # of the clock: the server is left alone until then
        self._thread = threads.make("events", self._run)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def end(self) -> None:
        """Begin to end the thread."""
        with self._wake:
            self._stopping = True
            self._thread.end()
            self._wake.notify_all()

    def join(self, timeout_s: float = 1.0) -> None:
        """Wait for its end; a daemon, so that a silent server does not keep us."""
        self._thread.join(timeout_s)

    def no_address(self, pod: ObjectName, uid: str, why: str) -> None:
        """A pod could not be given an address; returns at once."""
        with self._wake:
            self._note(Subject("Pod", pod, uid, NO_ADDRESS), why)

    def local_problems(self, problems: tuple[Problem, ...]) -> None:
        """What is wrong now, of which this node's and its Pods' is written, when it comes and while it lasts.

        For one thread. What is wrong in one field is one Event.
        """
        now = self._clock()
        if problems is self._problems and now < self._remind_at:
            return
        known = set(self._problems) if now < self._remind_at else frozenset()
        told = _by_field(one for one in problems if self._is_local(one))
        fresh = [subject for subject, those in told.items() if not known >= set(those)]
        self._problems = problems
        if now >= self._remind_at:
            self._remind_at = now + REMIND_S
        with self._wake:
            for kind, name, where in fresh:
                # kubectl describe node asks by the name as uid, as the kubelet writes it
                uid = name.name if kind == "Node" else self._uid(kind, name)
                texts = "; ".join(one.text for one in told[kind, name, where])
                self._note(Subject(kind, name, uid, PROBLEM, where), f"{where}: {texts}")

    def lb_problem(self, problem: Problem, uid: str) -> None:
        """Why a Service has not the load balancer address that it wants; returns at once.

        Of these the one node that allocates tells alone, each when it comes.
        """
        with self._wake:
            subject = Subject(problem.kind, problem.name, uid, NO_LB_ADDRESS, problem.field)
            self._note(subject, f"{problem.field}: {problem.text}")

    def bgp_session(self, about: str, text: str, *, is_up: bool) -> None:
        """A BGP session of this node's was lost, or came back; returns at once. *about* says whose it is."""
        with self._wake:
            name = ObjectName("", self._node)
            self._note(Subject("Node", name, self._node, BACK if is_up else LOST, about), f"{about}: {text}")

    def _is_local(self, problem: Problem) -> bool:
        return problem.kind in {"Pod", *_OF_ALL_NODES} or (problem.kind, problem.name.name) == ("Node", self._node)

    def _uid(self, kind: str, name: ObjectName) -> str:
        return self._uids.get(kind, self._pod_uid)(name)

    def _note(self, subject: Subject, message: str) -> None:
        """Take it down, under the lock."""
        if self._book.note(subject, message[:_MESSAGE_MAX], self._clock(), time.time()):
            self._wake.notify_all()

    def _run(self) -> None:
        while (happened := self._next()) is not None:
            with self._thread.busy():
                self._handle(happened)

    def _next(self) -> Happened | None:
        """What is due, as soon as something is; None: the end."""
        with self._wake:
            while not self._stopping:
                now = self._clock()
                if now >= self._not_before and (found := self._book.due(now)):
                    return found[0]
                next_due = self._book.next_due()
                at = None if next_due is None else max(next_due, self._not_before)
                self._wake.wait(None if at is None else max(0.0, at - now))
        return None

    def _handle(self, happened: Happened) -> None:
        began, is_of_one = self._clock(), False
        try:
            event, trouble, wait_s = self._write(happened), "", 0.0
        except Refused as error:
            event, trouble, wait_s = None, str(error), error.refusal.retry_after_s
            is_of_one = error.refusal.is_of_one
        except TROUBLE as error:
            event, trouble, wait_s = None, " ".join(str(error).split()), 0.0
        # a bug in one Event is no reason to write no other
        except Exception as error:
            log.exception("event not written", object=happened.subject.name)
            event, trouble, wait_s = None, repr(error), 0.0
        with self._wake:
            if event is None:
                self._failed(happened, began, wait_s, is_of_one=is_of_one)
            else:
                self._failures = 0
                self._book.written(happened, event, began)
        if trouble:
            log.warning("events cannot be written; tried again", why=trouble)

    def _failed(self, happened: Happened, began: float, wait_s: float, *, is_of_one: bool) -> None:
        """Leave the server alone for a while, or this Event where it is refused alone; longer the more often it was."""
        failures = 1 + (self._book.failures(happened) if is_of_one else self._failures)
        again_at = began + backoff_s(failures, self._random(), at_least_s=wait_s, longest_s=QUIET_S)
        if not is_of_one:
            self._failures, self._not_before = failures, again_at
        self._book.failed(happened, again_at)

    def _write(self, happened: Happened) -> str:
        """Write it; the Event's name, empty where no Event can be.

        Raises:
            Refused, TROUBLE: another time it may.
        """
        events = f"/api/v1/namespaces/{_namespace(happened.subject.name)}/events"
        if happened.event and self._is_done("PATCH", f"{events}/{happened.event}", again(happened)):
            return happened.event
        event = fresh(happened, self._node)
        name: str = event["metadata"]["name"]  # type: ignore[index]
        return name if self._is_done("POST", events, event) else ""

    def _is_done(self, method: str, path: str, content: dict[str, object]) -> bool:
        """Whether the API server did it; False: it never will."""
        kind = "application/json" if method == "POST" else "application/merge-patch+json"
        try:
            self._client.send(method, path, content, kind, TIMEOUT_S)
        except Refused as error:
            if not error.refusal.is_final:
                raise
            log.debug("event not accepted", why=str(error))
            return False
        return True


def _by_field(problems: Iterable[Problem]) -> dict[tuple[str, ObjectName, str], list[Problem]]:
    found: dict[tuple[str, ObjectName, str], list[Problem]] = {}
    for one in problems:
        found.setdefault((one.kind, one.name, one.field), []).append(one)
    return found


def fresh(happened: Happened, node: str) -> dict[str, object]:
    """The Event, as it is first written."""
    about = happened.subject
    name = about.name
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": _namespace(name),
            "name": f"{name.name[:_NAME_MAX]}.{_number(happened):x}",
        },
        "involvedObject": {
            "apiVersion": _API_VERSIONS.get(about.kind, "v1"),
            "kind": about.kind,
            **({"namespace": name.namespace} if name.namespace else {}),
            "name": name.name,
            **({"uid": about.uid} if about.uid else {}),  # `kubectl describe` asks by it
        },
        "type": "Normal" if about.reason == BACK else "Warning",
        "reason": about.reason,
        "source": {"component": AGENT, "host": node},
        "reportingComponent": AGENT,
        "reportingInstance": node,
        "firstTimestamp": _stamp(happened.first_s),
        **again(happened),
    }


def _number(happened: Happened) -> int:
    """What tells an object's Events apart: when each began, or what it says where all nodes would say it."""
    if happened.subject.kind not in _OF_ALL_NODES:
        return int(happened.first_s * 1e9)
    about = f"{happened.subject.uid} {happened.message}"
    return int.from_bytes(sha256(about.encode()).digest()[:8], "big")


def again(happened: Happened) -> dict[str, object]:
    """What changes in it when it happens again."""
    return {"message": happened.message, "count": happened.count, "lastTimestamp": _stamp(happened.last_s)}


def _namespace(name: ObjectName) -> str:
    """Where its Events are; those of what has no namespace are in "default"."""
    return name.namespace or "default"


def _stamp(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
