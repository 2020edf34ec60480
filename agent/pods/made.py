"""An interface that another CNI plugin made, as its result tells: its addresses, and its devices on the node.

Pure. Read from ``prevResult`` of an ADD, and from what libcni keeps of pods that were there before (``libcni``).

Source: CNI specification 1.1.0, section 5, "Success".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Any

from agent.model.address import Address


@dataclass(frozen=True, slots=True)
class MadeInterface:
    """A pod's interface; at most one address of each family."""

    netns: str  # path of the pod's network namespace
    addresses: tuple[Address, ...]
    node_devices: frozenset[str]  # that the plugins made or used; empty where none is told


def made_interface(result: Mapping[str, Any], name: str) -> MadeInterface:
    """What *result* says of the interface *name* in a pod.

    Raises:
        ValueError: the field, and what it lacks.
    """
    interfaces = _objects(result, "interfaces")
    index = next((i for i, one in enumerate(interfaces) if one.get("name") == name and one.get("sandbox")), None)
    if index is None:
        raise ValueError(f"interfaces: there is no {name} in a sandbox, which a plugin before this one has to make")
    addresses = tuple(_addresses(result, index))
    if not addresses:
        raise ValueError(f"ips: none is of {name}")
    if len({address.version for address in addresses}) < len(addresses):
        raise ValueError(f"ips: {name} has several addresses of a family, of which policy knows one")
    devices = frozenset(str(one.get("name")) for one in interfaces if not one.get("sandbox"))
    return MadeInterface(str(interfaces[index]["sandbox"]), addresses, devices)


def _addresses(result: Mapping[str, Any], index: int) -> Iterator[Address]:
    """Those of one interface; an address that names none is everybody's."""
    for at, ip in enumerate(_objects(result, "ips")):
        if ip.get("interface", index) != index:
            continue
        try:
            yield ip_interface(str(ip.get("address"))).ip
        except ValueError:
            raise ValueError(f"ips[{at}].address: {ip.get('address')!r} is no address") from None


def _objects(result: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = result.get(key) or []
    if not (isinstance(found, list) and all(isinstance(one, dict) for one in found)):
        raise ValueError(f"{key}: is no list of objects")
    return found
