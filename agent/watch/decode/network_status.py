"""What a Pod's network-status says of its addresses on further networks, as far as it can be used.

Whoever may change the Pod may change it. So each address counts on the network alone that it is said of, and of one pod
not more than some: what is too much, or cannot be read, is nobody's.

Source: NPWG multi-network specification 1.3, section 5.
"""

import msgspec
from msgspec import Struct

from agent.json_text import NOT_JSON
from agent.model.address import Address, is_reachable, parse_address
from agent.model.name import ObjectName
from agent.watch.decode.shared import Shared

MOST = 64  # addresses of one pod
Further = tuple[tuple[ObjectName, tuple[Address, ...]], ...]


class _Entry(Struct, frozen=True):
    """One interface."""

    name: str = ""
    ips: list[str] | None = None
    default: bool = False


_STATUS = msgspec.json.Decoder(list[_Entry])


def further_addresses(text: str, shared: Shared) -> Further:
    """The addresses by the definition of their network; those of the first interface are in the Pod's status."""
    try:
        entries = _STATUS.decode(text) if text else []
    except NOT_JSON:
        return ()
    found: dict[ObjectName, tuple[Address, ...]] = {}
    left = MOST
    for entry in entries:
        namespace, slash, name = entry.name.partition("/")
        if entry.default or not (slash and namespace and name):
            continue
        ips = tuple(ip for ip in map(_address, (entry.ips or ())[:left]) if ip is not None)
        left -= len(ips)
        if ips:
            network = shared.made(ObjectName, shared.one(namespace), name)
            found[network] = (*found.get(network, ()), *ips)
    return tuple(found.items())


def _address(text: str) -> Address | None:
    try:
        found = parse_address(text.partition("/")[0])
    except ValueError:
        return None
    return found if is_reachable(found) else None
