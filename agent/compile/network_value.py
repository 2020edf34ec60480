"""Values in definitions and annotations of networks, read as Go's ``net`` reads them, by which plugins and runtimes do.

A prefix has a length in digits, and no address has a zone.
"""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from agent.compile.network_refused import NetworkRefused
from agent.model.address import Address, Network


def list_of(found: Mapping[str, Any], key: str, where: str) -> list[Any]:
    """A list, empty where there is none; *where* is the object's key.

    Raises:
        NetworkRefused: it is none.
    """
    value = found.get(key)
    if value is not None and not isinstance(value, list):
        raise NetworkRefused(f"{where}.{key}", f"{value!r} is no list")
    return value or []


def prefix_of(text: Any) -> Network | None:
    """What a text says as a prefix, whatever is behind the prefix's length; None: nothing."""
    address, slash, length = text.partition("/") if isinstance(text, str) else ("", "", "")
    if not slash or not (length.isascii() and length.isdigit()) or address_of(address) is None:
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def address_of(text: Any) -> Address | None:
    """What a text says as an address; None: nothing."""
    if not isinstance(text, str) or "%" in text:
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None
