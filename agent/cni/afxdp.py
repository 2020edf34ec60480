"""That an interface is to have AF_XDP, as the network's configuration or the pod's annotation says it.

The configuration's key ``afxdp`` has an object, ``{"queues": 2, "capture": ["udp:7000-7999", "icmp"]}``; both members
may be left out. The annotation ``sluiceway.io/afxdp`` has the same as text, for the pod's first interface.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.cni.error import CniError, Code
from agent.model.attachment import AfXdp, Captured
from agent.model.name import ObjectName
from maps import abi

KEY = "afxdp"
ANNOTATION = "sluiceway.io/afxdp"
FIRST = "eth0"  # the interface that every runtime's first network makes
MOST_QUEUES = 64
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}  # IANA's numbers
_WITH_PORTS = frozenset({"tcp", "udp", "sctp"})
_RESERVED = frozenset({"pods", "containers", "interfaces"})  # folders beside the devices' places
_RULE = re.compile(r"(?P<protocol>[a-z0-9]+)(?::(?P<first>[0-9]{1,5})(?:-(?P<last>[0-9]{1,5}))?)?")
_POD = re.compile(r"[a-z0-9]([a-z0-9.\-]*[a-z0-9])?")  # a part of a path, as Kubernetes names pods and namespaces
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9:.\-]{0,99}")


def place(pod: ObjectName | None, container_id: str, interface: str) -> str:
    """Where an interface's socket and map are, below the folders of all: known from the pod before it is made."""
    if pod and _POD.fullmatch(pod.namespace) and _POD.fullmatch(pod.name):
        return f"pods/{pod.namespace}/{pod.name}/{interface}"
    return f"containers/{container_id}/{interface}"


def afxdp(config: Mapping[str, Any], notes: Mapping[str, str], own_place: str, interface: str) -> AfXdp | None:
    """What is asked for; None: an interface like others. A device that a plugin gave the pod has a place of its own.

    Raises:
        CniError: a value is of the wrong kind or out of range.
    """
    where, wanted = KEY, config.get(KEY)
    if wanted is None and interface == FIRST and ANNOTATION in notes:
        where, wanted = ANNOTATION, _decoded(notes[ANNOTATION])
    if wanted is None:
        return None
    if not isinstance(wanted, dict):
        raise _bad(where, f"{wanted!r} is no object")
    unknown = sorted(wanted.keys() - {"queues", "capture"})
    if unknown:
        raise _bad(f"{where}.{unknown[0]}", "is not understood; there are queues and capture")
    queues = wanted.get("queues", 1)
    if type(queues) is not int or not 1 <= queues <= MOST_QUEUES:  # a bool is an int, and no number of queues
        raise _bad(f"{where}.queues", f"{queues!r} is no number of queues from 1 to {MOST_QUEUES}")
    device = _device(config)
    captured = _captured(wanted.get("capture", []), f"{where}.capture")
    return AfXdp(device or own_place, queues, captured)


def _captured(rules: object, where: str) -> tuple[Captured, ...]:
    if not isinstance(rules, list):
        raise _bad(where, f"{rules!r} is no list")
    if len(rules) > abi.STEERING_RULES:
        raise _bad(where, f"{len(rules)} rules; an interface has at most {abi.STEERING_RULES}")
    return tuple(_rule(rule, f"{where}[{index}]") for index, rule in enumerate(rules))


def _rule(rule: object, where: str) -> Captured:
    found = _RULE.fullmatch(rule) if isinstance(rule, str) else None
    if found is None or found["protocol"] not in _PROTOCOLS:
        raise _bad(where, f"{rule!r} is no protocol, or protocol:port, or protocol:first-last")
    protocol = _PROTOCOLS[found["protocol"]]
    if found["first"] is None:
        return Captured(protocol)
    first, last = int(found["first"]), int(found["last"] or found["first"])
    if found["protocol"] not in _WITH_PORTS or not 1 <= first <= last <= 0xFFFF:  # noqa: PLR2004  the last port
        raise _bad(where, f"{rule!r} names no ports")
    return Captured(protocol, first, last)


def _decoded(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise _bad(ANNOTATION, f"{text!r} is no JSON") from None


def _device(config: Mapping[str, Any]) -> str:
    """The device that a plugin gave the pod for this interface; empty: none."""
    asked = config.get("runtimeConfig")
    device = (asked.get("deviceID") if isinstance(asked, dict) else None) or config.get("deviceID")
    if device in (None, ""):
        return ""
    if not isinstance(device, str) or not _DEVICE.fullmatch(device) or device in _RESERVED:
        raise _bad("deviceID", f"{device!r} is no name of a device")
    return device


def _bad(where: str, text: str) -> CniError:
    return CniError(Code.CONFIG, f"{where}: {text}")
