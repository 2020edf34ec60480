"""How an option's value is read from text and written back; config's list of options names these.

Each reader raises ValueError with a sentence that ends in what would be right.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import urlsplit

MAX_ENTRIES = 1 << 26  # of one map: 64 Mi entries of the smallest record are gigabytes already
FORMS = {  # what --help shows for a reader's text
    "text": "NAME",
    "path": "PATH",
    "switch": "on|off",
    "names": "A,B",
    "namespaces": "A,B",
    "networks": "CIDR,CIDR",
    "servers": "https://HOST:PORT,https://HOST:PORT",
    "node_port_addresses": "CIDR,CIDR|primary",
    "size": "N",
    "endpoint": "ADDRESS:PORT",
    "endpoint_or_off": "ADDRESS:PORT|off",
    "port_range": "LOW-HIGH",
    "udp_port": "PORT",
    "tcp_port": "PORT",
    "tcp_ports": "PORT,PORT",
    "addresses": "ADDRESS,ADDRESS",
    "asn": "N",
    "asns": "N,N",
    "router_id": "ADDRESS|generate",
    "hold_time": "SECONDS",
    "restart_time": "SECONDS",
    "milliseconds": "MS",
    "multiplier": "N",
    "hops": "N",
    "vni": "N",
    "mtu": "BYTES",
}
MAX_PORT = 0xFFFF
MAX_ASN = (1 << 32) - 1  # RFC 6793
RESERVED_ASNS = frozenset({0, 23456, 65535, MAX_ASN})  # RFC 7607, RFC 6793 9 (AS_TRANS), RFC 7300: no AS has these
LEAST_HOLD_S, LAST_HOLD_S = 3, 0xFFFF  # RFC 4271 4.2
LAST_RESTART_S = 4095  # RFC 4724 3
LAST_INTERVAL_MS = 60_000
MAX_HOPS, MAX_MULTIPLIER = 255, 255
GENERATE: Final = "generate"  # kube-router's word
LAST_VNI = (1 << 24) - 1  # RFC 7348 5, RFC 8926 3.4
LEAST_MTU = 1280  # RFC 8200 5
IPV6 = 6
PRIMARY: Final = "primary"  # kube-proxy's word
_GROUPS = IPv4Address("224.0.0.0")  # the first that is no host's
_MAPPED = IPv6Network("::ffff:0:0/96")
NOWHERE = ("", 0)  # no address and port
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123
_INTERFACE = re.compile(r"[^\s/:]{1,15}")  # IFNAMSIZ, and dev_valid_name()


def about(parse: Callable[[str], object], purpose: str, default: str = "") -> Mapping[str, Any]:
    """A field's metadata: reader, purpose as --help shows it, and the default where that is no constant."""
    form = FORMS.get(parse.__name__, parse.__doc__)
    return MappingProxyType({"parse": parse, "purpose": purpose, "default": default, "form": form})


def text(given: str) -> str:
    """A text that is not empty."""
    if not given.strip():
        raise ValueError("is empty; leave it out for the default")
    return given.strip()


def path(given: str) -> Path:
    """An absolute path: the daemon has no folder of its own."""
    if not text(given).startswith("/"):
        raise ValueError(f"{given!r} is relative; give an absolute path")
    return Path(given)


def switch(given: str) -> bool:
    """On or off."""
    match given.lower():
        case "on" | "true" | "yes":
            return True
        case "off" | "false" | "no":
            return False
    raise ValueError(f"{given!r} is neither on nor off")


def names(given: str) -> tuple[str, ...]:
    """Interface names, separated by commas; none at all stands for the default."""
    found = tuple(part.strip() for part in given.split(",") if part.strip())
    for name in found:
        if not _INTERFACE.fullmatch(name):
            raise ValueError(f"{name!r} is no interface name; those have 1 to 15 characters without / and :")
    return found


def namespaces(given: str) -> tuple[str, ...]:
    """Names of namespaces, separated by commas; none at all stands for none."""
    found = tuple(part.strip() for part in given.split(",") if part.strip())
    for name in found:
        if not _NAMESPACE.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a namespace; those have small letters, digits and hyphens")
    return found


def servers(given: str) -> tuple[str, ...]:
    """Servers of HTTPS, separated by commas, as URLs without a path; none at all stands for the default."""
    return tuple(_server(part.strip()) for part in given.split(",") if part.strip())


