"""The folder that stands for the API server: one file per object, written by rename, watched by every node's agent."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Object = Mapping[str, Any]  # a Kubernetes object, as JSON has it

_NOT_NAMESPACED = {"Node", "Namespace"}


@dataclass(frozen=True, slots=True)
class Manifests:
    """The objects of one lab."""

    folder: Path

    def put(self, item: Object) -> None:
        """Create or replace an object; the same again touches nothing."""
        path = self._path(item["kind"], namespace(item), name(item))
        text = json.dumps(item, indent=1) + "\n"
        if path.exists() and path.read_text() == text:
            return
        draft = path.with_name(f".{path.name}")  # the agents pass over names with a leading dot
        draft.write_text(text)
        draft.rename(path)

    def get(self, kind: str, space: str, called: str) -> Object | None:
        """An object, None where there is none."""
        try:
            found: Object = json.loads(self._path(kind, space, called).read_text())
        except FileNotFoundError:
            return None
        return found

    def remove(self, kind: str, space: str, called: str) -> bool:
        """Remove an object; whether it was there."""
        path = self._path(kind, space, called)
        is_there = path.exists()
        path.unlink(missing_ok=True)
        return is_there

    def all(self, kind: str) -> Iterator[Object]:
        """Every object of a kind, in the order of their names."""
        for path in sorted(self.folder.glob(f"{kind.lower()}-*.json")):
            yield json.loads(path.read_text())

    def _path(self, kind: str, space: str, called: str) -> Path:
        title = called if kind in _NOT_NAMESPACED else f"{space}_{called}"  # no name of Kubernetes has a _
        return self.folder / f"{kind.lower()}-{title}.json"


def name(item: Object) -> str:
    """The object's name."""
    return str(item["metadata"]["name"])


def namespace(item: Object) -> str:
    """The object's namespace; "default" where it says none."""
    return str(item["metadata"].get("namespace", "default"))


def labels(item: Object) -> Mapping[str, str]:
    """The object's labels."""
    found: Mapping[str, str] = item["metadata"].get("labels") or {}
    return found
