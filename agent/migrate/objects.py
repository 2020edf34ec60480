"""The objects that an import reads, by kind; and what importers ask of them.

Pure: ``source`` has the files and the API server.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from agent.migrate.references import resolved
from agent.migrate.report import Object
from agent.migrate.shape import check, without_nulls

CALICO_GROUPS = ("crd.projectcalico.org", "projectcalico.org")  # of its CRDs, and of its API server


@dataclass(frozen=True, slots=True)
class Objects:
    """All of one input, in order, lists opened."""

    items: tuple[Object, ...]

    @classmethod
    def of(cls, documents: Iterable[object]) -> "Objects":
        """The objects of parsed documents; an object of several (List) is opened, an object that is there twice is one.

        Containers' variables have the text of ConfigMaps that are there too.

        Raises:
            ValueError: a document is no Kubernetes object, or one that no API server holds.
        """
        found: dict[tuple[str, str, str, str], Object] = {}
        for item in _opened(without_nulls(list(documents))):
            try:
                check(item, is_calico=group(item) in CALICO_GROUPS)
            except ValueError as error:
                raise ValueError(f"{source(item)}: {error}; give what kubectl get -o yaml prints") from error
            found[group(item), item["kind"], namespace(item), name(item)] = item
        return cls(tuple(resolved(found.values())))

    def of_kind(self, kind: str, *groups: str) -> tuple[Object, ...]:
        """Those of a kind; of these API groups, if any is named."""
        return tuple(item for item in self.items if item["kind"] == kind and (not groups or group(item) in groups))

    def named(self, kind: str, *names: str) -> tuple[Object, ...]:
        """Those of a kind that have one of these names, in any namespace."""
        return tuple(item for item in self.of_kind(kind) if name(item) in names)


def source(item: Object) -> str:
    """How a report names an object: "Service web/shop"."""
    where = f"{namespace(item)}/" if namespace(item) else ""
    return f"{item['kind']} {where}{name(item)}"


def group(item: Object) -> str:
    """The API group, "apps"; empty for the core's."""
    group, slash, _ = str(item.get("apiVersion", "")).partition("/")
    return group if slash else ""


def name(item: Object) -> str:
    """``metadata.name``."""
    return str(part(item, "metadata").get("name", ""))


def namespace(item: Object) -> str:
    """``metadata.namespace``, empty for what has none."""
    return str(part(item, "metadata").get("namespace", ""))


def annotations(item: Object) -> Mapping[str, str]:
    """``metadata.annotations``."""
    return part(item, "metadata", "annotations")


def labels(item: Object) -> Mapping[str, str]:
    """``metadata.labels``."""
    return part(item, "metadata", "labels")


def spec(item: Object) -> Mapping[str, Any]:
    """``spec``."""
    return part(item, "spec")


def part(item: Object, *path: str) -> Mapping[str, Any]:
    """A mapping inside an object, empty where it is not there."""
    found: Any = item
    for step in path:
        found = found.get(step) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def containers(item: Object) -> Iterator[Object]:
    """The containers of a DaemonSet's or Deployment's pods, those that prepare first."""
    pod = part(item, "spec", "template", "spec")
    for one in (*(pod.get("initContainers") or ()), *(pod.get("containers") or ())):
        if isinstance(one, Mapping):
            yield one


def pod_cidrs(node: Object) -> tuple[str, ...]:
    """``spec.podCIDRs`` of a Node, or its older form."""
    found = spec(node).get("podCIDRs") or [spec(node).get("podCIDR")]
    return tuple(str(cidr) for cidr in found if cidr)


def _opened(documents: Iterable[object]) -> Iterator[Object]:
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, Mapping) or not isinstance(document.get("kind"), str):
            shown = f"{str(document)[:60]!r} is no Kubernetes object"
            raise ValueError(f"{shown}; give what kubectl get -o yaml prints")  # noqa: TRY004  a file's content
        if document["kind"].endswith("List") and isinstance(document.get("items"), list):
            kind, version = document["kind"].removesuffix("List"), document.get("apiVersion")
            inner = (dict(one) for one in document["items"] if isinstance(one, Mapping))
            yield from _opened({"kind": kind, "apiVersion": version} | one if kind else one for one in inner)
        else:
            yield document


def embedded(text: str) -> Any:
    """JSON that stands in a field.

    Raises:
        ValueError: it is none.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from error


def plugins(content: Any) -> Iterator[Mapping[str, Any]]:
    """The plugins of a CNI configuration, or list of such; what is none is passed over."""
    found = content.get("plugins", [content]) if isinstance(content, Mapping) else []
    yield from (one for one in (found if isinstance(found, list) else []) if isinstance(one, Mapping))


def leaves(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each field that holds no mapping, by its path from *content*: ``("iptables.masqueradeAll", True)``."""
    if isinstance(content, Mapping) and content:
        for key, value in content.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, content


def text(value: Any) -> str:
    """A field's value as a flag would have it; nothing for what is not set."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return ",".join(text(one) for one in value)
        case dict():
            return "" if not value else str(value)
    return str(value)
