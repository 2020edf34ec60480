"""The thread that follows changed annotations: further interfaces of pods that run come and go.

Looks when Pods or definitions have changed, and again at what could not be done, later and later. A pod is changed when
its annotation has differed from what it has for a moment: the runtime may have started it from a newer Pod than the
watch has seen. One whose annotation cannot be used as a whole is left as it is, and ``network_source`` tells why.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

from agent.cni.network_source import NetworkSource
from agent.compile.network import NETWORKS_FIELD, Asked, Definitions, asked
from agent.compile.network_change import NetworkChange, Present, network_change
from agent.compile.network_refused import NetworkRefused
from agent.compile.network_status import Entry, entries
from agent.kube.retry import backoff_s
from agent.log import logger
from agent.model.address import ANY
from agent.model.attachment import Attachment, AttachmentKey
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem
from agent.model.network import InterfaceRequest
from agent.model.node import Pod
from agent.netlink.netns import NoSuchNetns, open_netns
from agent.pods.errors import PodRefused
from agent.pods.network_plug import NetworkPlug, PodIsGone
from agent.pods.network_record import NetworkSet, Step
from agent.pods.networks import Networks
from agent.pods.pods import Pods
from agent.pods.veth_spec import gateway
from agent.threads import Threads

log = logger(__name__)

SETTLE_S = 1.0  # a difference has to be so old
LONGEST_S = 60.0  # between two tries
SLOW_S = 1.0  # after a change that took longer another look begins, which comes to that pod last
GONE_S = 5.0  # until another look at a pod that a request of its runtime is at, or whose sandbox is gone
ADDED, REMOVED = "added", "removed"
DONE, FAILED = "done", "failed"

OnChanged = Callable[[NetworkSet], None]


@dataclass(frozen=True, slots=True)
class _Due:
    """A pod that differs from what it is to have: when something is to be done, and what came of it until now."""

    wanted: object  # the annotation, and the definitions
    not_before: float
    tries: int = 0  # that failed
    trouble: str = ""


class HotPlug:
    """Follows the annotations of one node's pods."""

    def __init__(  # noqa: PLR0913  who knows or does a part of it
        self,
        cluster: Callable[[], Cluster],
        pods: Pods,
        networks: Networks,
        plug: NetworkPlug,
        source: NetworkSource | None,
        *,
        boot: str,
        on_changed: OnChanged,
        threads: Threads,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*source* is None where pods are given no further networks: then none is changed.

        *on_changed* hears what a pod has now.
        """
        self._cluster = cluster
        self._pods = pods
        self._networks = networks
        self._plug = plug
        self._source = source
        self._boot = boot
        self._on_changed = on_changed
        self._clock = clock
        self._due: dict[AttachmentKey, _Due] = {}
        self._slow: dict[AttachmentKey, float] = {}  # pods whose change took long, and when that was
        self._seen: tuple[object, object] = (None, None)
        self._wake = Event()
        self._random = random.Random().random  # noqa: S311  jitter between nodes, which nobody must not guess
        self._thread = threads.make("hot plug", self._run)
        self.problems: tuple[Problem, ...] = ()  # what could not be done to pods that run
        self.changes = {(change, result): 0 for change in (ADDED, REMOVED) for result in (DONE, FAILED)}

    def start(self) -> None:
        """Begin, when all that an earlier agent left is known."""
        if self._source is not None:
            self._thread.start()

    def stop(self, timeout_s: float = 0.1) -> None:
        """End it; a daemon, so that a plugin that hangs does not keep us."""
        if self._source is not None:
            self._thread.end()
            self._wake.set()
            self._thread.join(timeout_s)

    def offer(self, cluster: Cluster) -> None:
        """Hear that this is the Cluster now."""
        if cluster.pods is not self._seen[0] or cluster.networks is not self._seen[1]:
            self._wake.set()

    def wake(self, _made: NetworkSet) -> None:
        """Look again: a pod has its networks, of which its annotation may say something else by now."""
        self._seen = (None, None)
        self._wake.set()

    def look(self) -> float | None:
        """Do what is due; seconds until something else is, None while nothing is."""
        cluster = self._cluster()
        if self._source is None or not cluster.synced:
            return None
        self._seen = (cluster.pods, cluster.networks)
        due: dict[AttachmentKey, _Due] = {}
        problems: list[Problem] = []
        pods = self._sandboxes()
        self._slow = {key: at for key, at in self._slow.items() if key in pods}
        is_over = False  # others' changes may have come meanwhile, which go before those of pods that are slow
        for key in sorted(pods, key=lambda key: self._slow.get(key, 0.0)):
            if (pod := cluster.pods.get(pods[key])) is None:
                continue
            began = self._clock()
            one = self._due.get(key) if is_over else self._look_at(key, pod, cluster.networks)
            if self._clock() - began > SLOW_S:
                self._slow[key], is_over = self._clock(), True
            if one is not None:
                due[key] = one
                problems += [Problem("Pod", pod.name, NETWORKS_FIELD, one.trouble)] if one.trouble else []
        self._due, self.problems = due, tuple(problems)
        now = self._clock()
        return 0.0 if is_over else min((max(0.0, one.not_before - now) for one in due.values()), default=None)

    def _run(self) -> None:
        wait_s: float | None = None
        while not self._thread.is_ending:
            self._wake.wait(wait_s)
            self._wake.clear()
            if not self._thread.is_ending:
                wait_s = self.look()

    def _sandboxes(self) -> dict[AttachmentKey, ObjectName]:
        """The pods' sandboxes, of each pod the youngest, by its first interface."""
        found: dict[ObjectName, AttachmentKey] = {}
        for one in self._networks.all():
            if one.pod is not None and one.replaces_first and one.boot == self._boot:
                found[one.pod] = one.key
        for attachment in self._pods.attachments():
            if attachment.pod is not None and attachment.is_first:
                found[attachment.pod] = attachment.key
        return {key: pod for pod, key in found.items()}

    def _look_at(self, key: AttachmentKey, pod: Pod, definitions: Definitions) -> _Due | None:
        """What there is to do for a pod, done if its time has come; None where there is nothing."""
        has = self._networks.find(key)
        if not pod.networks and has is None:
            return None
        attachment = self._pods.find(key)
        uid = has.pod_uid if has is not None else attachment.pod_uid if attachment is not None else ""
        if not pod.is_of(uid) or (has is not None and (has.is_leaving or not has.is_whole)):
            return None
        try:
            wanted = asked(pod.name, dict(pod.networks))
        except NetworkRefused:
            return None
        change, left = _change(wanted, has)
        if not change.gone and not change.new and not left:
            return None
        return self._when_due(key, (pod.networks, definitions), lambda: self._apply(key, pod, change, left))

    def _when_due(self, key: AttachmentKey, wanted: object, apply: Callable[[], str]) -> _Due | None:
        now, one = self._clock(), self._due.get(key)
        if one is None or one.wanted != wanted:
            one = _Due(wanted, now + SETTLE_S)
        if now < one.not_before:
            return one
        try:
            trouble = apply()
        except PodIsGone:  # or its runtime is at it
            return replace(one, not_before=self._clock() + GONE_S, trouble="")
        # whatever it is: who can write one annotation must not end the thread that follows all
        except Exception as error:
            log.exception("networks of a running pod cannot be changed", container=key[0])
            trouble = f"cannot be changed: {error!r}"
        if not trouble:
            return None
        tries = one.tries + 1
        wait_s = backoff_s(tries, self._random(), longest_s=LONGEST_S)
        log.warning("networks of a running pod cannot be changed; tried again", container=key[0], why=trouble)
        return replace(one, tries=tries, not_before=self._clock() + wait_s, trouble=trouble)

    def _apply(self, key: AttachmentKey, pod: Pod, change: NetworkChange, left: tuple[str, ...]) -> str:
        """Do it; what could not be done, empty when all is, or when the annotation cannot be used.

        Raises:
            PodIsGone: there is nobody to do it for.
        """
        if self._source is None or not self._source.is_usable(pod.name, change.wanted, key[1]):
            return ""
        first = tuple(self._first(key))
        failed: dict[str, str] = {}
        for interface in (*left, *change.gone):
            try:
                self._told(self._plug.remove(key, interface, first), pod.name, f"{interface} is unmade")
                self.changes[REMOVED, DONE] += 1
            except (PodRefused, OSError) as error:
                self.changes[REMOVED, FAILED] += 1
                failed[interface] = f"cannot be taken from the running pod: {error}"
        has = self._networks.find(key)
        in_use = [each.device for each in has.interfaces if each.device] if has is not None else []
        for one in change.new:
            if one.interface in failed:
                continue
            try:
                request = self._source.further(pod.name, pod.uid, change.wanted, one, key[1], in_use)
                in_use += self._added(key, pod, request, first)
                self.changes[ADDED, DONE] += 1
            except (NetworkRefused, PodRefused, OSError) as error:
                self.changes[ADDED, FAILED] += 1
                failed[one.interface] = f"cannot be given to the running pod: {error}"
        return "; ".join(f"{interface} {why}" for interface, why in failed.items())

    def _added(self, key: AttachmentKey, pod: Pod, request: InterfaceRequest, first: tuple[Entry, ...]) -> list[str]:
        """Make one more; the device that it is made of."""
        owner = self._networks.find(key) or self._owner(key)
        self._told(self._plug.add(owner, request, first), pod.name, f"{request.interface} is made")
        return [request.device] if request.device else []

    def _told(self, one: NetworkSet, pod: ObjectName, what: str) -> None:
        log.info("networks of a running pod have changed", pod=str(pod), what=what)
        self._on_changed(one)

    def _owner(self, key: AttachmentKey) -> NetworkSet:
        """What is noted of a pod that had no further networks."""
        one = self._pods.find(key)
        if one is None:
            raise PodIsGone
        return NetworkSet(
            container_id=one.container_id,
            interface=one.interface,
            netns=one.netns,
            netns_cookie=one.netns_cookie,
            cluster_network=self._pods.network_of(key),
            boot=self._boot,
            interfaces=(),
            pod=one.pod,
            pod_uid=one.pod_uid,
            asked_at_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        )

    def _first(self, key: AttachmentKey) -> Iterator[Entry]:
        """What network-status says of a first interface of ours."""
        one = self._pods.find(key)
        if one is not None:
            yield from entries(self._pods.network_of(key), one.interface, _result(one), is_default=True)


def _change(wanted: Asked, has: NetworkSet | None) -> tuple[NetworkChange, tuple[str, ...]]:
    """What is to be done, and the interfaces that were begun and not ended."""
    every = has.interfaces[1 if has.replaces_first else 0 :] if has is not None else ()
    present = [Present(one.interface, one.network, one.asked) for one in every if one.step is Step.MADE]
    left = tuple(one.interface for one in reversed(every) if one.step is not Step.MADE)
    return network_change(wanted.networks, present), left


def _result(one: Attachment) -> dict[str, Any]:
    """An attachment as the result of its ADD told it."""
    there: dict[str, Any] = {"name": one.interface, "mac": one.mac, "sandbox": one.netns}
    try:
        with open_netns(one.netns, may_be_host=True) as netns:
            link = netns.pod.find(name=one.interface)
            there |= {"mtu": link.mtu} if link is not None else {}
    except (NoSuchNetns, OSError):
        pass
    return {
        "interfaces": [there],
        "ips": [{"address": f"{address}/{address.max_prefixlen}"} for address in one.addresses],
        "routes": [{"dst": str(ANY[address.version]), "gw": str(gateway(address))} for address in one.addresses],
    }
