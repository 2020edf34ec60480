"""The annotation by which a Pod asks for networks, in its short form or as JSON: read as selections, or refused.

Multus' ``v1.multus-cni.io/default-network`` has the same forms.

Source: NPWG multi-network specification 1.3, section 4.1.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_interface
from typing import Any

import msgspec

from agent.compile.network_refused import NetworkRefused
from agent.compile.network_value import address_of, list_of
from agent.model.address import Address
from agent.model.name import ObjectName
from agent.model.network import RUNTIME_ARGS, NetworkSelection

MOST = 64  # interfaces of one pod
MOST_ARGS = 1 << 15  # octets of cni-args: with more no plugin could be executed, for DEL neither
_JSON = frozenset('[{"')  # what only JSON has
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_NAMESPACE = re.compile(_LABEL)
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_INTERFACE = re.compile(r"(?!\.{1,2}$)[^/:%\s]{1,15}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_SYSCTLS = frozenset({"all", "default"})  # no device is called so: devinet_sysctl_register()
_RATES = ("ingressRate", "ingressBurst", "egressRate", "egressBurst")
_BROADCAST = IPv4Address("255.255.255.255")
_PORTS = range(1, 1 << 16)
_MAPPING = {key.lower(): key for key in ("hostPort", "containerPort", "protocol", "hostIP")}  # Go reads any case
_REFUSED = {
    "infiniband-guid": "InfiniBand is not supported; leave it out",
    "ipam-claim-reference": "IPAMClaims are not supported; leave it out",
}
_KEYS = frozenset(
    {
        "name",
        "namespace",
        "interface",
        "interfaceRequest",
        "ips",
        "mac",
        "default-route",
        "portMappings",
        "bandwidth",
        "cni-args",
        "deviceID",
        *_REFUSED,
    }
)


def selections(text: str, namespace: str, where: str) -> tuple[NetworkSelection, ...]:
    """What an annotation asks for, in its order; *namespace* is that of a definition that names none.

    Raises:
        NetworkRefused: the field that is wrong.
    """
    if not text.strip():
        return ()
    found = tuple(_long(text, namespace, where) if _JSON & {*text} else _short(text, namespace, where))
    if len(found) > MOST:
        raise NetworkRefused(where, f"asks for {len(found)} networks; a pod can have {MOST}")
    return found


def _short(text: str, namespace: str, where: str) -> Iterator[NetworkSelection]:
    """``[namespace/]name[@interface]``, with commas between."""
    for index, word in enumerate(text.split(",")):
        at = f"{where}[{index}]"
        if not word.strip():
            raise NetworkRefused(at, "is empty; write NAMESPACE/NAME@INTERFACE, with commas between")
        name, sign, interface = word.strip().partition("@")
        if sign and not interface:
            raise NetworkRefused(at, f"{word.strip()!r} names no interface behind the @")
        yield NetworkSelection(definition_name(name, namespace, at), at, _interface(interface, at))


def definition_name(word: str, namespace: str, at: str) -> ObjectName:
    """The definition that ``[namespace/]name`` names; *namespace* is that of one that names none.

    Raises:
        NetworkRefused: it is none that there could be.
    """
    space, slash, name = word.rpartition("/")
    if slash and not space:
        raise NetworkRefused(at, f"{word!r} names no namespace before the /")
    return _object(space or namespace, name, at)


def _long(text: str, namespace: str, where: str) -> Iterator[NetworkSelection]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise NetworkRefused(where, f"is no JSON: {error}") from None
    if not isinstance(found, list):
        raise NetworkRefused(where, "is no JSON list; write [{...}], also for one network")
    for index, one in enumerate(found):
        at = f"{where}[{index}]"
        if not isinstance(one, dict):
            raise NetworkRefused(at, f"{one!r} is no object")
        yield _selection(one, namespace, at)


def _selection(one: Mapping[str, Any], namespace: str, at: str) -> NetworkSelection:
    for key in one:
        if key in _REFUSED:
            raise NetworkRefused(f"{at}.{key}", _REFUSED[key])
        if key not in _KEYS and "." not in key:  # others' keys have a domain
            raise NetworkRefused(f"{at}.{key}", f"is not known; known are {', '.join(sorted(_KEYS - {*_REFUSED}))}")
    interface = "interface" if one.get("interface") else "interfaceRequest"  # its name in early versions
    return NetworkSelection(
        name=_object(_text(one, "namespace", at) or namespace, _text(one, "name", at), at),
        field=at,
        interface=_interface(_text(one, interface, at), f"{at}.{interface}"),
        ips=tuple(_each(one, "ips", at, _ip)),
        mac=_mac(_text(one, "mac", at), f"{at}.mac"),
        default_route=_default_route(one, at),
        port_mappings=_port_mappings(one, at),
        bandwidth=_bandwidth(one, at),
        cni_args=_cni_args(one, at),
        device=_text(one, "deviceID", at),
    )


def _object(namespace: str, name: str, at: str) -> ObjectName:
    if not _NAMESPACE.fullmatch(namespace):
        raise NetworkRefused(at, f"{namespace!r} is no name of a namespace")
    if not name:
        raise NetworkRefused(f"{at}.name", "is missing; name a NetworkAttachmentDefinition")
    if not _NAME.fullmatch(name):
        raise NetworkRefused(at, f"{name!r} is no name of a NetworkAttachmentDefinition")
    return ObjectName(namespace, name)


def _interface(text: str, at: str) -> str:
    fits = len(text.encode()) <= 15 and text.isprintable()  # noqa: PLR2004  IFNAMSIZ less the NUL
    if text and not (_INTERFACE.fullmatch(text) and fits):
        raise NetworkRefused(at, f"{text!r} is no interface name; those have 1 to 15 characters without / and :")
    if text in _SYSCTLS:
        raise NetworkRefused(at, f"{text} is the kernel's word for all devices' sysctls; give another name")
    if text == "lo":
        raise NetworkRefused(at, "lo is another interface of the pod")
    return text


def _text(one: Mapping[str, Any], key: str, at: str) -> str:
    value = one.get(key)
    if value is not None and not isinstance(value, str):
        raise NetworkRefused(f"{at}.{key}", f"{value!r} is no string")
    return value or ""


def _each(one: Mapping[str, Any], key: str, at: str, read: Callable[[object, str], str]) -> Iterator[str]:
    for index, value in enumerate(list_of(one, key, at)):
        yield read(value, f"{at}.{key}[{index}]")


def _ip(value: object, at: str) -> str:
    try:
        ip_interface(str(value))
    except ValueError:
        raise NetworkRefused(at, f"{value!r} is no address") from None
    return str(value)


def _mac(text: str, at: str) -> str:
    mac = text.lower().replace("-", ":")
    if not mac:
        return ""
    if not _MAC.fullmatch(mac):
        raise NetworkRefused(at, f"{text!r} is no MAC address")
    if int(mac[:2], 16) & 1 or not mac.strip("0:"):
        raise NetworkRefused(at, f"{text!r} is no address of a single device")
    return mac


def _may_be_neighbour(address: Address) -> bool:
    """Whether somebody on a link may have it; the kernel takes no other for a gateway."""
    is_mapped = isinstance(address, IPv6Address) and address.ipv4_mapped is not None
    is_nobodys = address.is_unspecified or address.is_loopback or address.is_multicast or address == _BROADCAST
    return not (is_mapped or is_nobodys)


def _default_route(one: Mapping[str, Any], at: str) -> tuple[Address, ...]:
    found: list[Address] = []
    for index, value in enumerate(list_of(one, "default-route", at)):
        where = f"{at}.default-route[{index}]"
        gateway = address_of(value)
        if gateway is None or not _may_be_neighbour(gateway):
            raise NetworkRefused(where, f"{value!r} is no address of a gateway")
        found.append(gateway)
        if len({gateway.version for gateway in found}) < len(found):
            raise NetworkRefused(where, "is a second gateway of its family; give one")
    return tuple(found)


def _port_mappings(one: Mapping[str, Any], at: str) -> str:
    found = []
    for index, value in enumerate(list_of(one, "portMappings", at)):
        where = f"{at}.portMappings[{index}]"
        if not isinstance(value, dict):
            raise NetworkRefused(where, f"{value!r} is no object")
        found.append(_port_mapping(value, where))
    return _json(found)


def _port_mapping(value: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """One of them, in the spelling of CNI's conventions; a hostIP that nobody heard would be any."""
    for key in value:
        if key.lower() not in _MAPPING:
            raise NetworkRefused(f"{where}.{key}", f"is not known; known are {', '.join(sorted(_MAPPING.values()))}")
    one = {_MAPPING[key.lower()]: said for key, said in value.items()}
    for key in ("hostPort", "containerPort"):
        if type(one.get(key)) is not int or one[key] not in _PORTS:
            raise NetworkRefused(f"{where}.{key}", f"{one.get(key)!r} is no port")
    protocol = one.get("protocol") or "tcp"
    if str(protocol).lower() not in {"tcp", "udp", "sctp"}:
        raise NetworkRefused(f"{where}.protocol", f"{protocol!r} is none of tcp, udp and sctp")
    if one.get("hostIP") and address_of(one["hostIP"]) is None:
        raise NetworkRefused(f"{where}.hostIP", f"{one['hostIP']!r} is no address")
    return one | {"protocol": str(protocol).lower()}


