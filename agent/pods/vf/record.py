"""The journal of VFs: a file for each that is not as it was, with all that it was, on the disk before it is changed.

What is in a file is restored when its pod ends, whoever notices: DEL, a start, or a look for dead pods. Another boot's
files are void: a card that comes up knows nothing of what was set before.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from agent.json_text import NOT_JSON
from agent.kernel.device.pci import GroupFile
from agent.log import logger
from agent.model.attachment import AttachmentKey
from agent.model.name import ObjectName
from agent.model.vf import VfKind, VfNetdev, VfSettings
from agent.pods.files import place, remove, remove_drafts, sync

log = logger(__name__)

FOLDER = "vfs"  # in --state-dir


class VfStage(StrEnum):
    """How far a VF has come."""

    ADDING = "adding"  # it may have been changed in part
    ADDED = "added"
    DELETING = "deleting"


class VfBefore(msgspec.Struct, frozen=True):
    """A VF as it was found."""

    driver: str
    driver_override: str
    settings: VfSettings
    netdev: VfNetdev | None
    group: str = ""  # the IOMMU group's number
    group_file: GroupFile | None = None


class VfRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A pod's VF, in the words that the file has for it."""

    stage: VfStage
    address: str
    kind: VfKind
    network: str
    container_id: str
    interface: str
    netns: str
    netns_cookie: int
    before: VfBefore
    asked_at_ns: int  # by CLOCK_BOOTTIME
    config: Mapping[str, Any] = {}  # of the network, for its IPAM plugin
    pod: ObjectName | None = None
    pod_uid: str = ""
    definition: ObjectName | None = None  # of the further network; None: of the first interface, or nobody told
    device_info: str = ""  # the file that CNIDeviceInfoFile names; empty: nobody wants it
    mac: str = ""
    mtu: int = 0
    given: Mapping[str, Any] = {}  # what the IPAM plugin answered
    number: int = 0  # as an attachment, with a place in the maps; 0: its packets pass no program of ours
    slot: int = 0

    @property
    def key(self) -> AttachmentKey:
        """What identifies the attachment."""
        return self.container_id, self.interface


class VfJournal:
    """The files of one node; for one VF used by one thread at a time."""

    def __init__(self, state_dir: Path, boot: str) -> None:
        """Nothing is touched before :meth:`load`, or the first record."""
        self._parent = state_dir / FOLDER
        self._folder = self._parent / boot

    def load(self) -> tuple[tuple[VfRecord, ...], tuple[str, ...]]:
        """What an earlier agent of this boot left, and the addresses of VFs whose file cannot be read.

        Other boots' files go.
        """
        for folder in self._parent.glob("*"):
            if folder != self._folder:
                for path in folder.glob("*"):
                    path.unlink()
                folder.rmdir()
        remove_drafts(self._folder)
        return self.records()

    def records(self) -> tuple[tuple[VfRecord, ...], tuple[str, ...]]:
        """As :meth:`load`, by whoever only looks."""
        records, unread = [], []
        for path in sorted(self._folder.glob("*.json")):
            try:
                records.append(msgspec.json.decode(path.read_bytes(), type=VfRecord))
            except (OSError, *NOT_JSON) as error:
                log.warning("the record of a VF cannot be read; set the VF right and remove it", file=path, why=error)
                unread.append(path.stem)
        return tuple(records), tuple(unread)

    def put(self, record: VfRecord) -> None:
        """Have the record on the disk.

        Raises:
            OSError: the disk is full, or read-only; what was there stays.
        """
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync(self._parent)
        path = self._folder / f"{record.address}.json"
        place(path, msgspec.json.encode(record))

    def remove(self, address: str) -> None:
        """The VF is as it was."""
        remove(self._folder / f"{address}.json")
