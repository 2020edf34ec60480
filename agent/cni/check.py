"""What the kernel has of a pod beside its interface: programs on the device, records in the maps. CHECK asks."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from ipaddress import IPv6Address

from agent.compile.endpoint import attachment_owner
from agent.compile.host_port import service_name
from agent.compile.records import Owner, OwnerKind, Records
from agent.model.address import unmapped
from agent.model.attachment import Attachment
from agent.model.service import Protocol
from maps import abi
from maps.abi import MAPS
from maps.apply import AnyTable


class RecordCheck:
    """Looks; changes nothing."""

    def __init__(
        self,
        tables: Mapping[str, AnyTable],
        attached: Callable[[int], bool],
        records: Callable[[Owner], Records | None] = lambda _: None,
    ) -> None:
        """*attached* tells whether a device has the pod programs; *records*, what the maps should hold of an owner.

        While that is not known, as when the agent has just started, nothing is missed.
        """
        self._tables = tables
        self._attached = attached
        self._records = records

    def __call__(self, attachment: Attachment) -> tuple[str, ...]:
        """What is missing or differs; empty when all is well."""
        return tuple(self._faults(attachment))

    def _faults(self, attachment: Attachment) -> Iterator[str]:
        if not self._attached(attachment.link.ifindex):
            yield f"the programs are not on {attachment.link.host_device}"
        owners = [attachment_owner(attachment)]
        if attachment.host_ports:
            owners.append(Owner(OwnerKind.SERVICE, service_name(attachment)))
        for owner in owners:
            records = self._records(owner)
            if records is not None:
                yield from self._missing(records.items(), attachment)

    def _missing(self, records: Iterable[tuple[str, Mapping[bytes, bytes]]], attachment: Attachment) -> Iterator[str]:
        for name, packed in records:
            spec, table = MAPS[name], self._tables[name]
            for key, value in packed.items():
                found = table.get(spec.key.unpack(key))
                if found is None or spec.at_rest(spec.value.pack(found)) != value:
                    device, shown = attachment.link.host_device, _shown(spec.key.unpack(key))
                    yield f"the {name} map does not lead {shown} to {device}"


def _shown(key: object) -> object:
    """A key as people read it."""
    if isinstance(key, abi.ServiceKey):
        return f"{unmapped(key.addr)} port {key.port}/{Protocol(key.protocol).name}"
    if is_dataclass(key):
        return ", ".join(f"{field.name} {getattr(key, field.name)}" for field in fields(key))
    return unmapped(key) if isinstance(key, IPv6Address) else key
