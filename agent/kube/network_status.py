"""Writes ``k8s.v1.cni.cncf.io/network-status`` to Pods, by a thread of its own: no pod waits for the API server.

The Pod's uid is a condition of the write, so that a Pod of the same name that came since is left alone. It goes to the
status subresource, which lets nobody change what the Pod runs.
"""

import random
import time
from collections.abc import Callable
from http import HTTPStatus
from threading import Condition

from agent.kube.client import TROUBLE, Client, Refused
from agent.kube.retry import backoff_s
from agent.log import logger
from agent.model.name import ObjectName
from agent.model.network import NETWORK_STATUS
from agent.threads import Threads

log = logger(__name__)

TIMEOUT_S = 10.0
LONGEST_S = 60.0  # between two tries
# no other answer will come: the Pod is gone or another, or the text is not accepted
_FINAL = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})


class NetworkStatusWriter:
    """One thread that writes to an API server; the last text of each Pod counts."""

    def __init__(self, client: Client, threads: Threads, clock: Callable[[], float] = time.monotonic) -> None:
        """*clock* gives seconds."""
        self._client = client
        self._clock = clock
        self._wake = Condition()
        self._texts: dict[tuple[ObjectName, str], str] = {}  # by Pod and uid
        self._stopping = False
        self._failures = 0  # in a row
        self._not_before = 0.0  # of the clock
        self._random = random.Random().random  # noqa: S311  jitter between nodes, which nobody must not guess
        self._thread = threads.make("network status", self._run)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, timeout_s: float = 0.1) -> None:
        """End the thread; a daemon, so that a silent server does not keep us."""
        with self._wake:
            self._stopping = True
            self._thread.end()
            self._wake.notify_all()
        self._thread.join(timeout_s)

    def write(self, pod: ObjectName, uid: str, text: str) -> None:
        """Have this text on this Pod; returns at once. Without a uid the Pod is whichever has the name."""
        with self._wake:
            self._texts[pod, uid] = text
            self._wake.notify_all()

    def _run(self) -> None:
        while (due := self._next()) is not None:
            key, text = due
            with self._thread.busy():
                self._handle(*key, text)

    def _next(self) -> tuple[tuple[ObjectName, str], str] | None:
        """What is to be written, as soon as something is; None: the end."""
        with self._wake:
            while not self._stopping:
                wait_s = self._not_before - self._clock()
                if self._texts and wait_s <= 0:
                    return next(iter(self._texts.items()))
                self._wake.wait(wait_s if self._texts else None)
        return None

    def _handle(self, pod: ObjectName, uid: str, text: str) -> None:
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/status"
        metadata = {"annotations": {NETWORK_STATUS: text}, **({"uid": uid} if uid else {})}
        at_least_s = 0.0
        try:
            self._client.send("PATCH", path, {"metadata": metadata}, "application/merge-patch+json", TIMEOUT_S)
        except Refused as error:
            if error.refusal.code not in _FINAL:
                trouble, at_least_s = str(error), error.refusal.retry_after_s
            else:
                log.info("network status is not accepted", pod=pod, why=error)
                trouble = ""
        except TROUBLE as error:
            trouble = " ".join(str(error).split())
        else:
            trouble = ""
        with self._wake:
            if trouble:
                self._failures += 1
                wait_s = backoff_s(self._failures, self._random(), at_least_s=at_least_s, longest_s=LONGEST_S)
                self._not_before = self._clock() + wait_s
            else:
                self._failures = 0
                if self._texts.get((pod, uid)) == text:
                    del self._texts[pod, uid]
        if trouble:
            log.warning("network status cannot be written; tried again", pod=pod, why=trouble)
