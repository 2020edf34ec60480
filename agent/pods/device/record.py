"""The journal of devices that pods have: a file for each, on the disk before anything of the device is changed.

What is in a file is undone when its pod ends, whoever notices: DEL, a start, or a look for dead pods. Another boot's
files are void: what was made or moved is gone with it.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from agent.compile.endpoint import link_local
from agent.json_text import NOT_JSON
from agent.log import logger
from agent.model.attachment import AttachmentKey
from agent.model.name import ObjectName
from agent.pods.files import place, remove, remove_drafts, sync

log = logger(__name__)


class DeviceStage(StrEnum):
    """How far a device has come."""

    ADDING = "adding"  # it may have been changed in part
    ADDED = "added"
    DELETING = "deleting"


class DeviceRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A pod's device, in the words that the file has for it."""

    stage: DeviceStage
    address: str  # what the device is known by
    network: str
    container_id: str
    interface: str
    netns: str
    netns_cookie: int
    asked_at_ns: int  # by CLOCK_BOOTTIME
    config: Mapping[str, Any] = {}  # of the network, for its IPAM plugin
    pod: ObjectName | None = None
    pod_uid: str = ""
    definition: ObjectName | None = None  # of the further network; None: of the first interface, or nobody told
    mac: str = ""
    mtu: int = 0
    given: Mapping[str, Any] = {}  # what the IPAM plugin answered
    number: int = 0  # as an attachment, with a place in the maps; 0: its packets pass no program of ours
    slot: int = 0
    home: int = 0  # the device's number on the node, where it is as it was but for names that others have

    @property
    def key(self) -> AttachmentKey:
        """What identifies the attachment."""
        return self.container_id, self.interface

    @property
    def has_netdev(self) -> bool:
        """Whether the pod has a network device of it."""
        return True

    @property
    def own_mac(self) -> str:
        """The address that it is to have for life; empty: it may choose."""
        return self.mac

    @property
    def ifindex(self) -> int:
        """The device's number in the pod; 0: it is found by its PCI address."""
        return 0

    @property
    def link_local(self) -> IPv6Address:
        """What the device has for its link."""
        return link_local(bytes.fromhex(self.mac.replace(":", "")))

    @property
    def link_locals(self) -> tuple[IPv6Address, ...]:
        """All that it may have for its link, the one that it is given first."""
        return (self.link_local,)


R = TypeVar("R", bound=DeviceRecord)


class DeviceJournal(Generic[R]):
    """The files of one node and one sort of devices; for one device used by one thread at a time."""

    def __init__(self, state_dir: Path, name: str, kind: type[R], boot: str) -> None:
        """*name* is the folder's; nothing is touched before :meth:`load`, or the first record."""
        self._parent = state_dir / name
        self._folder = self._parent / boot
        self._kind = kind

    def load(self) -> tuple[tuple[R, ...], tuple[str, ...]]:
        """What an earlier agent of this boot left, and the addresses of devices whose file cannot be read.

        Other boots' files go.
        """
        for folder in self._parent.glob("*"):
            if folder != self._folder:
                for path in folder.glob("*"):
                    path.unlink()
                folder.rmdir()
        remove_drafts(self._folder)
        return self.records()

    def records(self) -> tuple[tuple[R, ...], tuple[str, ...]]:
        """As :meth:`load`, by whoever only looks."""
        records, unread = [], []
        for path in sorted(self._folder.glob("*.json")):
            try:
                records.append(msgspec.convert(json.loads(path.read_bytes()), self._kind))
            except (OSError, json.JSONDecodeError, *NOT_JSON) as error:
                log.warning("the record of a device cannot be read; set it right, remove it", file=path, why=error)
                unread.append(path.stem)
        return tuple(records), tuple(unread)

    def put(self, record: R) -> None:
        """Have the record on the disk.

        Raises:
            OSError: the disk is full, or read-only; what was there stays.
        """
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync(self._parent)
        path = self._folder / f"{record.address}.json"
        place(path, json.dumps(msgspec.to_builtins(record)).encode())  # msgspec's own refuses surrogates in names

    def remove(self, address: str) -> None:
        """The device is as it was."""
        remove(self._folder / f"{address}.json")
