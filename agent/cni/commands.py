"""The CNI commands of a node: each request answered with what the specification wants.

Stands between the socket (``socket``), which hands over a request's bytes, and the pods' interfaces (``agent.pods``).
"""

from collections.abc import Mapping
from typing import Protocol, assert_never

from agent.cni import result as cni_result
from agent.cni.device_commands import DeviceCommands
from agent.cni.error import CniError, Code, refused
from agent.cni.interfaces import OwnInterfaces
from agent.cni.ipam_commands import IpamCommands, is_ipam
from agent.cni.networks import PodNetworks
from agent.cni.request import Command, Request, parse, requested_version
from agent.compile.network import PodInterfaces
from agent.log import logger
from agent.model.attachment import Attachment
from agent.pods.device.handover import TROUBLES
from agent.pods.errors import NotSynced, PodRefused
from agent.pods.pods import REFUSALS, SYNC_WAIT_S, Pods

log = logger(__name__)


class Addressing(Protocol):
    """``ipam.pool.Ipam`` or ``ipam.pool_addresses.PoolAddresses``, as far as it is asked here."""

    def trouble(self) -> str:
        """Why no pod would be given an address now; empty when some would."""


class Cni:
    """The commands of one node; :meth:`answer` is called from a thread per request."""

    def __init__(  # noqa: PLR0913  who does a part of the work
        self,
        pods: Pods,
        networks: PodNetworks,
        ipam: Addressing,
        own: OwnInterfaces,
        devices: DeviceCommands,
        *,
        ipams: IpamCommands | None = None,
        is_chained: bool = False,
    ) -> None:
        """*networks* are pods' further ones, *ipams* what other plugins ask us for.

        *is_chained*: other plugins make the interfaces and give the addresses, but for devices of the node and VFs.
        """
        self._own = own
        self._devices = devices
        self._pods = pods
        self._networks = networks
        self._ipam = ipam
        self._is_chained = is_chained
        self._ipams = ipams or IpamCommands(None)

    def restore(self) -> tuple[Attachment, ...]:
        """As ``Pods.restore``; devices of pods that are gone are taken back."""
        found = self._pods.restore()
        self._ipams.restore()
        found += self._devices.restore()  # behind those whose slots these are not to have
        self._networks.restore()
        return found

    def attachments(self) -> tuple[Attachment, ...]:
        """The attachments of this moment, oldest first."""
        return self._pods.attachments()

    def collect(self) -> None:
        """As ``Pods.collect``; devices of pods that are gone are taken back."""
        self._devices.collect_dead()
        self._ipams.collect_dead()
        self._pods.collect()

    def answer(self, environment: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        """Do what a request asks; the plugin's exit code and standard output."""
        if environment.get("CNI_COMMAND") == Command.VERSION:
            return 0, cni_result.versions()
        code, output = 0, b""
        try:
            output = self._served(environment, stdin)
        except CniError as error:
            code = error.status
            output = cni_result.failed(requested_version(stdin), error)
            log.warning("CNI request failed", **_request_names(environment), code=int(error.code), error=error)
        return code, output

    def _served(self, environment: Mapping[str, str], stdin: bytes) -> bytes:
        """What the plugin prints; whatever goes wrong is a CniError."""
        command = environment.get("CNI_COMMAND", "")
        try:
            return self._run(parse(environment, stdin))
        except CniError:
            raise
        except PodRefused as error:
            raise refused(error) from error
        except (*REFUSALS, *TROUBLES) as error:
            raise CniError(Code.TRY_LATER, f"{command} failed: {error}") from error
        except Exception as error:
            log.exception("CNI request broke", command=command)
            raise CniError(Code.INTERNAL, f"{command} broke: {error!r}") from error

    def _run(self, request: Request) -> bytes:
        if is_ipam(request):
            return self._run_ipam(request)
        match request.command:
            case Command.ADD:
                return self._add(request)
            case Command.DEL:
                self._delete(request)
            case Command.CHECK:
                self._check(request)
            case Command.GC:
                self._collect(request)
            case Command.STATUS:
                if not request.is_device:  # what such a device needs is its own, and looked at by ADD
                    self._status()
            case Command.VERSION:
                return cni_result.versions()
            case _:
                assert_never(request.command)
        return b""

    def _run_ipam(self, request: Request) -> bytes:
        """What another plugin asks for: addresses, and nothing of an interface."""
        match request.command:
            case Command.ADD:
                if trouble := self._pods.trouble(SYNC_WAIT_S):
                    raise NotSynced(trouble)
                return self._ipams.add(request)
            case Command.DEL:
                self._ipams.delete(request)
            case Command.CHECK:
                self._ipams.check(request)
            case Command.GC:
                if problems := tuple(self._ipams.collect(request)):
                    raise CniError(Code.INCOMPLETE, "not everything could be cleaned up", "; ".join(problems))
            case Command.STATUS:
                self._ipams.status()
            case Command.VERSION:
                return cni_result.versions()
            case _:
                assert_never(request.command)
        return b""

    def _add(self, request: Request) -> bytes:
        """Our own interface first, unless the pod has another there; then the further ones, or none at all."""
        if request.kind:  # another delegates to us: the pod's networks are that one's
            return self._own.add(request)
        wanted = self._wanted(request)
        if wanted is None:
            return self._own.add(request)
        with self._networks.busy(request.key):
            if wanted.first is not None:
                return self._networks.add(request, wanted, b"")
            ours = self._own.add(request)
            try:
                return self._networks.add(request, wanted, ours)
            except BaseException:
                self._pods.delete(request.key)
                raise

    def _wanted(self, request: Request) -> PodInterfaces | None:
        """The further networks that the pod asks for, once it is known which there are."""
        if not self._networks.is_on:
            return None
        if trouble := self._pods.trouble(SYNC_WAIT_S):
            raise NotSynced(trouble)
        return self._networks.wanted(request)

    def _delete(self, request: Request) -> None:
        """The further networks first, which were made last; our own goes whatever they say.

        Of a device of before a reboot nobody knows but its IPAM plugin, which keeps books of its own.
        """
        with self._networks.busy(request.key):
            try:
                self._networks.delete(request)
            finally:
                if not self._own.delete(request.key, request.asked_at_ns):
                    if request.is_device and request.is_at_start:
                        raise CniError(Code.TRY_LATER, "its IPAM plugin is asked when others are served")
                    self._own.forget(request)

    def _check(self, request: Request) -> None:
        if self._networks.has_first(request.key):
            self._networks.check(request.key)
            return
        self._own.check(request)
        self._networks.check(request.key)

    def _collect(self, request: Request) -> None:
        """Delete this network's attachments that the runtime does not name; all are tried before any is reported.

        One that was made after the runtime wrote its list could not be in it, and is spared.
        """
        problems = [*self._networks.keep_only(request)]
        for attachment in self._pods.of_network(request.network):
            if attachment.key in (request.valid or ()):
                continue
            try:
                self._pods.delete(attachment.key, request.asked_at_ns)
            except REFUSALS as error:
                problems.append(f"{attachment.container_id} {attachment.interface}: {error}")
        problems += self._devices.collect(request)
        self._pods.keep_imported(request.network, request.valid or frozenset())
        if problems:
            raise CniError(Code.INCOMPLETE, "not everything could be cleaned up", "; ".join(problems))

    def _status(self) -> None:
        trouble = self._pods.trouble() or ("" if self._is_chained else self._ipam.trouble())
        if trouble:
            raise CniError(Code.UNAVAILABLE, trouble)


def _request_names(environment: Mapping[str, str]) -> dict[str, object]:
    return {
        "command": environment.get("CNI_COMMAND", ""),
        "container": environment.get("CNI_CONTAINERID", ""),
        "interface": environment.get("CNI_IFNAME", ""),
    }
