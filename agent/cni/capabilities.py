"""What a runtime asks for beside the interface itself: host ports, bandwidth, fixed addresses, a MAC.

Part of reading a CNI request. containerd writes the keys of some values with a capital, others do not; here they are
read without regard to case, once. Every field is named in the error about it.

Source: CNI conventions, "Dynamic Plugin specific fields"; containerd's annotation of the same name.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address, ip_interface
from itertools import combinations
from typing import Any

from agent.cni.error import CniError, Code
from agent.model.address import Address
from agent.model.attachment import HostPort, Limit
from agent.model.service import Protocol
from agent.pods.request import WantedAddress

ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
RUNTIME_ASKS = ("portMappings", "bandwidth", "ips", "mac")
CAPABILITIES = (*RUNTIME_ASKS, ANNOTATIONS)
STATIC = {"sluiceway.io/ipv4": 4, "sluiceway.io/ipv6": 6}  # annotation of a pod: its address of that family

_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")
_HERE = "runtimeConfig"
_PORTS = range(1, 1 << 16)
_RATES = range(1000, 10**15 + 1)  # as Kubernetes bounds the annotations
_NO_BURST = 0xFFFFFFFF  # this and more stand for "as you like": containerd sends it, CRI-O eight times as much


@dataclass(frozen=True, slots=True)
class Capabilities:
    """``runtimeConfig``, as far as the conflist declares it; at most one address of each family."""

    host_ports: tuple[HostPort, ...] = ()
    ingress: Limit | None = None  # to the pod
    egress: Limit | None = None  # from the pod
    addresses: tuple[WantedAddress, ...] = ()
    mac: str = ""  # lower case; empty: ours to choose
    annotations: Mapping[str, str] = field(default_factory=dict)


def capabilities(config: Mapping[str, Any]) -> Capabilities:
    """What the configuration's ``runtimeConfig`` asks for.

    Raises:
        CniError: a value is of the wrong kind, out of range, or cannot be served.
    """
    asked = _object(config.get(_HERE), _HERE)
    notes = _annotations(asked)
    ports = tuple(dict.fromkeys(_host_ports(asked)))
    twice = [one for one, other in combinations(ports, 2) if one.clashes(other)]
    if twice:
        raise _bad(f"{_HERE}.portMappings", f"{twice[0]} is asked for twice")
    addresses = tuple(_ips(asked)) or tuple(_static(notes))
    if len({wanted.address.version for wanted in addresses}) < len(addresses):
        raise _bad(addresses[-1].field, "a pod has one address of each family")
    ingress, egress = _bandwidth(asked)
    return Capabilities(ports, ingress, egress, addresses, _mac(asked), notes)


def _host_ports(asked: Mapping[str, Any]) -> Iterator[HostPort]:
    for index, entry in enumerate(_list(asked, "portMappings")):
        where = f"{_HERE}.portMappings[{index}]"
        values = {key.lower(): value for key, value in _object(entry, where).items()}
        if not values.get("hostport"):  # a container's port that the node does not offer
            continue
        name = values.get("protocol") or "tcp"
        if not isinstance(name, str) or name.upper() not in Protocol.__members__:
            raise _bad(f"{where}.protocol", f"{name!r} is no protocol")
        yield HostPort(
            _host_ip(values.get("hostip"), f"{where}.hostIP"),
            _port(values.get("hostport"), f"{where}.hostPort"),
            Protocol[name.upper()],
            _port(values.get("containerport"), f"{where}.containerPort"),
        )


def _bandwidth(asked: Mapping[str, Any]) -> tuple[Limit | None, Limit | None]:
    """Ingress, which is to the pod, and egress, in bits per second and bits; a rate of 0 is none."""
    where = f"{_HERE}.bandwidth"
    values = {key.lower(): value for key, value in _object(asked.get("bandwidth"), where).items()}
    ingress, egress = (
        _limit(_count(values, f"{side}Rate", where), _count(values, f"{side}Burst", where), f"{where}.{side}")
        for side in ("ingress", "egress")
    )
    return ingress, egress


def _limit(rate: int, burst: int, where: str) -> Limit | None:
    is_chosen = 0 < burst < _NO_BURST
    if not rate:
        if is_chosen:
            raise _bad(f"{where}Burst", f"{burst} bits, and no {where.rpartition('.')[2]}Rate that they belong to")
        return None
    if rate not in _RATES:
        raise _bad(f"{where}Rate", f"{rate} bits per second; from {_RATES[0]} to {_RATES[-1]} can be kept")
    return Limit(rate, burst if is_chosen else 0)


def _count(values: Mapping[str, Any], key: str, where: str) -> int:
    value = values.get(key.lower())
    if value is None:
        return 0
    if type(value) is not int or value < 0:  # a bool is an int, and no number of bits
        raise _bad(f"{where}.{key}", f"{value!r} is no number of bits")
    return value


def _port(value: object, where: str) -> int:
    if type(value) is not int or value not in _PORTS:  # a bool is an int, and no port
        raise _bad(where, f"{value!r} is no port")
    return value


def _host_ip(value: object, where: str) -> str:
    return str(_address(value, where)) if value not in (None, "") else ""


def _ips(asked: Mapping[str, Any]) -> Iterator[WantedAddress]:
    """The conventions allow a prefix length; a pod's is that of its one address, whatever is written."""
    for index, text in enumerate(_list(asked, "ips")):
        where = f"{_HERE}.ips[{index}]"
        try:
            yield WantedAddress(ip_interface(_string(text, where)).ip, where)
        except ValueError:
            raise _bad(where, f"{text!r} is no address") from None


def _static(notes: Mapping[str, str]) -> Iterator[WantedAddress]:
    for name, version in STATIC.items():
        if name not in notes:
            continue
        address = _address(notes[name].strip(), name)
        if address.version != version:
            raise _bad(name, f"{address} is no IPv{version} address")
        yield WantedAddress(address, name)


def _mac(asked: Mapping[str, Any]) -> str:
    value = asked.get("mac")
    if value in (None, ""):
        return ""
    where = f"{_HERE}.mac"
    mac = _string(value, where).lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise _bad(where, f"{value!r} is no MAC address")
    if int(mac[:2], 16) & 1 or not mac.strip("0:"):
        raise _bad(where, f"{value!r} is no address of a single device")
    return mac


def _annotations(asked: Mapping[str, Any]) -> Mapping[str, str]:
    where = f"{_HERE}.{ANNOTATIONS}"
    found = _object(asked.get(ANNOTATIONS), where)
    return {key: _string(value, f"{where}[{key!r}]") for key, value in found.items()}


def _address(value: object, where: str) -> Address:
    try:
        found = ip_address(_string(value, where))
    except ValueError:
        raise _bad(where, f"{value!r} is no address") from None
    if isinstance(found, IPv4Address):
        return found
    if found.scope_id is not None:  # it equals none without, and so were nobody's, whoever has the address
        raise _bad(where, f"{value!r} has a zone, which no pod's address has; leave it out")
    return found.ipv4_mapped or found


def _string(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _bad(where, f"{value!r} is no string")
    return value


def _list(asked: Mapping[str, Any], key: str) -> list[Any]:
    value = asked.get(key)
    if value is not None and not isinstance(value, list):
        raise _bad(f"{_HERE}.{key}", f"{value!r} is no list")
    return value or []


def _object(value: object, where: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise _bad(where, f"{value!r} is no object")
    return value or {}


def _bad(where: str, text: str) -> CniError:
    return CniError(Code.CONFIG, f"{where}: {text}")
