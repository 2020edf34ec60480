"""Pods' devices that policy and services are for: network devices with addresses of ours to know them by.

Each is an attachment to the rest of the agent, with a slot among the pods' others; its programs are on it before its
pod has it, and go with it into the pod.
"""

from typing import Protocol, TypeVar

import msgspec

from agent.kernel.device.unreached import Unreached
from agent.model.attachment import Attachment, DeviceInPod, Veth
from agent.pods.device.ipam import interfaces
from agent.pods.device.record import DeviceRecord
from agent.pods.errors import DeviceUnusable
from agent.pods.needs import Attacher
from maps import abi


class Places(Protocol):
    """``known.KnownAttachments``, as far as it numbers what has programs."""

    def take_place(self) -> tuple[int, int]:
        """A new attachment's number and slot."""

    def keep_place(self, number: int, slot: int) -> int:
        """The slot of one that is there already; another one where this is taken."""

    def release_slot(self, slot: int) -> None:
        """The slot is free."""


class Programs(Protocol):
    """``kernel.device.vf_programs.VfPrograms``, or a test's."""

    @property
    def is_possible(self) -> bool:
        """Whether the kernel has hooks that a pod cannot empty."""

    def attach(self, attachment: Attachment, at: Unreached) -> None:
        """Have the programs on the device, which its pod cannot reach yet."""

    def remove(self, address: str) -> None:
        """Have none on it."""

    def is_attached(self, address: str) -> bool:
        """Whether they are on it."""


R = TypeVar("R", bound=DeviceRecord)


class Guards:
    """The guarded devices of one node; for one device used by one thread at a time."""

    def __init__(self, places: Places, loop: Attacher, programs: Programs) -> None:
        self._places, self._loop, self._programs = places, loop, programs
        self._attached: dict[str, Attachment] = {}  # by the record's address

    @property
    def is_possible(self) -> bool:
        """Whether this kernel can."""
        return self._programs.is_possible

    def attach(self, record: R, at: Unreached | None) -> R:
        """Have policy and services stand before a device, if it is one of those: the record says so then.

        *at* is where it is, before its pod has it; None: it is no network device.

        The programs come first: who looks for those of each attachment would miss them, and seek the device in the pod.

        Raises:
            DeviceUnusable: it has more addresses than the programs know.
            AgentError, MapsError, OSError, LoopStopped: :meth:`detach` takes away what there is.
        """
        if at is None or not (self.is_possible and record.given.get("ips")):
            return record
        number, slot = self._places.take_place()
        record = msgspec.structs.replace(record, number=number, slot=slot)
        try:
            attachment = attachment_of(record)
        except BaseException:
            self._places.release_slot(slot)
            raise
        self._attached[record.address] = attachment
        self._programs.attach(attachment, at)
        self._loop.attach(attachment)
        return record

    def restore(self, record: R) -> R:
        """Know one that an earlier agent guarded; before the loop starts, which hears of it by :meth:`attachments`."""
        if not (record.slot and self.is_possible) or record.address in self._attached:
            return record
        record = msgspec.structs.replace(record, slot=self._places.keep_place(record.number, record.slot))
        self._attached[record.address] = attachment_of(record)
        return record

    def renew(self, record: R) -> None:
        """Have rules and programs know a device as its record has it by now; of one without there is nothing.

        Raises:
            MapsError, LoopStopped: they may not.
        """
        if record.address in self._attached:
            attachment = attachment_of(record)
            self._loop.attach(attachment)
            self._attached[record.address] = attachment

    def attachments(self) -> tuple[Attachment, ...]:
        """Those of now."""
        return tuple(self._attached.values())

    def detach(self, address: str) -> None:
        """Have neither programs nor rules for a device, which is in no pod any more; of one without there is nothing.

        Raises:
            MapsError, OSError, LoopStopped: some of it may be left.
        """
        attachment = self._attached.get(address)
        if attachment is not None:
            self._loop.detach(attachment)
        self._programs.remove(address)
        if attachment is not None:
            del self._attached[address]
            self._places.release_slot(attachment.slot)

    def is_on(self, address: str) -> bool:
        """Whether there is a device with the programs, in whatever namespace."""
        return self._programs.is_attached(address)

    def fault(self, record: DeviceRecord) -> str:
        """What is missing; empty: nothing."""
        if record.address in self._attached and not self._programs.is_attached(record.address):
            return f"the programs are not on {record.interface}"
        return ""


def attachment_of(record: DeviceRecord) -> Attachment:
    """A device as the rest of the agent knows it.

    Raises:
        DeviceUnusable: it has more addresses than its programs know.
    """
    given = tuple(interface.ip for interface in interfaces(record.given))
    own = (*given, *record.link_locals)[: abi.OWN_ADDRESSES]
    if len(given) >= abi.OWN_ADDRESSES:
        raise DeviceUnusable(f"ipam: {len(given)} addresses; a device has {abi.OWN_ADDRESSES - 1} at most")
    return Attachment(
        container_id=record.container_id,
        interface=record.interface,
        endpoint_id=record.number,
        slot=record.slot,
        netns=record.netns,
        netns_cookie=record.netns_cookie,
        mac=record.mac,
        link=Veth("", 0, in_pod=DeviceInPod(record.address, own, record.ifindex)),
        ipv4=next((one for one in given if one.version == 4), None),  # noqa: PLR2004
        ipv6=next((one for one in given if one.version == 6), None),  # noqa: PLR2004
        pod=record.pod,
        pod_uid=record.pod_uid,
        is_first=False,
        network=record.definition,
    )
