"""Variables of containers whose text a ConfigMap of the same input has, in place of where it is."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agent.migrate.report import Object

Data = Mapping[tuple[str, str], Mapping[str, Any]]  # of ConfigMaps, by namespace and name


def resolved(items: Iterable[Object]) -> Iterator[Object]:
    """The same objects; what no ConfigMap of theirs has stays as it is."""
    every = tuple(items)
    data = {_key(item, _part(item, "metadata").get("name")): _part(item, "data") for item in every if _is_map(item)}
    for item in every:
        yield _with_variables(item, data) if _part(item, "spec", "template", "spec") else item


def _is_map(item: Object) -> bool:
    return item.get("kind") == "ConfigMap" and item.get("apiVersion") == "v1"


def _key(item: Object, name: object) -> tuple[str, str]:
    return str(_part(item, "metadata").get("namespace", "")), str(name)


def _with_variables(item: Object, data: Data) -> Object:
    pod = _part(item, "spec", "template", "spec")
    kinds = {kind: [_container(one, item, data) for one in pod.get(kind) or ()] for kind in _kinds(pod)}
    template = {**item["spec"]["template"], "spec": {**pod, **kinds}}
    return {**item, "spec": {**item["spec"], "template": template}}


def _kinds(pod: Object) -> Iterator[str]:
    yield from (kind for kind in ("initContainers", "containers") if kind in pod)


def _container(one: Any, item: Object, data: Data) -> Any:
    if not isinstance(one, Mapping):
        return one
    named: dict[str, dict[str, Any]] = {}
    left = []
    for reference in one.get("envFrom") or ():
        found = data.get(_key(item, _part(reference, "configMapRef").get("name")))
        if found is None:
            left.append(reference)
        else:
            named |= {f"{reference.get('prefix', '')}{name}": {"value": text} for name, text in found.items()}
    own = {str(each.get("name")): _variable(each, item, data) for each in one.get("env") or ()}
    env = [{"name": name} | content for name, content in (named | own).items()]
    return {**one, "env": env, "envFrom": left}


def _variable(one: Object, item: Object, data: Data) -> dict[str, Any]:
    reference = _part(one, "valueFrom", "configMapKeyRef")
    text = data.get(_key(item, reference.get("name")), {}).get(str(reference.get("key")))
    return {**one} if text is None else {"value": text}


def _part(item: Any, *path: str) -> Mapping[str, Any]:
    for step in path:
        item = item.get(step) if isinstance(item, Mapping) else None
    return item if isinstance(item, Mapping) else {}
