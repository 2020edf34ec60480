"""``dpctl network``: pods' further interfaces, as the agent's records on the disk have them, and definitions looked at.

No agent is needed, and to look at a file no node either.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Any

from agent.compile.network_config import SYSTEM, check_use, plugin_list
from agent.compile.network_refused import NetworkRefused
from agent.model.network import DEFINITION, RESOURCE_NAME
from agent.options.yaml_text import YamlError, read_yaml_documents
from agent.pods.network_record import InterfaceRecord, NetworkSet, Step
from dpctl.output import Column


@dataclass(frozen=True, slots=True)
class InterfaceRow:
    """One interface of a pod."""

    pod: str  # namespace/name, or the container
    interface: str
    network: str  # namespace/name of the definition
    plugins: tuple[str, ...]
    addresses: tuple[str, ...]
    device: str
    state: str


@dataclass(frozen=True, slots=True)
class LintRow:
    """One definition of a file, or what is wrong with it."""

    file: str
    object: str
    field: str
    text: str
    is_wrong: bool


INTERFACES: tuple[Column[InterfaceRow], ...] = (
    Column("POD", lambda r: r.pod),
    Column("INTERFACE", lambda r: r.interface),
    Column("NETWORK", lambda r: r.network),
    Column("PLUGINS", lambda r: " ".join(r.plugins)),
    Column("ADDRESSES", lambda r: " ".join(r.addresses)),
    Column("DEVICE", lambda r: r.device),
    Column("STATE", lambda r: r.state),
)
LINT: tuple[Column[LintRow], ...] = (
    Column("FILE", lambda r: r.file),
    Column("OBJECT", lambda r: r.object),
    Column("FIELD", lambda r: r.field),
    Column("TEXT", lambda r: r.text),
)


def interface_rows(sets: Iterable[NetworkSet]) -> Iterator[InterfaceRow]:
    """Rows by pod, each pod's in the order in which they were made."""
    for one in sorted(sets, key=lambda s: (str(s.pod or s.container_id), s.container_id)):
        for each in one.interfaces:
            yield InterfaceRow(
                pod=str(one.pod or one.container_id),
                interface=each.interface,
                network=str(each.network),
                plugins=tuple(plugin.kind for plugin in each.plugins),
                addresses=tuple(_addresses(each)),
                device=each.device,
                state=_state(one, each),
            )


def lint_rows(file: str, text: str) -> Iterator[LintRow]:
    """A row for each definition of a YAML or JSON file; a bare CNI configuration is looked at as one."""
    try:
        objects = [one for one in read_yaml_documents(text) if one is not None]
    except YamlError as error:
        yield LintRow(file, "", "", str(error), is_wrong=True)
        return
    every = [each for one in objects for each in _items(one)]
    found = [row for each in every for row in _looked_at(file, each)]
    yield from found or [LintRow(file, "", "", f"there is no {DEFINITION} in it", is_wrong=True)]


def _items(one: object) -> list[object]:
    """The objects of a list, or one that is none."""
    items = one.get("items") if isinstance(one, dict) else None
    return items if isinstance(items, list) and items else [one]


def _looked_at(file: str, one: object) -> Iterator[LintRow]:
    if not isinstance(one, dict):
        yield LintRow(file, "", "", "is no object", is_wrong=True)
    elif one.get("kind") == DEFINITION:
        yield _of_definition(file, one)
    elif "kind" not in one and ("type" in one or "plugins" in one):
        yield _of_config(file, str(one.get("name") or file), json.dumps(one), "", "")


def _of_definition(file: str, one: Mapping[str, Any]) -> LintRow:
    about = _mapping(one.get("metadata"))
    name = str(about.get("name", ""))
    config = _mapping(one.get("spec")).get("config") or ""
    space = about.get("namespace")
    shown = f"{DEFINITION} {space}/{name}" if space else f"{DEFINITION} {name}"
    resource = _mapping(about.get("annotations")).get(RESOURCE_NAME, "")
    if not name:
        return LintRow(file, shown.rstrip(), "metadata.name", "is missing", is_wrong=True)
    if not isinstance(config, str):
        return LintRow(file, shown, "spec.config", "is no string; write the JSON behind |", is_wrong=True)
    if not config.strip():
        return LintRow(file, shown, "spec.config", f"is in a file of the node named {name}", is_wrong=False)
    more = f", of {resource}" if resource else ""
    return _of_config(file, name, config, shown, more, space if isinstance(space, str) else "")


def _mapping(value: object) -> Mapping[str, Any]:
    """An object, or nothing where it is none, which the API server says."""
    return value if isinstance(value, dict) else {}


def _of_config(  # noqa: PLR0913, PLR0917  what a row is of
    file: str, name: str, config: str, shown: str, more: str, namespace: str = ""
) -> LintRow:
    try:
        # one without a definition is a file of the node: its definition may be of a resource
        found = plugin_list(config, name, "spec.config" if shown else "", may_be_given=bool(more) or not shown)
        check_use(found, namespace or SYSTEM)  # that of who applies it is not said
    except NetworkRefused as refused:
        return LintRow(file, shown or name, refused.field.lstrip("."), refused.text, is_wrong=True)
    chain = ", then ".join(" ".join(filter(None, (plugin.kind, plugin.own_kind))) for plugin in found.plugins)
    wants = f", told of {', '.join(sorted(found.capabilities))}" if found.capabilities else ""
    return LintRow(file, shown or name, "", f"CNI {found.version}: {chain}{wants}{more}", is_wrong=False)


def _addresses(each: InterfaceRecord) -> Iterator[str]:
    result = json.loads(each.result or "{}")
    for ip in result.get("ips") or ():
        try:
            yield str(ip_interface(str(ip.get("address"))).ip)
        except ValueError:
            continue


def _state(one: NetworkSet, each: InterfaceRecord) -> str:
    if one.is_leaving:
        return "is unmade"
    return str(each.step) if not one.is_whole or each.step is not Step.MADE else ""
