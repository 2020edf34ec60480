"""Writes ``k8s.v1.cni.cncf.io/network-status`` to Pods, by a thread of its own: no pod waits for the API server.

The Pod's uid is a condition of the write, so that a Pod of the same name that came since is left alone. It goes to the
status subresource, which lets nobody change what the Pod runs. A static pod's uid is the kubelet's, a digest, and means
nothing to the API server, whose Pod is its mirror.
"""

import re
import time
from collections.abc import Callable
from threading import Condition

from agent.kube.client import Client
from agent.kube.patches import Patches
from agent.model.name import ObjectName
from agent.model.network import NETWORK_STATUS
from agent.threads import Threads

LONGEST_S = 60.0  # between two tries
_STATIC_UID = re.compile(r"[0-9a-f]{32}")


class NetworkStatusWriter:
    """One thread that writes to an API server; the last text of each Pod counts."""

    def __init__(self, client: Client, threads: Threads, clock: Callable[[], float] = time.monotonic) -> None:
        """*clock* gives seconds."""
        self._clock = clock
        self._patches = Patches(client, "network status", LONGEST_S, clock)
        self._wake = Condition()
        self._texts: dict[tuple[ObjectName, str], str] = {}  # by Pod and uid
        self._stopping = False
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
                now, due = self._clock(), {key: self._patches.due_at(key[0]) for key in self._texts}
                key = next((key for key, at in due.items() if at <= now), None)
                if key is not None:
                    return key, self._texts[key]
                self._wake.wait(min(due.values()) - now if due else None)
        return None

    def _handle(self, pod: ObjectName, uid: str, text: str) -> None:
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/status"
        metadata = {"annotations": {NETWORK_STATUS: text}, **({"uid": uid} if _is_of_api(uid) else {})}
        is_done = self._patches.is_done(path, {"metadata": metadata}, pod)
        with self._wake:
            if not is_done:
                self._texts[pod, uid] = self._texts.pop((pod, uid))  # behind the others
            elif self._texts.get((pod, uid)) == text:
                del self._texts[pod, uid]


def _is_of_api(uid: str) -> bool:
    return bool(uid) and not _STATIC_UID.fullmatch(uid)
