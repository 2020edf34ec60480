"""The pods' interfaces of this node: made by ADD, unmade by DEL, found again after a restart.

Stands between those who are asked (``agent.cni``) and those who do the work: addresses and host ports (``reserved``),
the device (``veth``), the ``journal`` and the loop, which makes the kernel's maps and programs know the pod. What was
done is undone before the answer when something behind it fails.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from agent.errors import AgentError
from agent.ipam.pool import Addresses, Ipam
from agent.log import logger
from agent.model.attachment import Attachment, AttachmentKey
from agent.pods import fail_points
from agent.pods.attachments import Saved, host_device
from agent.pods.errors import AlreadyAttached, NotSynced
from agent.pods.imported import Imported
from agent.pods.in_turn import InTurn
from agent.pods.journal import Journal, Stage
from agent.pods.known import KnownAttachments
from agent.pods.made import MadeInterface
from agent.pods.needs import Attacher, OthersVeths, Veths
from agent.pods.pool_choice import PoolChoice
from agent.pods.recover import recover
from agent.pods.request import PodRequest
from agent.pods.reserved import NoAddressLeft, Reserved
from agent.pods.veth_spec import MadeVeth, VethSpec
from agent.reconcile.loop import LoopStopped
from maps.errors import MapsError

log = logger(__name__)

# what a later try may get past; anything else is a bug of ours
REFUSALS = (OSError, AgentError, MapsError, LoopStopped)
SYNC_WAIT_S = 10.0  # of an ADD for the first sync: longer than most starts take, less than a runtime waits


class Pods:
    """The attachments of one node; called from a thread per request."""

    def __init__(  # noqa: PLR0913  each who does a part of the work, or hears of it
        self,
        *,
        loop: Attacher,
        journal: Journal,
        ipam: Ipam,
        veths: Veths,
        others: OthersVeths | None = None,
        no_address: NoAddressLeft = lambda *_: None,
        imported: Imported | None = None,
        unsynced: Callable[[float], str] = lambda _: "",
        known: KnownAttachments | None = None,
        pools: PoolChoice | None = None,
        clock: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    ) -> None:
        """*others* are needed where other plugins make the interfaces.

        *no_address* hears at once of a pod that gets none, its uid, and why.

        *imported* are the addresses of pods from before us. *unsynced* waits so many seconds for the first sync, and
        tells what is missing then; empty when nothing is. *known* is given where others number attachments too, and
        *pools* where pods have addresses of IPPools.
        *clock* gives nanoseconds by CLOCK_BOOTTIME.
        """
        self._loop = loop
        self._journal = journal
        self._veths = veths
        self._others = others
        self._clock = clock
        self._unsynced = unsynced
        self._imported = imported or Imported(Path(), tuple, ipam, tuple)
        self._reserved = Reserved(ipam, self._imported, no_address, pools)
        self._known = known or KnownAttachments()
        self._ended: tuple[set[AttachmentKey], set[AttachmentKey]] = set(), set()  # by DEL lately, and before
        self._turn = InTurn()

    def restore(self) -> tuple[Attachment, ...]:
        """Take over what an earlier agent left, undo what is dead or half made; returns the living.

        Called once, before the loop starts: the dead are not in its first state, so nothing is to be detached.
        """
        alive = recover(self._journal, self._veths, self._others)
        self._reserved.adopt(saved.attachment for saved in alive)
        return self._known.restore(alive)

    def attachments(self) -> tuple[Attachment, ...]:
        """The attachments of this moment, oldest first."""
        return self._known.all()

    def find(self, key: AttachmentKey) -> Attachment | None:
        """The attachment of this identity."""
        return self._known.get(key)

    def network_of(self, key: AttachmentKey) -> str:
        """The name of the configuration by which this attachment was asked for; empty where there is none."""
        return self._known.network_of(key)

    def has_ended(self, key: AttachmentKey) -> bool:
        """Whether a DEL of this identity came within the last minute or two; the rest of its chain may follow."""
        return any(key in ended for ended in self._ended)

    def of_network(self, network: str) -> tuple[Attachment, ...]:
        """The attachments made by a configuration of this name."""
        return self._known.of_network(network)

    def trouble(self, wait_s: float = 0.0) -> str:
        """Why no pod is served, after a wait for what passes by itself; empty while pods are.

        Raises:
            LoopStopped: the agent ends.
        """
        missing = self._unsynced(wait_s)
        return f"the agent is not synced yet: {missing}" if missing else ""

    def add(self, request: PodRequest) -> tuple[Attachment, MadeVeth]:
        """Make or take what *request* asks for, whole or not at all; never before the cluster is known.

        Raises:
            PodRefused: the request cannot be served, by the subclass.
            OSError, MapsError, LoopStopped: the kernel or the disk refused, or the agent ends.
        """
        key, asked_at_ns = request.key, request.asked_at_ns or self._clock()
        if trouble := self.trouble(SYNC_WAIT_S):  # before the lock: a DEL of the container needs not wait
            raise NotSynced(trouble)
        with self._turn.of(key[0]), ExitStack() as undo:
            if self._known.get(key) is not None:
                text = f"{request.container_id} has {request.interface} already; DEL comes first"
                raise AlreadyAttached(text)
            given = _told(request.made) if request.made else self._reserved.take(request, undo)
            number = self._known.next_number()
            slot = self._known.take_slot()
            undo.callback(self._known.release_slot, slot)
            undo.callback(self._journal.end, Stage.GONE, key)
            self._journal.append(Stage.ADDING, key)
            fail_points.reached("ADD begun")
            is_first = not request.is_further and not self._known.has_other_of(key)
            veth = self._interface(request, given, undo, is_first=is_first)
            fail_points.reached("ADD veth made")
            attachment = _attachment(request, given, veth, number, slot, is_first=is_first)
            saved = Saved(attachment, request.network, number, asked_at_ns)
            self._journal.append(Stage.MADE, key, saved)
            fail_points.reached("ADD veth noted")
            undo.callback(self._loop.detach, attachment)
            self._loop.attach(attachment)
            self._guard(attachment, undo)
            fail_points.reached("ADD attached")
            self._journal.append(Stage.ADDED, key)
            fail_points.reached("ADD noted")
            self._journal.flush()
            fail_points.reached("ADD flushed")
            self._known.add(saved)  # last: the round that follows is not waited for
            undo.pop_all()
            self._imported.take_over(key, attachment.addresses)
        log.info("pod attached", **_names(attachment))
        return attachment, veth

    def delete(self, key: AttachmentKey, asked_at_ns: int | None = None) -> None:
        """Undo an ADD, as far as it came; done already is done well.

        One that was asked for after *asked_at_ns*, by CLOCK_BOOTTIME, is not the one meant.
        """
        with self._turn.of(key[0]):
            attachment = self._known.get(key)
            self._ended[0].add(key)
            if asked_at_ns is not None and self._known.is_younger(key, asked_at_ns):
                log.info("attachment is younger than the request to remove it, and stays", container=key[0])
                return
            if attachment is None:
                self._veths.remove(host_device(*key))
                self._imported.release(key)
                return
            self._undo(attachment)
            self._imported.release(key)  # of an ADD that died before its end
        log.info("pod detached", **_names(attachment))

    def collect(self) -> None:
        """Undo the attachments of pods that are gone without a DEL, as when a plugin before us in the chain fails it.

        Called every minute or so. The sign is the node's end: the kernel takes it away with the pod's namespace, while
        a path can be gone, and the namespace live on in a process.
        """
        self._ended = set(), self._ended[0]
        self._imported.collect()
        self._journal.shorten()
        attachments = self._known.all()
        try:
            present = self._veths.ours()
        except REFUSALS as error:
            log.warning("devices cannot be listed; tried again", why=error)
            return
        for attachment in attachments:
            if attachment.link.host_device in present:
                self._repair(attachment)
                continue
            try:
                self._bury(attachment.key)
            except REFUSALS as error:
                log.warning("attachment is dead and cannot be removed; tried again", why=error, **_names(attachment))

    def _repair(self, attachment: Attachment) -> None:
        """Have the pod's end be what it was, unless somebody is at it."""
        with self._turn.of(attachment.container_id, waits=False) as is_alone:
            if not is_alone or self._known.get(attachment.key) is not attachment:
                return
            try:
                for address in self._veths.repair(attachment):
                    log.warning("what a pod's interface had lost is set again", address=address, **_names(attachment))
            except REFUSALS as error:
                log.warning("what a pod's interface has lost stays so; tried again", why=error, **_names(attachment))

    def keep_imported(self, network: str, valid: frozenset[AttachmentKey]) -> None:
        """Of this network's pods from before us only these live."""
        self._imported.keep_only(network, valid)

    def _interface(self, request: PodRequest, given: Addresses, undo: ExitStack, *, is_first: bool) -> MadeVeth:
        """The pod's interface: another plugin's, or one that is made here."""
        if request.made is not None and self._others is not None:
            return self._others.find(request)
        veth = self._veths.create(_spec(request, given, is_first=is_first))
        undo.callback(self._veths.remove, veth.link.host_device)
        return veth

    def _guard(self, attachment: Attachment, undo: ExitStack) -> None:
        """Have the programs on another plugin's device, behind the maps: a pod that runs already is not cut off."""
        if attachment.link.is_chained and self._others is not None:
            undo.callback(self._others.release, attachment.link)
            self._others.guard(attachment.link)

    def _take_away(self, attachment: Attachment) -> None:
        """Remove the device, or our programs from another plugin's."""
        if not attachment.link.is_chained:
            self._veths.leave(attachment)
        elif self._others is not None:
            self._others.release(attachment.link)

    def _bury(self, key: AttachmentKey) -> None:
        with self._turn.of(key[0]):
            attachment = self._known.get(key)
            if attachment is None or self._veths.is_there(attachment):
                return  # a DEL came meanwhile, and perhaps an ADD
            self._undo(attachment)
        log.info("attachment is dead, removed", **_names(attachment))

    def _undo(self, attachment: Attachment) -> None:
        self._journal.end(Stage.DELETING, attachment.key)
        fail_points.reached("DEL begun")
        self._loop.detach(attachment)
        fail_points.reached("DEL detached")
        self._take_away(attachment)
        fail_points.reached("DEL veth removed")
        self._journal.end(Stage.GONE, attachment.key)
        fail_points.reached("DEL noted")
        self._journal.end_flush()
        fail_points.reached("DEL flushed")
        self._known.forget(attachment.key)
        self._reserved.release(attachment)