def _bandwidth(one: Mapping[str, Any], at: str) -> str:
    found = one.get("bandwidth")
    if found is None:
        return ""
    where = f"{at}.bandwidth"
    if not isinstance(found, dict):
        raise NetworkRefused(where, f"{found!r} is no object")
    for key, value in found.items():
        if key not in _RATES:
            raise NetworkRefused(f"{where}.{key}", f"is not known; known are {', '.join(_RATES)}")
        if type(value) is not int or value < 0:
            raise NetworkRefused(f"{where}.{key}", f"{value!r} is no number of bits")
    return _json(found)


def _cni_args(one: Mapping[str, Any], at: str) -> str:
    found = one.get("cni-args")
    if found is not None and not isinstance(found, dict):
        raise NetworkRefused(f"{at}.cni-args", f"{found!r} is no object")
    for key in found or ():
        if key.partition("=")[0] in RUNTIME_ARGS:
            raise NetworkRefused(f"{at}.cni-args.{key}", "is for the runtime alone to say of a pod; leave it out")
    text = _json(found)
    if len(text.encode()) > MOST_ARGS:
        raise NetworkRefused(f"{at}.cni-args", f"is longer than {MOST_ARGS} octets, which CNI_ARGS has no room for")
    return text


def _json(value: object) -> str:
    """As text, which is frozen; empty where there is nothing."""
    return msgspec.json.encode(value).decode() if value else ""
