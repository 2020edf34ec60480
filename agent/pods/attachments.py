"""What an attachment is called, on the node and on the disk, and what is kept of one."""

from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from agent.model.attachment import VETH_PREFIX, Attachment

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Saved:
    """An attachment as the journal holds it."""

    attachment: Attachment
    network: str  # the configuration's name
    sequence: int  # counts ADDs, so the order of the addresses' use is known
    asked_at_ns: int = 0  # by CLOCK_BOOTTIME; 0: before agents wrote it down


def digest(container_id: str, interface: str) -> str:
    """What names of an attachment are made of: 64 hex digits; neither part can hold a NUL."""
    return sha256(f"{container_id}\0{interface}".encode()).hexdigest()


def made_mac(container_id: str, interface: str) -> str:
    """An attachment's own MAC, where nobody says another: 02 marks a locally administered address (IEEE 802, 8.4)."""
    return bytes.fromhex("02" + digest(container_id, interface)[-10:]).hex(":")


def host_device(container_id: str, interface: str) -> str:
    """The name of the node's end of an attachment's veth."""
    return f"{VETH_PREFIX}{digest(container_id, interface)[:10]}"


def boot_id() -> str:
    """The kernel's name for this boot."""
    return BOOT_ID.read_text().strip()


def address(kind: type, value: object) -> object:
    """What msgspec calls for types that it does not know: addresses, which are written as text."""
    if kind in {IPv4Address, IPv6Address}:
        return kind(value)
    raise NotImplementedError(kind)  # msgspec's own word for "not mine"
