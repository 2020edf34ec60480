"""The CNI commands: a pod's interface is made, looked at, and unmade.

Stands between the socket (``cni_socket``), which hands over a request's bytes, and those who do the work: the
addresses (``ipam``), the wire (``pod_link``), the file (``attachments``) and the loop, which makes the kernel's
maps and programs know the pod. Every step of ADD that a later one fails is undone before the answer.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import assert_never

from pyroute2.netlink.exceptions import NetlinkError

from agent.errors import AgentError
from agent.log import logger
from agent.model.local import Attachment, AttachmentKey
from agent.reconcile.loop import LoopStopped
from agent.serve import cni_result
from agent.serve.attachments import Saved, Store, host_device
from agent.serve.cni_needs import Attacher, Wires
from agent.serve.cni_request import CniError, Code, Command, Request, parse, requested_version
from agent.serve.ipam import Addresses, Ipam, NoAddress
from agent.serve.pod_link import InterfaceTaken, NetnsUnusable, Wire, Wish
from maps.errors import MapsError

log = logger(__name__)

# what a later try may get past; anything else is a bug of ours
REFUSALS = (OSError, NetlinkError, AgentError, MapsError, LoopStopped)
_TURNS = 256  # locks that all attachments share: two containers seldom meet in one


class Cni:
    """The commands of one node; :meth:`answer` is called from a thread per request."""

    def __init__(
        self,
        *,
        loop: Attacher,
        store: Store,
        ipam: Ipam,
        wires: Wires,
        changed: Callable[[tuple[Attachment, ...]], None] = lambda _: None,
    ) -> None:
        """*changed* hears all attachments after each change."""
        self._loop = loop
        self._store = store
        self._ipam = ipam
        self._wires = wires
        self._changed = changed
        self._saved: dict[AttachmentKey, Saved] = {}
        self._sequence = 0
        self._lock = threading.Lock()  # guards the two above, and the order in which `changed` hears
        self._turns = tuple(threading.Lock() for _ in range(_TURNS))

    def restore(self) -> tuple[Attachment, ...]:
        """Take over what an earlier agent left, undo what is dead or half made; returns the living.

        Called once, before the loop starts: the dead are not in its first state, so nothing is to be detached.
        """
        alive: list[Saved] = []
        for saved in self._store.load():
            if self._wires.is_alive(saved.attachment):
                alive.append(saved)
                continue
            log.info("attachment is dead, removed", **_names(saved.attachment))
            self._wires.remove(saved.attachment.host_device)
            self._store.remove(saved.attachment)
        for name in self._wires.ours() - {s.attachment.host_device for s in alive}:
            log.info("device of an unfinished ADD removed", device=name)
            self._wires.remove(name)
        self._saved = {saved.attachment.key: saved for saved in alive}
        self._sequence = max((saved.sequence for saved in alive), default=0)
        self._ipam.adopt(address for saved in alive for address in saved.attachment.addresses)
        attachments = tuple(saved.attachment for saved in alive)
        self._changed(attachments)
        return attachments

    def attachments(self) -> tuple[Attachment, ...]:
        """The attachments of this moment, oldest first."""
        with self._lock:
            return self._all()

    def collect(self) -> None:
        """Undo the attachments of pods that are gone without a DEL, as when a plugin before us in the chain fails it.

        Called every minute or so. The sign is the node's end: the kernel takes it away with the pod's namespace, while
        a path can be gone, and the namespace live on in a process.
        """
        attachments = self.attachments()
        try:
            present = self._wires.ours()
        except REFUSALS as error:
            log.warning("devices cannot be listed; tried again", why=error)
            return
        for attachment in attachments:
            if attachment.host_device in present:
                continue
            try:
                self._bury(attachment.key)
            except REFUSALS as error:
                log.warning("attachment is dead and cannot be removed; tried again", why=error, **_names(attachment))

    def _bury(self, identity: AttachmentKey) -> None:
        with self._alone(identity):
            saved = self._saved.get(identity)
            if saved is None or self._wires.is_there(saved.attachment):
                return  # a DEL came meanwhile, and perhaps an ADD
            self._undo(saved.attachment)
        log.info("attachment is dead, removed", **_names(saved.attachment))

    def answer(self, environment: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        """Do what a request asks; the plugin's exit code and standard output."""
        if environment.get("CNI_COMMAND") == Command.VERSION:
            return 0, cni_result.versions()
        code, output = 0, b""
        try:
            output = self._run(parse(environment, stdin))
        except CniError as error:
            code = int(error.code)
            output = cni_result.failed(requested_version(stdin), error)
            log.warning("CNI request failed", **_request_names(environment), code=code, error=error)
        return code, output

    def _run(self, request: Request) -> bytes:
        try:
            match request.command:
                case Command.ADD:
                    return self._add(request)
                case Command.DEL:
                    self._delete((request.container_id, request.interface))
                case Command.CHECK:
                    self._check(request)
                case Command.GC:
                    self._collect(request)
                case Command.STATUS:
                    self._status()
                case Command.VERSION:
                    return cni_result.versions()
                case _:
                    assert_never(request.command)
        except CniError:
            raise
        except REFUSALS as error:
            raise CniError(Code.TRY_LATER, f"{request.command} failed: {error}") from error
        except Exception as error:
            log.exception("CNI request broke", command=request.command)
            raise CniError(Code.INTERNAL, f"{request.command} broke: {error!r}") from error
        return b""

    def _add(self, request: Request) -> bytes:
        identity = (request.container_id, request.interface)
        with self._alone(identity), ExitStack() as undo:
            if identity in self._saved:
                text = f"CNI_CONTAINERID: {request.container_id} has {request.interface} already; DEL comes first"
                raise CniError(Code.ENVIRONMENT, text)
            addresses = self._reserve()
            undo.callback(self._ipam.release, (addresses.ipv4, addresses.ipv6))
            wire = self._wire(request, addresses)
            undo.callback(self._wires.remove, wire.host_device)
            with self._lock:
                self._sequence += 1
                sequence = self._sequence
            attachment = _attachment(request, addresses, wire, sequence)
            undo.callback(self._forget, attachment)
            self._remember(self._store.save(attachment, request.network, sequence))
            undo.callback(self._loop.detach, attachment)
            self._loop.attach(attachment)
            result = cni_result.added(request, wire, attachment.addresses)
            undo.pop_all()
        log.info("pod attached", **_names(attachment))
        return result

    def _reserve(self) -> Addresses:
        try:
            return self._ipam.reserve()
        except NoAddress as error:
            raise CniError(Code.TRY_LATER, str(error)) from error

    def _wire(self, request: Request, addresses: Addresses) -> Wire:
        wish = Wish(
            container_id=request.container_id,
            interface=request.interface,
            netns=request.netns,
            may_be_host=request.may_be_host,
            ipv4=addresses.ipv4,
            ipv6=addresses.ipv6,
        )
        try:
            return self._wires.create(wish)
        except NetnsUnusable as error:
            raise CniError(Code.NETNS, f"CNI_NETNS: {error}") from error
        except InterfaceTaken as error:
            raise CniError(Code.ENVIRONMENT, f"CNI_IFNAME: {error}") from error

    def _delete(self, identity: AttachmentKey) -> None:
        """Undo an ADD, as far as it came; done already is done well."""
        with self._alone(identity):
            saved = self._saved.get(identity)
            if saved is None:
                self._wires.remove(host_device(*identity))
                return
            self._undo(saved.attachment)
        log.info("pod detached", **_names(saved.attachment))

    def _undo(self, attachment: Attachment) -> None:
        # The file goes last: a death in between leaves it, and the next start finishes the work.
        self._loop.detach(attachment)
        self._wires.remove(attachment.host_device)
        self._forget(attachment)
        self._ipam.release((attachment.ipv4, attachment.ipv6))

    def _check(self, request: Request) -> None:
        saved = self._saved.get((request.container_id, request.interface))
        if saved is None:
            raise CniError(Code.UNKNOWN_CONTAINER, f"{request.container_id} has no {request.interface} from here")
        faults = list(self._wires.faults(saved.attachment))
        told = {str(ip.get("address", "")).partition("/")[0] for ip in (request.previous or {}).get("ips", ())}
        faults += [f"prevResult.ips: {a} is missing" for a in saved.attachment.addresses if str(a) not in told]
        if faults:
            raise CniError(Code.CHECK, f"{request.interface} is not as ADD left it", "; ".join(faults))

    def _collect(self, request: Request) -> None:
        """Delete this network's attachments that the runtime does not name; all are tried before any is reported."""
        with self._lock:
            mine = [s.attachment for s in self._saved.values() if s.network == request.network]
        problems = []
        for attachment in mine:
            if attachment.key in (request.valid or ()):
                continue
            try:
                self._delete(attachment.key)
            except REFUSALS as error:
                problems.append(f"{attachment.container_id} {attachment.interface}: {error}")
        if problems:
            raise CniError(Code.INCOMPLETE, "not everything could be cleaned up", "; ".join(problems))

    def _status(self) -> None:
        trouble = self._ipam.trouble()
        if trouble:
            raise CniError(Code.UNAVAILABLE, trouble)

    def _remember(self, saved: Saved) -> None:
        with self._lock:
            self._saved[saved.attachment.key] = saved
            self._changed(self._all())

    def _forget(self, attachment: Attachment) -> None:
        self._store.remove(attachment)
        with self._lock:
            if self._saved.pop(attachment.key, None):
                self._changed(self._all())

    def _all(self) -> tuple[Attachment, ...]:
        return tuple(saved.attachment for saved in self._saved.values())

    @contextmanager
    def _alone(self, identity: AttachmentKey) -> Iterator[None]:
        """One request at a time per attachment; a runtime that restarts may overlap itself."""
        with self._turns[hash(identity) % _TURNS]:
            yield


def _attachment(request: Request, addresses: Addresses, wire: Wire, endpoint_id: int) -> Attachment:
    return Attachment(
        container_id=request.container_id,
        interface=request.interface,
        endpoint_id=endpoint_id,
        netns=request.netns,
        netns_cookie=wire.netns_cookie,
        host_device=wire.host_device,
        ifindex=wire.ifindex,
        mac=wire.mac,
        ipv4=addresses.ipv4,
        ipv6=addresses.ipv6,
        pod=request.pod,
    )


def _names(attachment: Attachment) -> dict[str, object]:
    """What a log line says of an attachment."""
    return {
        "pod": attachment.pod or attachment.container_id,
        "interface": attachment.interface,
        "device": attachment.host_device,
        "addresses": ",".join(map(str, attachment.addresses)),
    }


def _request_names(environment: Mapping[str, str]) -> dict[str, object]:
    return {
        "command": environment.get("CNI_COMMAND", ""),
        "container": environment.get("CNI_CONTAINERID", ""),
        "interface": environment.get("CNI_IFNAME", ""),
    }
