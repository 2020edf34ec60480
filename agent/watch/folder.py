"""The objects of a manifests folder, kept file by file; manifests.py reads the files and changes the mirror.

A file that cannot be parsed keeps the objects that it last had. Of two files with one object the first by name holds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from agent.model.name import ObjectName, Problem
from agent.options.yaml_text import read_yaml_documents
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kind import Decoded, Kind
from agent.watch.decode.kinds import kinds_of

SUFFIXES = (".yaml", ".yml", ".json")

Key = tuple[Kind, ObjectName]


@dataclass(frozen=True, slots=True)
class Parsed:
    """The content of one file."""

    objects: tuple[Decoded, ...]
    problem: Problem | None = None


class Folder:
    """The objects of all files. Nothing here touches the file system."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._files: dict[str, Parsed] = {}
        self._owners: dict[Key, dict[str, Decoded]] = {}

    def names(self) -> tuple[str, ...]:
        """The files that are known."""
        return tuple(self._files)

    def take(self, contents: Iterable[tuple[str, bytes | str | None]]) -> tuple[Decoded, ...]:
        """What changed with these files: bytes are the content, None is a file that is gone, a str why one is not read.

        Each object comes once, as it now is.
        """
        touched: set[Key] = set()
        for name, content in contents:
            touched |= self._set(name, None if content is None else self._parsed(name, content))
        return tuple(self._now(key) for key in sorted(touched, key=_order))

    def problems(self) -> tuple[Problem, ...]:
        """Files that could not be read, and objects that two files have."""
        unread = [parsed.problem for parsed in self._files.values() if parsed.problem]
        twice = [
            Problem(kind.object_kind, name, name_of_second, f"is already in {first}; that one holds")
            for (kind, name), owners in self._owners.items()
            if len(owners) > 1
            for first, *others in [sorted(owners)]
            for name_of_second in others
        ]
        return tuple(unread + twice)

    def _set(self, file: str, parsed: Parsed | None) -> set[Key]:
        before = self._files.pop(file, Parsed(()))
        if parsed is not None:
            self._files[file] = parsed
        after = parsed.objects if parsed else ()
        touched = {(d.kind, d.name) for d in (*before.objects, *after)}
        for key in touched:
            self._owners.get(key, {}).pop(file, None)
        for decoded in reversed(after):  # of two in one file the first holds
            self._owners.setdefault((decoded.kind, decoded.name), {})[file] = decoded
        return touched

    def _now(self, key: Key) -> Decoded:
        owners = self._owners.get(key)
        if not owners:
            self._owners.pop(key, None)
            return Decoded(*key, None)
        return owners[min(owners)]

    def _parsed(self, file: str, content: bytes | str) -> Parsed:
        """The objects of *content*, or those that the file had before, with the problem."""
        problem = content if isinstance(content, str) else ""
        if isinstance(content, bytes):
            try:
                return Parsed(tuple(self._objects(content)))
            except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
                problem = " ".join(str(error).split())
        kept = self._files.get(file, Parsed(())).objects
        held = "; the objects that it had before stay" if kept else ""
        return Parsed(kept, Problem("File", ObjectName("", file), "", f"{problem}{held}"))

    def _objects(self, content: bytes) -> Iterator[Decoded]:
        for document in read_yaml_documents(content):
            for item in _items(document):
                for kind in kinds_of(str(item.get("kind")), str(item.get("apiVersion") or "")):
                    yield self._decoder.decode(kind, msgspec.json.encode(_defaulted(kind, item)))


def _items(document: object) -> Iterator[dict[str, object]]:
    """The objects of a document: none, one, or those of a List."""
    if document is None:
        return
    if not isinstance(document, dict):
        raise TypeError(f"a document is no Kubernetes object but a {type(document).__name__}")
    if isinstance(document.get("items"), list) and str(document.get("kind", "")).endswith("List"):
        kind = document["kind"].removesuffix("List")
        # a ServiceList's items need not say what they are; a List's must
        like = {"kind": kind, "apiVersion": document.get("apiVersion")} if kind else {}
        for item in document["items"]:
            yield from _items({**like, **item})
    else:
        yield document


def _defaulted(kind: Kind, item: dict[str, object]) -> dict[str, object]:
    """The object with namespace "default", as kubectl would send it."""
    metadata = item.get("metadata")
    if not kind.is_namespaced or not isinstance(metadata, dict):
        return item
    return {**item, "metadata": {"namespace": "default", **metadata}}


def _order(key: Key) -> tuple[str, ObjectName]:
    return key[0].name, key[1]
