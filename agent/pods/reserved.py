"""What a pod has before it has a device: its addresses, its MAC and its ports of the node, nobody else's from then on.

Stands between the pods' interfaces (``pods``) and those who keep the books: ``ipam``, ``imported``, ``macs`` and
``host_ports``.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack

from agent.ipam.pool import Addresses, AddressRefused, Ipam, NoAddress
from agent.model.attachment import Attachment
from agent.model.name import ObjectName
from agent.pods.attachments import host_device, made_mac
from agent.pods.errors import AddressUnusable, HostPortUnusable, NoFreeAddress
from agent.pods.host_ports import HostPorts
from agent.pods.imported import Imported
from agent.pods.macs import Macs
from agent.pods.pool_choice import PoolChoice
from agent.pods.request import PodRequest

NoAddressLeft = Callable[[ObjectName, str, str], None]


class Reserved:
    """The reservations of one node; safe to use from several threads."""

    def __init__(
        self, ipam: Ipam, imported: Imported, no_address: NoAddressLeft, pools: PoolChoice | None = None
    ) -> None:
        """*no_address* hears at once of a pod that gets none, its uid, and why.

        *pools* are asked where pods have addresses of IPPools.
        """
        self._pools = pools
        self._ipam = ipam
        self._imported = imported
        self._ports = HostPorts()
        self._macs = Macs()
        self._no_address = no_address

    def adopt(self, attachments: Iterable[Attachment]) -> None:
        """Take over what loaded attachments have."""
        for one in attachments:
            if not one.link.is_chained:
                self._ipam.adopt(one.addresses)
                self._macs.adopt(one.link.host_device, one.mac)
            self._ports.adopt(one.link.host_device, str(one.pod or one.container_id), one.host_ports)

    def take(self, request: PodRequest, undo: ExitStack) -> Addresses:
        """What *request* asks for, all of it or nothing; *undo* gives it back.

        Raises:
            NoFreeAddress, AddressUnusable: the field or annotation that asks for an address is named.
            HostPortTaken, HostPortUnusable: the port is.
            MacTaken: the MAC is.
        """
        given = self._addresses(request)
        undo.callback(self._give_back, request, given)
        self._take_ports(request, given)
        owner = host_device(*request.key)
        undo.callback(self._ports.release, owner)
        self._macs.reserve(owner, request.mac or made_mac(*request.key))
        undo.callback(self._macs.release, owner)
        return given

    def release(self, attachment: Attachment) -> None:
        """An attachment has ended."""
        self._ports.release(attachment.link.host_device)
        self._macs.release(attachment.link.host_device)
        if not attachment.link.is_chained:  # the addresses of others' interfaces are in others' books
            self._ipam.release(attachment.addresses)

    def _addresses(self, request: PodRequest) -> Addresses:
        wanted = request.addresses
        where = "".join(f"{one.field}: " for one in wanted[:1])
        try:
            self._imported.refresh()
            own = self._imported.of(request.key)
            if self._pools is not None:
                return self._pools.reserve(request, [one.address for one in wanted], own)
            if request.pool:
                raise AddressUnusable(f"ipam.pool: IPPool {request.pool} needs the agents' --ip-pools on")
            return self._ipam.reserve([one.address for one in wanted], own)
        except (NoAddress, NoFreeAddress) as error:
            if request.pod is not None:
                self._no_address(request.pod, request.pod_uid, f"{where}{error}")
            raise NoFreeAddress(f"{where}{error}") from error
        except AddressRefused as error:
            raise AddressUnusable(f"{where}{error}") from error

    def _give_back(self, request: PodRequest, given: Addresses) -> None:
        own = self._imported.of(request.key)
        self._ipam.release(address for address in (given.ipv4, given.ipv6) if address not in own)

    def _take_ports(self, request: PodRequest, given: Addresses) -> None:
        versions = {address.version for address in (given.ipv4, given.ipv6) if address is not None}
        for port in request.host_ports:
            one = port.address
            if one is not None and not one.is_unspecified and one.version not in versions:
                raise HostPortUnusable(f"hostIP {one} is of a family that the pod has no address of")
        self._ports.reserve(host_device(*request.key), request.pod_name, request.host_ports)
