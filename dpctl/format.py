"""How dpctl writes what several maps hold: addresses with ports, protocols, times, and a backend set's label."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any

from agent.model.address import unmapped
from agent.options.number import decimal

PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}  # IANA's numbers, as maps hold them
SCOPES = ("internal", "external")  # enum scope
_LABEL = re.compile(r"(?P<service>[^:]*):(?P<port>.*)/(?P<protocol>[^/]*)/(?P<family>[^/]*)/(?P<view>[^/]*)")


@dataclass(frozen=True, slots=True)
class End:
    """An address with a port, as one end of a connection."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a summary: what it is about, how it stands, and numbers for programs."""

    about: str
    state: str
    note: str = ""
    values: dict[str, Any] = field(default_factory=dict)


@lru_cache(maxsize=1 << 16)
def end(address: IPv6Address, port: int) -> End:
    """An end from what maps hold."""
    return End(str(unmapped(address)), port)


def protocol(number: int) -> str:
    """A protocol's name, or its number."""
    return PROTOCOLS.get(number, str(number))


def protocol_number(text: str) -> int | None:
    """The inverse of :func:`protocol`, letters of any case; None for what is neither name nor number."""
    by_name = {name.lower(): number for number, name in PROTOCOLS.items()}
    number = decimal(text, 255)
    return by_name.get(text.lower()) if number is None else number


def duration(seconds: float) -> str:
    """A time in its two largest units: ``2 h 4 min``."""
    whole = int(seconds)
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    for index, (size, name) in enumerate(units):
        if whole >= size:
            smaller = units[index + 1] if index + 1 < len(units) else None
            rest = whole % size // smaller[0] if smaller else 0
            return f"{whole // size} {name}" + (f" {rest} {smaller[1]}" if smaller and rest else "")
    return "0 s"


def octets(number: int) -> str:
    """A size in the unit that leaves at most four digits."""
    for unit in ("B", "KiB", "MiB"):
        if number < 10_000:  # noqa: PLR2004 - four digits
            return f"{number} {unit}"
        number = round(number / 1024)
    return f"{number} GiB"


def bit_rate(number: int) -> str:
    """Bits per second in the unit that leaves at most four digits."""
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if number < 10_000:  # noqa: PLR2004 - four digits
            return f"{number} {unit}"
        number = round(number / 1000)
    return f"{number} Gbit/s"


@dataclass(frozen=True, slots=True)
class SetLabel:
    """What a backend set is made for: ``namespace/name:port/protocol/family/view`` in parts."""

    service: str  # namespace/name; the whole label when it is of another form
    port: str = ""  # its name, or its number when it has none
    protocol: str = ""
    family: str = ""
    view: str = ""  # "all", or "local" to the node

    @property
    def service_port(self) -> str:
        """The service with its port."""
        return f"{self.service}:{self.port}" if self.port else self.service


UNKNOWN = SetLabel("")


def set_label(text: str) -> SetLabel:
    """A label as ``agent.compile.service.set_label`` writes it, in parts."""
    found = _LABEL.fullmatch(text)
    return SetLabel(**found.groupdict()) if found else SetLabel(text)