def networks(given: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Ranges of addresses of either family, separated by commas; none at all stands for the default."""
    return tuple(_network(part.strip()) for part in given.split(",") if part.strip())


def node_port_addresses(given: str) -> tuple[IPv4Network | IPv6Network, ...] | Literal["primary"]:
    """Ranges of addresses, or the word that stands for the node's first InternalIP of each family."""
    return PRIMARY if given.strip() == PRIMARY else networks(given)


def size(given: str) -> int:
    """A map's number of entries."""
    if not given.isdecimal() or int(given) > MAX_ENTRIES:
        raise ValueError(f"{given!r} is no size; give 0 or a number up to {MAX_ENTRIES}")
    return int(given)


def udp_port(given: str) -> int:
    """A port, or 0 for the default."""
    return _port(given, least=0)


def tcp_port(given: str) -> int:
    """A port."""
    return _port(given)


def tcp_ports(given: str) -> tuple[str, ...]:
    """Ports, separated by commas; as texts, since two numbers are a range."""
    return tuple(str(_port(part.strip())) for part in given.split(",") if part.strip())


def addresses(given: str) -> tuple[IPv4Address | IPv6Address, ...]:
    """Addresses of either family, separated by commas."""
    return tuple(_address(part.strip()) for part in given.split(",") if part.strip())


def asn(given: str) -> int:
    """The number of an autonomous system."""
    found = _number(given, 1, MAX_ASN, "AS number")
    if found in RESERVED_ASNS:
        raise ValueError(f"{found} is reserved, and no AS has it")
    return found


def asns(given: str) -> tuple[str, ...]:
    """AS numbers, separated by commas; as texts, since two numbers are a range."""
    return tuple(str(asn(part.strip())) for part in given.split(",") if part.strip())


def router_id(given: str) -> str:
    """An address that a host could have, or the word for one that is made; nothing stands for the default.

    BIRD takes 0.0.0.0 for one that it is to choose, and routers refuse those of groups.
    """
    if given in {"", GENERATE}:
        return given
    try:
        found = IPv4Address(given)
    except ValueError:
        found = IPv4Address(0)
    if not int(found) or found >= _GROUPS:
        raise ValueError(f"{given!r} is no router id; write it as a host's address, 192.0.2.1, or {GENERATE}")
    return str(found)


def hold_time(given: str) -> int:
    """Seconds, also as ``1m30s``."""
    return _number(_seconds(given), LEAST_HOLD_S, LAST_HOLD_S, "hold time in seconds")


def restart_time(given: str) -> int:
    """Seconds, also as ``1m30s``."""
    return _number(_seconds(given), 1, LAST_RESTART_S, "restart time in seconds")


def milliseconds(given: str) -> int:
    """An interval."""
    return _number(given, 10, LAST_INTERVAL_MS, "number of milliseconds")


def multiplier(given: str) -> int:
    """How many intervals."""
    return _number(given, 1, MAX_MULTIPLIER, "multiplier")


def hops(given: str) -> int:
    """How many, or 0."""
    return _number(given, 0, MAX_HOPS, "number of hops")


def vni(given: str) -> int:
    """The number of a virtual network, 24 bits; 0 is no network's."""
    if not given.isdecimal() or not 1 <= int(given) <= LAST_VNI:
        raise ValueError(f"{given!r} is no network number; give 1 to {LAST_VNI}")
    return int(given)


def mtu(given: str) -> int:
    """An MTU that both families can live with, or 0 for the default."""
    if not given.isdecimal() or not (int(given) == 0 or LEAST_MTU <= int(given) <= MAX_PORT):
        raise ValueError(f"{given!r} is no MTU; give 0, or {LEAST_MTU} (the least of IPv6) to {MAX_PORT}")
    return int(given)


def endpoint(given: str) -> tuple[str, int]:
    """An address and a port, as ``127.0.0.1:9650`` or ``[::1]:9650``."""
    host, colon, port = given.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    wrong = f"{given!r} is no address and port; write 127.0.0.1:9650 or [::1]:9650"
    if not colon or (":" in bare and bare == host):
        raise ValueError(wrong)
    try:
        return str(ip_address(bare)), _port(port, least=0)
    except ValueError as error:
        raise ValueError(wrong) from error


def endpoint_or_off(given: str) -> tuple[str, int]:
    """As :func:`endpoint`, or off (kube-proxy: nothing) for nowhere, which is NOWHERE."""
    return NOWHERE if given.lower() in {"", "off", "false", "no"} else endpoint(given)


def port_range(given: str) -> tuple[int, int]:
    """Two ports, the lower first, as ``30000-32767``."""
    low, _, high = given.partition("-")
    try:
        found = (_port(low), _port(high))
    except ValueError as error:
        raise ValueError(f"{given!r} is no port range; write 30000-32767") from error
    if found[0] > found[1]:
        raise ValueError(f"{given!r} ends before it starts; write {high}-{low}")
    return found


def one_of(choices: Sequence[str], kind: Callable[[str], str] = str) -> Callable[[str], str]:
    """A reader of one of *choices*, which *kind* turns into the value."""

    def choice(given: str) -> str:
        if given not in choices:
            raise ValueError(f"{given!r} is none of {', '.join(choices)}")
        return kind(given)

    choice.__doc__ = "|".join(choices)  # its form in --help
    return choice


def switch_or(more: Sequence[str], kind: Callable[[str], str] = str) -> Callable[[str], str]:
    """A reader of on, off, or one of *more*, which *kind* turns into the value."""
    read = one_of(("on", *more, "off"), kind)

    def choice(given: str) -> str:
        with suppress(ValueError):
            given = written(switch(given))
        return read(given)

    choice.__doc__ = read.__doc__
    return choice


def written(value: object) -> str:
    """A value as its reader takes it; the inverse of every reader above."""
    match value:
        case None:
            return ""
        case bool():
            return "on" if value else "off"
        case (str() as host, int() as port):
            return _endpoint(host, port)
        case (int() as low, int() as high) if isinstance(value, tuple):
            return f"{low}-{high}"
        case list() | tuple():
            return ",".join(str(part) for part in value)
    return str(value)


def _network(given: str) -> IPv4Network | IPv6Network:
    """One range; bits behind the prefix do not count, as in Kubernetes' own options."""
    try:
        found = ip_network(given, strict=False)
    except ValueError as error:
        raise ValueError(f"{given!r} is no range of addresses; write 10.96.0.0/12 or fd00:10:96::/112") from error
    if found.version == IPV6 and found.overlaps(_MAPPED):
        raise ValueError(f"{given!r} has IPv4 addresses in the form of IPv6; write them as IPv4")
    return found


def _address(given: str) -> IPv4Address | IPv6Address:
    try:
        found = ip_address(given)
    except ValueError as error:
        raise ValueError(f"{given!r} is no address; write 192.0.2.1 or 2001:db8::1") from error
    if isinstance(found, IPv6Address) and (found.ipv4_mapped or found.scope_id):
        raise ValueError(f"{given!r} is not an address's own form; write IPv4 as IPv4, and no zone")
    return found


def _number(given: str, least: int, most: int, what: str) -> int:
    if not given.isdecimal() or not least <= int(given) <= most:
        raise ValueError(f"{given!r} is no {what}; give {least} to {most}")
    return int(given)


def _seconds(given: str) -> str:
    """As the command line of kube-router has them, 1m30s, in seconds; what is no duration stays as it is."""
    found = _DURATION.fullmatch(given)
    if not given or not found:
        return given
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return str(3600 * hours + 60 * minutes + seconds)


def _endpoint(host: str, port: int) -> str:
    if (host, port) == NOWHERE:
        return "off"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _server(given: str) -> str:
    try:
        found = urlsplit(given)
        port = found.port
    except ValueError:  # its port, or its IPv6 address
        found, port = urlsplit(""), 0
    rest = (found.path.strip("/"), found.query, found.fragment)
    if found.scheme != "https" or not found.hostname or port == 0 or any(rest) or "@" in found.netloc:
        raise ValueError(f"{given!r} is no server; give https://HOST:PORT, an IPv6 address in brackets")
    return f"https://{found.netloc}"


def _port(given: str, least: int = 1) -> int:
    if not given.isdecimal() or not least <= int(given) <= MAX_PORT:
        raise ValueError(f"{given!r} is no port")
    return int(given)
