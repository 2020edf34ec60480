"""The pods' interfaces of this node: made by ADD, unmade by DEL, found again after a restart.

Stands between the commands (``cni``) and those who do the work: addresses and host ports (``reserved``), the wire
(``pod_link``), the ``journal`` and the loop, which makes the kernel's maps and programs know the pod. Every step that a
later one fails is undone before the answer.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pyroute2.netlink.exceptions import NetlinkError

from agent.cni.error import CniError, Code
from agent.cni.request import Request
from agent.errors import AgentError
from agent.ipam.pool import Addresses, Ipam
from agent.log import logger
from agent.model.attachment import Attachment, AttachmentKey, Veth
from agent.pods import fail_points as steps
from agent.pods.attachments import Saved, host_device
from agent.pods.imported import Imported
from agent.pods.journal import Journal, Step
from agent.pods.needs import Attacher, Wires
from agent.pods.pod_netns import NetnsUnusable
from agent.pods.recover import recover
from agent.pods.reserved import NoAddressLeft, Reserved
from agent.pods.veth import InterfaceTaken, Wire
from agent.pods.veth_batch import Wish
from agent.reconcile.loop import LoopStopped
from maps.errors import MapsError

log = logger(__name__)

# what a later try may get past; anything else is a bug of ours
REFUSALS = (OSError, NetlinkError, AgentError, MapsError, LoopStopped)
_TURNS = 256  # locks that all attachments share: two containers seldom meet in one


class Pods:
    """The attachments of one node; called from a thread per request."""

    def __init__(  # noqa: PLR0913  each who does a part of the work, or hears of it
        self,
        *,
        loop: Attacher,
        journal: Journal,
        ipam: Ipam,
        wires: Wires,
        changed: Callable[[tuple[Attachment, ...]], None] = lambda _: None,
        no_address: NoAddressLeft = lambda *_: None,
        imported: Imported | None = None,
    ) -> None:
        """*changed* hears all attachments after each change; *no_address*, at once, of a pod, its uid, and why.

        *imported* are the addresses of pods from before us.
        """
        self._loop = loop
        self._journal = journal
        self._wires = wires
        self._changed = changed
        self._imported = imported or Imported(Path(), tuple, ipam, tuple)
        self._reserved = Reserved(ipam, self._imported, no_address)
        self._saved: dict[AttachmentKey, Saved] = {}
        self._leaving: set[AttachmentKey] = set()  # saved still, but told to nobody
        self._sequence = 0
        self._lock = threading.Lock()  # guards the two above, and the order in which `changed` hears
        self._turns = tuple(threading.Lock() for _ in range(_TURNS))

    def restore(self) -> tuple[Attachment, ...]:
        """Take over what an earlier agent left, undo what is dead or half made; returns the living.

        Called once, before the loop starts: the dead are not in its first state, so nothing is to be detached.
        """
        alive = recover(self._journal, self._wires)
        self._saved = {saved.attachment.key: saved for saved in alive}
        self._sequence = max((saved.sequence for saved in alive), default=0)
        attachments = tuple(saved.attachment for saved in alive)
        self._reserved.adopt(attachments)
        self._changed(attachments)
        return attachments

    def attachments(self) -> tuple[Attachment, ...]:
        """The attachments of this moment, oldest first."""
        with self._lock:
            return self._all()

    def find(self, container_id: str, interface: str) -> Attachment | None:
        """The attachment of this identity."""
        saved = self._saved.get((container_id, interface))
        return saved.attachment if saved else None

    def of_network(self, network: str) -> tuple[Attachment, ...]:
        """The attachments made by a configuration of this name."""
        with self._lock:
            return tuple(saved.attachment for saved in self._saved.values() if saved.network == network)

    def add(self, request: Request) -> tuple[Attachment, Wire]:
        """Make what *request* asks for, whole or not at all.

        Raises:
            CniError: the request cannot be served; its field is named.
        """
        identity = (request.container_id, request.interface)
        with self._alone(identity), ExitStack() as undo:
            if identity in self._saved:
                text = f"CNI_CONTAINERID: {request.container_id} has {request.interface} already; DEL comes first"
                raise CniError(Code.ENVIRONMENT, text)
            given = self._reserved.take(request, undo)
            number = self._next()
            undo.callback(self._journal.end, Step.GONE, identity)
            self._journal.append(Step.ADDING, identity)
            steps.on_step("ADD begun")
            wire = self._wire(request, given)
            undo.callback(self._wires.remove, wire.host_device)
            steps.on_step("ADD wired")
            attachment = _attachment(request, given, wire, number)
            saved = Saved(attachment, request.network, number)
            self._journal.append(Step.WIRED, identity, saved)
            steps.on_step("ADD wire noted")
            undo.callback(self._loop.detach, attachment)
            self._loop.attach(attachment)
            steps.on_step("ADD attached")
            self._journal.append(Step.ADDED, identity)
            steps.on_step("ADD noted")
            self._journal.flush()
            steps.on_step("ADD flushed")
            self._remember(saved)  # last: the round that follows is not waited for
            undo.pop_all()
            self._imported.take_over(identity, attachment.addresses)
        log.info("pod attached", **_names(attachment))
        return attachment, wire

    def delete(self, identity: AttachmentKey) -> None:
        """Undo an ADD, as far as it came; done already is done well."""
        with self._alone(identity):
            saved = self._saved.get(identity)
            if saved is None:
                self._wires.remove(host_device(*identity))
                self._imported.release(identity)
                return
            self._undo(saved.attachment)
            self._imported.release(identity)  # of an ADD that died before its last step
        log.info("pod detached", **_names(saved.attachment))

    def collect(self) -> None:
        """Undo the attachments of pods that are gone without a DEL, as when a plugin before us in the chain fails it.

        Called every minute or so. The sign is the node's end: the kernel takes it away with the pod's namespace, while
        a path can be gone, and the namespace live on in a process.
        """
        self._imported.collect()
        self._journal.shorten()
        attachments = self.attachments()
        try:
            present = self._wires.ours()
        except REFUSALS as error:
            log.warning("devices cannot be listed; tried again", why=error)
            return
        for attachment in attachments:
            if attachment.link.host_device in present:
                continue
            try:
                self._bury(attachment.key)
            except REFUSALS as error:
                log.warning("attachment is dead and cannot be removed; tried again", why=error, **_names(attachment))

    def keep_imported(self, valid: frozenset[AttachmentKey]) -> None:
        """Of the pods from before us only these live."""
        self._imported.keep_only(valid)

    def _bury(self, identity: AttachmentKey) -> None:
        with self._alone(identity):
            saved = self._saved.get(identity)
            if saved is None or self._wires.is_there(saved.attachment):
                return  # a DEL came meanwhile, and perhaps an ADD
            self._undo(saved.attachment)
        log.info("attachment is dead, removed", **_names(saved.attachment))

    def _undo(self, attachment: Attachment) -> None:
        self._journal.end(Step.DELETING, attachment.key)
        steps.on_step("DEL begun")
        self._loop.detach(attachment)
        self._leave(attachment)
        steps.on_step("DEL detached")
        self._wires.remove(attachment.link.host_device)
        steps.on_step("DEL unwired")
        self._journal.end(Step.GONE, attachment.key)
        steps.on_step("DEL noted")
        self._journal.end_flush()
        steps.on_step("DEL flushed")
        self._forget(attachment)
        self._reserved.release(attachment)

    def _wire(self, request: Request, given: Addresses) -> Wire:
        wish = Wish(
            container_id=request.container_id,
            interface=request.interface,
            netns=request.netns,
            may_be_host=request.may_be_host,
            ipv4=given.ipv4,
            ipv6=given.ipv6,
            mac=request.asked.mac,
        )
        try:
            return self._wires.create(wish)
        except NetnsUnusable as error:
            raise CniError(Code.NETNS, f"CNI_NETNS: {error}") from error
        except InterfaceTaken as error:
            raise CniError(Code.ENVIRONMENT, f"CNI_IFNAME: {error}") from error

    def _next(self) -> int:
        with self._lock:
            self._sequence += 1
            return self._sequence

    def _remember(self, saved: Saved) -> None:
        with self._lock:
            self._saved[saved.attachment.key] = saved
            self._tell()

    def _leave(self, attachment: Attachment) -> None:
        """Tell of it no more: what goes of its wire from now on is no loss to mend."""
        with self._lock:
            self._leaving.add(attachment.key)
            self._tell()

    def _forget(self, attachment: Attachment) -> None:
        with self._lock:
            self._saved.pop(attachment.key, None)
            self._leaving.discard(attachment.key)

    def _tell(self) -> None:
        self._changed(tuple(one for one in self._all() if one.key not in self._leaving))

    def _all(self) -> tuple[Attachment, ...]:
        return tuple(saved.attachment for saved in self._saved.values())

    @contextmanager
    def _alone(self, identity: AttachmentKey) -> Iterator[None]:
        """One request at a time per attachment; a runtime that restarts may overlap itself."""
        with self._turns[hash(identity) % _TURNS]:
            yield


def _attachment(request: Request, given: Addresses, wire: Wire, endpoint_id: int) -> Attachment:
    return Attachment(
        container_id=request.container_id,
        interface=request.interface,
        endpoint_id=endpoint_id,
        netns=request.netns,
        netns_cookie=wire.netns_cookie,
        mac=wire.mac,
        link=Veth(wire.host_device, wire.ifindex),
        ipv4=given.ipv4,
        ipv6=given.ipv6,
        pod=request.pod,
        host_ports=request.asked.host_ports,
        ingress_limit=request.asked.ingress,
        egress_limit=request.asked.egress,
    )


def _name(attachment: Attachment) -> str:
    return str(attachment.pod or attachment.container_id)


def _names(attachment: Attachment) -> dict[str, object]:
    """What a log line says of an attachment."""
    return {
        "pod": _name(attachment),
        "interface": attachment.interface,
        "device": attachment.link.host_device,
        "addresses": ",".join(map(str, attachment.addresses)),
    }
