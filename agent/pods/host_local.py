"""What the host-local plugin left: its reservations, and whether their pods still live.

Read by ``imported``. host-local has a file per address, ``networks/<network>/<address>``, that holds the container's
id and, on a second line, the interface's name, which older versions left out. libcni keeps what ADD answered in
``results/<network>-<container id>-<interface>``; the bridge and ptp plugins name the node's end of the veth there,
which the kernel takes away with the pod's namespace.

Source: containernetworking/plugins, plugins/ipam/host-local; containernetworking/cni, libcni (cniCacheV1).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec

from agent.json_text import NOT_JSON
from agent.model.address import Address

NETWORKS, RESULTS = "networks", "results"
_OWN = ("lock", "last_reserved_ip.")  # host-local's other files
_VETH = "veth"  # what the plugins' names of a node's end begin with


@dataclass(frozen=True, slots=True)
class Reservation:
    """An address that host-local gave to a container."""

    address: Address
    network: str
    container_id: str
    interface: str  # empty: the plugin was too old to write it
    file: Path

    def is_of(self, container_id: str, interface: str) -> bool:
        """Whether it is this attachment's."""
        return self.container_id == container_id and self.interface in {"", interface}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that says nothing."""

    file: Path
    why: str


def reservations(folder: Path) -> Iterator[Reservation | Unreadable]:
    """All that *folder*, usually ``/var/lib/cni``, has of them, by network and name."""
    for file in sorted((folder / NETWORKS).glob("*/*")):
        if file.name.startswith(_OWN):
            continue
        try:
            yield _read(file)
        except FileNotFoundError:
            continue  # released meanwhile
        except (OSError, ValueError) as error:
            yield Unreadable(file, str(error))


def stamp(folder: Path) -> tuple[int, ...]:
    """What differs when a file has come or gone."""
    networks = folder / NETWORKS
    try:
        return tuple(place.stat().st_mtime_ns for place in (networks, *sorted(networks.iterdir())))
    except (FileNotFoundError, NotADirectoryError):
        return ()


def is_dead(reservation: Reservation, folder: Path, devices: Collection[str]) -> bool:
    """Whether the pod's namespace is gone, by the node's *devices*; False where nothing tells."""
    ends = _node_ends(reservation, folder)
    return bool(ends) and not any(end in devices for end in ends)


def _read(file: Path) -> Reservation:
    try:
        address = ip_address(file.name)
    except ValueError:
        raise ValueError("its name is no address") from None
    words = file.read_text().split()
    if not words:
        raise ValueError("it is empty; remove it when no pod has the address")
    interface = words[1] if len(words) > 1 else ""
    return Reservation(address, file.parent.name, words[0], interface, file)


def _node_ends(reservation: Reservation, folder: Path) -> tuple[str, ...]:
    """The node's ends of the pod's veths, as ADD told them."""
    parts = (reservation.network, reservation.container_id, reservation.interface or "eth0")
    try:
        found: Any = msgspec.json.decode((folder / RESULTS / "-".join(parts)).read_bytes())
        result = found.get("result", found)  # older ones are the bare result
        names = [link["name"] for link in result["interfaces"] if not link.get("sandbox")]
    except (OSError, *NOT_JSON, AttributeError, LookupError, TypeError):
        return ()
    return tuple(name for name in names if isinstance(name, str) and name.startswith(_VETH))
