"""What the objects and lists of an API server say that they are, by the path at which they are asked for."""

from typing import Any

from agent.watch.decode.kinds import ALLOCATED, KINDS

_KINDS = {path: kind.object_kind for kind in (*KINDS, *ALLOCATED) for path in (kind.path, *kind.older_paths)}


def kind_at(path: str) -> str:
    """The kind of a list's objects; what no watch reads is a Lease."""
    return _KINDS.get(path, "Lease")


def list_at(path: str, revision: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    """A list, whose objects need not say what they are."""
    return {"kind": f"{kind_at(path)}List", "metadata": {"resourceVersion": revision}, "items": items}


def event_at(path: str, what: str, found: dict[str, Any]) -> dict[str, Any]:
    """An event of a watch, whose object says what it is."""
    return {"type": what, "object": {"kind": kind_at(path), **found}}
