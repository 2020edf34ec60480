"""The types of the fields that an import reads, as an API server holds them; files may have anything in their place.

Pure. Importers read what is checked here without asking again what it is.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

_SCALAR = str | int | float | bool  # what people leave unquoted
_TEXTS = list[str]
_NUMBER = int | str  # an AS number, a port or a port's name
_WORDS = list[_SCALAR]
_CONTAINER = {
    "name": str,
    "image": str,
    "command": _WORDS,
    "args": _WORDS,
    "env": [{"name": str, "value": _SCALAR}],
    "envFrom": [{"prefix": str}],
}
_SIDE = {"nets": _TEXTS, "notNets": _TEXTS, "ports": list[_NUMBER]}
_RULES = [{"action": str, "source": _SIDE, "destination": _SIDE}]
_POLICY = {"spec": {"order": float, "tier": str, "types": _TEXTS, "ingress": _RULES, "egress": _RULES}}
_FILTER_RULES = [
    {
        "action": str,
        "matchOperator": str,
        "prefixLength": {"min": int, "max": int},
        "communities": {"values": _TEXTS},
        "asPathPrefix": list[_NUMBER],
        "operations": [{"prependASPath": {"prefix": list[_NUMBER]}}],
    }
]
_RANGES = [{"cidr": str}]


def _type(shape: Any) -> Any:
    """A type as msgspec has it: of a mapping a struct whose fields may be absent, of a list a list of its first."""
    if isinstance(shape, list):
        return list[_type(shape[0])]  # type: ignore[misc]  # a type that is made
    if not isinstance(shape, dict):
        return shape
    return msgspec.defstruct("object", [(name, _type(inner) | None, None) for name, inner in shape.items()])


_ANY = _type(
    {
        "apiVersion": str,
        "metadata": {"name": str, "namespace": str, "labels": dict[str, str], "annotations": dict[str, str]},
        "spec": dict[str, Any],
    }
)
_KUBERNETES: Mapping[str, Any] = {
    kind: _type(shape)
    for kind, shape in {
        "DaemonSet": {"spec": {"template": {"spec": {"initContainers": [_CONTAINER], "containers": [_CONTAINER]}}}},
        "ConfigMap": {"data": dict[str, str]},
        "Node": {
            "spec": {"podCIDR": str, "podCIDRs": _TEXTS},
            "status": {"addresses": [{"type": str, "address": str}]},
        },
        "Service": {"spec": {"loadBalancerClass": str}},
    }.items()
}
_CALICO: Mapping[str, Any] = {
    kind: _type(shape)
    for kind, shape in {
        "IPPool": {"spec": {"cidr": str, "allowedUses": _TEXTS}},
        "BGPConfiguration": {
            "spec": {
                "asNumber": _NUMBER,
                "listenPort": int,
                "communities": [{"name": str, "value": str}],
                "prefixAdvertisements": [{"cidr": str, "communities": _TEXTS}],
                "serviceClusterIPs": _RANGES,
                "serviceExternalIPs": _RANGES,
                "serviceLoadBalancerIPs": _RANGES,
            }
        },
        "BGPPeer": {"spec": {"asNumber": _NUMBER, "localASNumber": _NUMBER, "ttlSecurity": int, "filters": _TEXTS}},
        "BGPFilter": {"spec": dict.fromkeys(("exportV4", "exportV6", "importV4", "importV6"), _FILTER_RULES)},
        "GlobalNetworkPolicy": _POLICY,
        "NetworkPolicy": _POLICY,
    }.items()
}


def without_nulls(content: object) -> Any:
    """A document in which what is null is not there, as the API means it.

    Raises:
        ValueError: a key is no text, or a value contains itself.
    """
    try:
        return _without_nulls(content)
    except RecursionError:
        raise ValueError("a value is nested too deep, or contains itself") from None


def _without_nulls(content: object) -> Any:
    if isinstance(content, list):
        return [_without_nulls(one) for one in content]
    if not isinstance(content, Mapping):
        return content
    for key in content:
        if not isinstance(key, str):
            raise ValueError(f"the key {key!r} is no text; put it in quotes")  # noqa: TRY004  a file's content
    return {key: _without_nulls(value) for key, value in content.items() if value is not None}


def check(item: Mapping[str, Any], *, is_calico: bool) -> None:
    """Refuse an object of which a field that is read has another type.

    Raises:
        ValueError: with the field's path.
    """
    of_kind = (_CALICO if is_calico else _KUBERNETES).get(item["kind"], _ANY)
    try:
        for shape in (_ANY, of_kind):
            msgspec.convert(item, shape)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
