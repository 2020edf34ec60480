"""One interface that the agent makes itself, a veth pair or another device: made, unmade and looked at.

Part of the commands: a runtime asks for it (``commands``), or a pod's annotation by way of a definition
(``in_process``).
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import ip_interface

from agent.cni import result as cni_result
from agent.cni.chained import chained_request
from agent.cni.device_commands import DeviceCommands
from agent.cni.error import CniError, Code
from agent.cni.request import Request
from agent.ipam.pool import Ipam
from agent.model.address import Address
from agent.model.attachment import Attachment, AttachmentKey
from agent.pods.pods import Pods

Look = Callable[[Attachment], tuple[str, ...]]


class OwnInterfaces:
    """The interfaces of one node's pods that the agent makes."""

    def __init__(
        self, pods: Pods, ipam: Ipam, looks: Iterable[Look], devices: DeviceCommands, *, is_chained: bool = False
    ) -> None:
        """Each of *looks* tells what is not as ADD left it; CHECK asks them all.

        *is_chained*: other plugins make pods' first interfaces and give their addresses.
        """
        self._pods = pods
        self._ipam = ipam
        self._looks = tuple(looks)
        self._devices = devices
        self._is_chained = is_chained

    def add(self, request: Request) -> bytes:
        """Make it; the result.

        Raises:
            CniError, PodRefused, OSError, AgentError, MapsError, LoopStopped: nothing of it is left.
        """
        if request.is_device:
            if self._pods.find(request.key) is not None:
                raise CniError(Code.ENVIRONMENT, f"CNI_IFNAME: {request.container_id} has {request.interface} already")
            return self._devices.add(request)
        if self._is_chained:
            if request.is_further:
                raise CniError(Code.CONFIG, f"kind: {request.kind} is not there where others make the pods' network")
            self._pods.add(chained_request(request))
            return cni_result.passed_on(request)
        attachment, veth = self._pods.add(request.for_pods())
        return cni_result.added(request, veth, attachment)

    def delete(self, key: AttachmentKey, asked_at_ns: int | None = None) -> bool:
        """Unmake it; whether it was no veth.

        Raises:
            OSError, AgentError, PluginFailed: another DEL goes on.
        """
        if self._devices.delete(key, asked_at_ns):
            return True
        self._pods.delete(key, asked_at_ns)
        return False

    def forget(self, request: Request) -> None:
        """Have a device's IPAM plugin take back what it gave, where nothing else is known of it, as after a reboot.

        Raises:
            PluginFailed: the plugin refuses.
        """
        if request.is_device:
            with suppress(CniError):  # no ADD has taken such a configuration
                self._devices.forget(request)

    def check(self, request: Request) -> None:
        """See whether it is as ADD left it.

        Raises:
            CniError: it is not, or there is none.
        """
        if self._devices.check(request):
            return
        pod = self._pods.find(request.key)
        if pod is None:
            raise CniError(Code.UNKNOWN_CONTAINER, f"{request.container_id} has no {request.interface} from here")
        faults = [fault for look in self._looks for fault in look(pod)]
        reserved = () if pod.link.is_chained else pod.addresses
        faults += [f"{address} is not reserved" for address in reserved if not self._ipam.holds(address)]
        told = {_bare(ip.get("address")) for ip in (request.previous or {}).get("ips") or ()}
        faults += [f"prevResult.ips: {a} is missing" for a in pod.addresses if a not in told]
        if faults:
            raise CniError(Code.CHECK, f"{request.interface} is not as ADD left it", "; ".join(faults))


def _bare(text: object) -> Address | None:
    """An address without its length, however a plugin behind us spells it; None when it is none."""
    try:
        return ip_interface(str(text)).ip
    except ValueError:
        return None
