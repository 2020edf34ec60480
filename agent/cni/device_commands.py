"""The CNI commands about devices that pods have in place of a veth's end; what is none is left to the others."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from agent.cni import nic, vf
from agent.cni.error import CniError, Code
from agent.cni.request import Request
from agent.model.attachment import Attachment, AttachmentKey
from agent.pods.device.handover import TROUBLES, Handover, of_network
from agent.pods.device.record import DeviceRecord
from agent.pods.nic.nics import Nics
from agent.pods.vf.record import VfRecord
from agent.pods.vf.vfs import Vfs


class DeviceCommands:
    """The commands of one node, as far as VFs and devices of the node have a part in them."""

    def __init__(self, vfs: Vfs, nics: Nics) -> None:
        self._vfs, self._nics = vfs, nics
        self._each: tuple[Handover[Any, Any], ...] = (vfs, nics)

    def restore(self) -> tuple[Attachment, ...]:
        """As ``Handover.restore``, of each."""
        return tuple(dict.fromkeys(one for each in self._each for one in each.restore()))

    def collect_dead(self) -> None:
        """As ``Handover.collect``, of each."""
        for each in self._each:
            each.collect()

    def add(self, request: Request) -> bytes:
        """What the plugin prints."""
        if request.is_vf:
            return added(request, self._vfs.add(vf.asked(request)))
        return added(request, self._nics.add(nic.asked(request)))

    def delete(self, key: AttachmentKey, asked_at_ns: int | None) -> bool:
        """Whether there was such a device, which is what it was now; whatever the definition says by now."""
        return any(each.delete(key, asked_at_ns) for each in self._each)

    def forget(self, request: Request) -> None:
        """As ``Handover.forget``."""
        if request.is_vf:
            self._vfs.forget(vf.vf_request(request))
        else:
            self._nics.forget(nic.given_back(request))

    def check(self, request: Request) -> bool:
        """Whether it is such a device, as ADD left it.

        Raises:
            CniError: it is one, and is not.
        """
        for each in self._each:
            record = each.find(request.key)
            if record is None:
                continue
            if faults := tuple(each.check(record)):
                raise CniError(Code.CHECK, f"{request.interface} is not as ADD left it", "; ".join(faults))
            return True
        return False

    def collect(self, request: Request) -> Iterator[str]:
        """Give back what the runtime does not name; what could not be."""
        for each in self._each:
            yield from _collect(each, request)


def added(request: Request, record: DeviceRecord) -> bytes:
    """The result of ADD.

    Source: CNI specification 1.1.0, section 5, "Success".
    """
    interface: dict[str, Any] = {"name": record.interface, "sandbox": record.netns}
    if record.mac:
        interface["mac"] = record.mac
    if request.version >= "1.1.0":
        interface["mtu"] = record.mtu
        if isinstance(record, VfRecord):
            interface["pciID"] = record.address
    result: dict[str, Any] = dict(request.previous or {})
    interfaces = [*(result.get("interfaces") or ()), interface]
    ips = [_ip(one, len(interfaces) - 1, request.version) for one in record.given.get("ips") or ()]
    result |= {
        "cniVersion": request.version,
        "interfaces": interfaces,
        "ips": [*(result.get("ips") or ()), *ips],
        "routes": [*(result.get("routes") or ()), *(record.given.get("routes") or ())],
        "dns": record.given.get("dns") or dict(request.dns),
    }
    return msgspec.json.encode(result)


def _collect(each: Handover[Any, Any], request: Request) -> Iterator[str]:
    those: Iterable[DeviceRecord] = of_network(each.all(), request.network)
    for record in those:
        if record.key in (request.valid or ()):
            continue
        try:
            each.delete(record.key, request.asked_at_ns)
        except TROUBLES as error:
            yield f"{record.container_id} {record.interface}: {error}"


def _ip(one: Mapping[str, Any], interface: int, version: str) -> Mapping[str, Any]:
    ip = {**one, "interface": interface}
    ip.pop("version", None)
    if version < "1.0.0":
        ip["version"] = "6" if ":" in str(one.get("address")) else "4"
    return ip