def _told(made: MadeInterface) -> Addresses:
    """The addresses that another plugin gave."""
    four = next((a for a in made.addresses if isinstance(a, IPv4Address)), None)
    return Addresses(four, next((a for a in made.addresses if isinstance(a, IPv6Address)), None))


def _spec(request: PodRequest, given: Addresses, *, is_first: bool) -> VethSpec:
    return VethSpec(
        container_id=request.container_id,
        interface=request.interface,
        netns=request.netns,
        may_be_host=request.may_be_host,
        ipv4=given.ipv4,
        ipv6=given.ipv6,
        mac=request.mac,
        is_first=is_first,
        afxdp=request.afxdp,
    )


def _attachment(  # noqa: PLR0913 - all of it an attachment has
    request: PodRequest, given: Addresses, veth: MadeVeth, endpoint_id: int, slot: int, *, is_first: bool
) -> Attachment:
    return Attachment(
        container_id=request.container_id,
        interface=request.interface,
        endpoint_id=endpoint_id,
        slot=slot,
        netns=request.netns,
        netns_cookie=veth.netns_cookie,
        mac=veth.mac,
        link=veth.link,
        ipv4=given.ipv4,
        ipv6=given.ipv6,
        pod=request.pod,
        pod_uid=request.pod_uid,
        host_ports=request.host_ports,
        ingress_limit=request.ingress_limit,
        egress_limit=request.egress_limit,
        is_first=is_first,
        network=request.definition,
    )


def _names(attachment: Attachment) -> dict[str, object]:
    """What a log line says of an attachment."""
    return {
        "pod": str(attachment.pod or attachment.container_id),
        "interface": attachment.interface,
        "device": attachment.link.host_device,
        "addresses": ",".join(map(str, attachment.addresses)),
    }
