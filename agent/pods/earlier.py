"""Pods that were on another plugin's network before ours came into the chain: attached to, so that policy holds.

libcni's files tell of them (``libcni``), the API which of those are still pods of this node. Used with
``--network chained``.
"""

from collections.abc import Callable, Mapping

from agent.log import logger
from agent.model.attachment import Attachment
from agent.model.name import ObjectName
from agent.model.node import Pod
from agent.pods.errors import PodRefused
from agent.pods.libcni import KeptAttachment
from agent.pods.needs import OthersDevices
from agent.pods.pods import REFUSALS, Pods
from agent.pods.request import PodRequest

log = logger(__name__)

LONG_AGO = 1  # asked for before any request that is still to come, by CLOCK_BOOTTIME


class EarlierPods:
    """Those of one node; called by one thread, now and then."""

    def __init__(
        self,
        pods: Pods,
        others: OthersDevices,
        kept: Callable[[], tuple[KeptAttachment, ...]],
        known: Callable[[], Mapping[ObjectName, Pod]],
        served: Callable[[], tuple[Attachment, ...]],
    ) -> None:
        """*kept* reads libcni's files, *known* are the API's pods of this node, *served* the loop's attachments."""
        self._pods = pods
        self._others = others
        self._kept = kept
        self._known = known
        self._served = served
        self._missed: frozenset[ObjectName] = frozenset()  # without an attachment when they were last looked for
        self._told: set[ObjectName] = set()

    def take_in(self) -> None:
        """Attach to each that has no attachment; and leave no program of ours on a device that is nobody's."""
        known = self._known()
        for kept in self._kept():
            key = kept.container_id, kept.interface
            is_new = self._pods.find(key) is None and not self._pods.has_ended(key)
            if is_new and _is_of(known.get(kept.pod), kept):
                self._attach(kept)
        try:
            self._release()
        except REFUSALS as error:
            log.warning("programs are not taken off devices that are nobody's; tried again", why=error)
        self._tell(known)

    def _attach(self, kept: KeptAttachment) -> None:
        request = PodRequest(
            network=kept.network,
            container_id=kept.container_id,
            interface=kept.interface,
            netns=kept.made.netns,
            pod=kept.pod,
            pod_uid=kept.pod_uid,
            asked_at_ns=LONG_AGO,
            made=kept.made,
        )
        try:
            self._pods.add(request)
        except PodRefused as error:  # its namespace is gone, most often
            log.info("pod from before is not attached", pod=str(kept.pod), container=kept.container_id, why=error)
        except REFUSALS as error:
            log.warning("pod from before is not attached; tried again", pod=str(kept.pod), why=error)

    def _release(self) -> None:
        """As where the journal was lost: what has no records may send nothing."""
        guarded = self._others.guarded_indexes()
        served = {one.link.ifindex for one in self._served()}  # behind the programs: who is just being added has both
        self._others.release_indexes(guarded - served)

    def _tell(self, known: Mapping[ObjectName, Pod]) -> None:
        """Name the pods that policy does not reach, once each; one that comes or goes may lack it for a moment."""
        attached = {one.pod for one in self._served()}
        lacking = frozenset(n for n, pod in known.items() if pod.ips and not pod.host_network and n not in attached)
        for name in sorted(lacking & self._missed - self._told):
            log.warning("pod has no attachment, and policy does not hold for it; have it made anew", pod=name)
            self._told.add(name)
        self._told &= lacking
        self._missed = lacking


def _is_of(pod: Pod | None, kept: KeptAttachment) -> bool:
    """Whether a file is of a pod that lives: of its name and uid, and with an address that the API has."""
    if pod is None or not pod.is_of(kept.pod_uid):
        return False
    return not pod.ips or not set(pod.ips).isdisjoint(kept.made.addresses)
