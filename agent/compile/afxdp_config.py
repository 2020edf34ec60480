"""The key ``afxdp``: ``{"queues": 2, "capture": ["udp:7000-7999", "icmp"]}``, both of which may be left out."""

import re

from agent.compile.network_refused import NetworkRefused
from agent.model.attachment import Captured
from maps import abi

MOST_QUEUES = 64
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}  # IANA's numbers
_WITH_PORTS = frozenset({"tcp", "udp", "sctp"})
_RULE = re.compile(r"(?P<protocol>[a-z0-9]+)(?::(?P<first>[0-9]{1,5})(?:-(?P<last>[0-9]{1,5}))?)?")


def queues_and_capture(wanted: object, where: str) -> tuple[int, tuple[Captured, ...]]:
    """The number of queues, and what sockets get; *where* names the object in what is said of it.

    Raises:
        NetworkRefused: a value is of the wrong kind or out of range.
    """
    if not isinstance(wanted, dict):
        raise NetworkRefused(where, f"{wanted!r} is no object")
    unknown = sorted(wanted.keys() - {"queues", "capture"})
    if unknown:
        raise NetworkRefused(f"{where}.{unknown[0]}", "is not understood; there are queues and capture")
    queues = wanted.get("queues", 1)
    if type(queues) is not int or not 1 <= queues <= MOST_QUEUES:  # a bool is an int, and no number of queues
        raise NetworkRefused(f"{where}.queues", f"{queues!r} is no number of queues from 1 to {MOST_QUEUES}")
    return queues, _captured(wanted.get("capture", []), f"{where}.capture")


def _captured(rules: object, where: str) -> tuple[Captured, ...]:
    if not isinstance(rules, list):
        raise NetworkRefused(where, f"{rules!r} is no list")
    if len(rules) > abi.STEERING_RULES:
        raise NetworkRefused(where, f"{len(rules)} rules; an interface has at most {abi.STEERING_RULES}")
    return tuple(_rule(rule, f"{where}[{index}]") for index, rule in enumerate(rules))


def _rule(rule: object, where: str) -> Captured:
    found = _RULE.fullmatch(rule) if isinstance(rule, str) else None
    if found is None or found["protocol"] not in _PROTOCOLS:
        raise NetworkRefused(where, f"{rule!r} is no protocol, or protocol:port, or protocol:first-last")
    protocol = _PROTOCOLS[found["protocol"]]
    if found["first"] is None:
        return Captured(protocol)
    first, last = int(found["first"]), int(found["last"] or found["first"])
    if found["protocol"] not in _WITH_PORTS or not 1 <= first <= last <= 0xFFFF:  # noqa: PLR2004  the last port
        raise NetworkRefused(where, f"{rule!r} names no ports")
    return Captured(protocol, first, last)
