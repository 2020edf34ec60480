"""Tells a pod's owner, by an Event on the Pod, why it has no address: in the background, and never in ADD's way.

There is one Event per pod, which counts; it is written at once, and then anew every five minutes while it goes on.

Source: Kubernetes API reference, Event v1 core.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from threading import Condition, Thread

import kubernetes.client

from agent.kube.event_book import EventBook, Happened
from agent.log import logger
from agent.model.name import ObjectName
from agent.watch.api import TROUBLE, Connect

log = logger(__name__)

REASON = "FailedIPAllocation"
COMPONENT = "sluiceway-agent"
TIMEOUT_S = 10.0
_MESSAGE_MAX = 1024
_NAME_MAX = 253 - 17  # a DNS subdomain, less a dot and 16 hex digits
# for this pod no other answer will come: the Pod's namespace is gone or ends, or the Event is not accepted
_FINAL = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})


class Events:
    """One thread that writes Events to an API server."""

    def __init__(self, connect: Connect, node_name: str, clock: Callable[[], float] = time.monotonic) -> None:
        """*connect* is ``watch.api.client`` with its argument; *clock* is what quiet is measured by."""
        self._connect = connect
        self._node = node_name
        self._clock = clock
        self._api: kubernetes.client.ApiClient | None = None
        self._book = EventBook()
        self._wake = Condition()  # guards the book
        self._stopping = False
        self._told = False  # that writing fails
        self._thread = Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End the thread; a daemon, so that a silent server does not keep us."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        self._thread.join(timeout_s)

    def no_address(self, pod: ObjectName, uid: str, why: str) -> None:
        """A pod could not be given an address; returns at once."""
        with self._wake:
            if self._book.note(pod, uid, why[:_MESSAGE_MAX], self._clock(), time.time()):
                self._wake.notify_all()

    def _run(self) -> None:
        while due := self._wait():
            for happened in due:
                self._tell(happened)

    def _wait(self) -> tuple[Happened, ...]:
        """What is due, as soon as something is; nothing: the end."""
        with self._wake:
            while not self._stopping:
                if found := self._book.due(self._clock()):
                    return found
                next_due = self._book.next_due()
                self._wake.wait(None if next_due is None else max(0.0, next_due - self._clock()))
        return ()

    def _tell(self, happened: Happened) -> None:
        began = self._clock()
        try:
            event, trouble = self._write(happened), ""
        except TROUBLE as error:
            event, trouble = None, " ".join(str(error).split())
        # a thread that dies in silence tells nobody anything
        except Exception as error:
            log.exception("event not written", pod=happened.pod)
            event, trouble = None, repr(error)
        with self._wake:
            if event is None:
                self._book.failed(happened, began)
            else:
                self._book.written(happened, event, began)
        if trouble and not self._told:
            log.warning("events cannot be written; tried again, and not told again", pod=happened.pod, why=trouble)
        self._told = bool(trouble)

    def _write(self, happened: Happened) -> str:
        """Write it; the Event's name, empty where no Event can be.

        Raises:
            TROUBLE: another time it may.
        """
        events = f"/api/v1/namespaces/{happened.pod.namespace}/events"
        if happened.event and self._ask("PATCH", f"{events}/{happened.event}", again(happened)):
            return happened.event
        event = fresh(happened, self._node)
        name: str = event["metadata"]["name"]  # type: ignore[index]
        return name if self._ask("POST", events, event) else ""

    def _ask(self, method: str, path: str, content: dict[str, object]) -> bool:
        """Whether the API server did it; False: it never will."""
        if self._api is None:
            self._api = self._connect()
        kind = "application/json" if method == "POST" else "application/merge-patch+json"
        headers = {"Accept": "application/json", "Content-Type": kind, "User-Agent": COMPONENT}
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, content)
        url = f"{self._api.configuration.host}{path}"
        response = self._api.call_api(method, url, headers, body=content, _request_timeout=TIMEOUT_S).response
        said = response.read()  # with which the connection is free for the next
        if response.status < HTTPStatus.BAD_REQUEST:
            return True
        if response.status == HTTPStatus.UNAUTHORIZED:
            self._api = None  # the token's file is read again
        if response.status not in _FINAL:
            raise kubernetes.client.ApiException(response.status, f"{method} {path}: {said[:200]!r}")
        log.debug("event not accepted", path=path, status=response.status)
        return False


def fresh(happened: Happened, node: str) -> dict[str, object]:
    """The Event about a pod, as it is first written."""
    pod = happened.pod
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": pod.namespace,
            "name": f"{pod.name[:_NAME_MAX]}.{int(happened.first_s * 1e9):x}",
        },
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            **({"uid": happened.uid} if happened.uid else {}),  # `kubectl describe pod` asks by it
        },
        "type": "Warning",
        "reason": REASON,
        "source": {"component": COMPONENT, "host": node},
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
        "firstTimestamp": _stamp(happened.first_s),
        **again(happened),
    }


def again(happened: Happened) -> dict[str, object]:
    """What changes in it when it happens again."""
    return {"message": happened.message, "count": happened.count, "lastTimestamp": _stamp(happened.last_s)}


def _stamp(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
