"""What each of the agent's options may be, in JSON Schema: for the chart's values, from ``Options`` and its readers.

The agent's own readers stay the judges: a schema says what they say as far as it can, so that a mistake is found before
an agent starts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from types import MappingProxyType
from typing import Any

from agent.options import values
from agent.options.config import Options

Schema = Mapping[str, Any]

# what the chart says itself of each pod, or what names a file in place of these values
NOT_IN_CHART = frozenset({"node-name", "kubeconfig", "manifests", "config"})
SWITCH = (True, False, "on", "off")  # YAML reads on and off as true and false, unless they are quoted
PATH = "^(/[0-9A-Za-z@%+=~._-]+)+/?$"  # of folders that are volumes; what YAML reads as more than a text is none
_CIDR = "[0-9A-Fa-f]*[.:][0-9A-Fa-f.:]+(/[0-9]{1,3})?"
_ADDRESS = "[0-9A-Fa-f]*[.:][0-9A-Fa-f.:]+"
_NUMBER = "[0-9]{1,10}"
_DURATION = MappingProxyType({"type": "string", "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s?)?$"})
_PORT = "(0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_ENDPOINT = rf"([0-9.]+|\[[0-9A-Fa-f.:]+\]):{_PORT}"


def options() -> Iterator[tuple[str, "Field[Any]"]]:
    """All options by their names, in their order."""
    for option in fields(Options):
        yield option.name.replace("_", "-"), option


def in_chart() -> Iterator[tuple[str, "Field[Any]"]]:
    """Those that the chart has values for."""
    return ((name, option) for name, option in options() if name not in NOT_IN_CHART)


def default(option: "Field[Any]") -> str:
    """The default as the command line would have it; empty: none, or one that the node says."""
    return values.written(option.default)


def described_default(option: "Field[Any]") -> str:
    """The default as people read it."""
    return option.metadata["default"] or default(option) or "none"


def schema(option: "Field[Any]") -> Schema:
    """What a value of *option* may be; null: the agent's default."""
    told = f"{option.metadata['purpose']} (default: {described_default(option)})"
    found = dict(_of(option.metadata["parse"].__name__, option.metadata["form"]))
    if "enum" in found:
        found["enum"] = [*found["enum"], None]
    elif "anyOf" in found:
        found["anyOf"] = [*found["anyOf"], {"type": "null"}]
    else:
        found["type"] = [found["type"], "null"]
    return {"description": told, **found}


def _of(reader: str, form: str) -> Schema:
    """By the reader's name; *form* has the words of one that takes words alone."""
    if reader != "choice":
        return _READERS[reader]
    words = form.split("|")
    if {"on", "off"} <= {*words}:
        return {"enum": [*SWITCH, *(word for word in words if word not in SWITCH)]}
    return {"enum": [*words, False] if "off" in words else words}


def _number(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def _lists(item: str) -> list[Schema]:
    """Several, as a list or in one text."""
    each = {"type": "string", "pattern": f"^{item}$"}
    return [{"type": "array", "items": each}, {"type": "string", "pattern": f"^{item}( *, *{item})*$"}]


def _numbers(item: str, most: int) -> list[Schema]:
    """One, or several; YAML has a list's as numbers, too."""
    whole, text = _lists(item)
    number = _number(1, most)
    return [{**whole, "items": {"anyOf": [whole["items"], number]}}, text, number]


_READERS: Mapping[str, Schema] = MappingProxyType(
    {
        "switch": {"enum": list(SWITCH)},
        "text": {"type": "string", "minLength": 1},
        "path": {"type": "string", "pattern": PATH},
        "size": _number(0, values.MAX_ENTRIES),
        "udp_port": _number(0, values.MAX_PORT),
        "tcp_port": _number(1, values.MAX_PORT),
        "tcp_ports": {"anyOf": _numbers(_PORT, values.MAX_PORT)},
        "addresses": {"anyOf": _lists(_ADDRESS)},
        "asn": _number(1, values.MAX_ASN),
        "asns": {"anyOf": _numbers(_NUMBER, values.MAX_ASN)},
        "router_id": {"type": "string", "pattern": f"^({_ADDRESS}|{values.GENERATE})?$"},
        "hold_time": {"anyOf": [dict(_DURATION), _number(values.LEAST_HOLD_S, values.LAST_HOLD_S)]},
        "restart_time": {"anyOf": [dict(_DURATION), _number(1, values.LAST_RESTART_S)]},
        "milliseconds": _number(10, values.LAST_INTERVAL_MS),
        "multiplier": _number(1, values.MAX_MULTIPLIER),
        "hops": _number(0, values.MAX_HOPS),
        "vni": _number(1, values.LAST_VNI),
        "mtu": {"anyOf": [{"const": 0}, _number(values.LEAST_MTU, values.MAX_PORT)]},
        "names": {"anyOf": _lists(r"[^\s/:,]{1,15}")},
        "namespaces": {"anyOf": _lists(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")},
        "networks": {"anyOf": _lists(_CIDR)},
        "servers": {"anyOf": _lists(r"https://([0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")},
        "node_port_addresses": {"anyOf": [{"const": values.PRIMARY}, *_lists(_CIDR)]},
        "endpoint_or_off": {"anyOf": [{"enum": [False, "off"]}, {"type": "string", "pattern": f"^{_ENDPOINT}$"}]},
        "endpoint": {"type": "string", "pattern": f"^{_ENDPOINT}$"},
        "port_range": {"type": "string", "pattern": f"^{_PORT}-{_PORT}$"},
    }
)
