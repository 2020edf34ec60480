"""The attachments of this node on disk: one file each, so that an agent that starts anew knows its pods.

Written after the kernel holds the links and before the runtime gets its answer. A crash before the write
leaves a device that no file names, which the next start removes; after it, an attachment like any other. A
reboot takes all namespaces with it, so a file of another boot is void, whatever it holds.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import msgspec

from agent.log import logger
from agent.model.local import Attachment
from agent.serve.files import place, remove

log = logger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
HOST_DEVICE = re.compile(r"swp[0-9a-f]{10}")


@dataclass(frozen=True, slots=True)
class Saved:
    """An attachment as a file holds it."""

    attachment: Attachment
    network: str  # the configuration's name
    boot_id: str
    sequence: int  # counts ADDs, so the order of the addresses' use is known


def digest(container_id: str, interface: str) -> str:
    """What names of an attachment are made of: 64 hex digits; neither part can hold a NUL."""
    return sha256(f"{container_id}\0{interface}".encode()).hexdigest()


def host_device(container_id: str, interface: str) -> str:
    """The name of the node's end of an attachment's veth."""
    return f"swp{digest(container_id, interface)[:10]}"


def boot_id() -> str:
    """The kernel's name for this boot."""
    return BOOT_ID.read_text().strip()


class Store:
    """The directory of attachment files; a file is named by the attachment's host device."""

    def __init__(self, directory: Path, boot: str) -> None:
        self._directory = directory
        self._boot = boot
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def load(self) -> tuple[Saved, ...]:
        """The attachments of this boot, oldest first; void and unreadable files are removed."""
        saved = []
        for path in sorted(self._directory.iterdir()):
            item = _read(path) if path.suffix == ".json" else None
            if item is None or item.boot_id != self._boot:
                path.unlink(missing_ok=True)
            else:
                saved.append(item)
        return tuple(sorted(saved, key=lambda item: item.sequence))

    def save(self, attachment: Attachment, network: str, sequence: int) -> Saved:
        """Write the attachment, durably, whole or not at all.

        Raises:
            OSError: the disk is full or read-only.
        """
        saved = Saved(attachment, network, self._boot, sequence)
        path = self._path(attachment)
        content = msgspec.json.encode(saved, enc_hook=str)
        place(path, content, draft=path.with_suffix(".new"), outlives_boot=False)
        return saved

    def remove(self, attachment: Attachment) -> None:
        """Forget the attachment; one that is not there is forgotten already."""
        remove(self._path(attachment), outlives_boot=False)

    def _path(self, attachment: Attachment) -> Path:
        return self._directory / f"{host_device(*attachment.key)}.json"


def _read(path: Path) -> Saved | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Saved, dec_hook=_address)
    except (OSError, msgspec.DecodeError, ValueError) as error:
        log.warning("attachment file is unreadable and removed", file=path, error=error)
        return None


def _address(kind: type, value: object) -> object:
    if kind in {IPv4Address, IPv6Address}:
        return kind(value)
    raise NotImplementedError(kind)  # msgspec's own word for "not mine"
