"""Folds what all sources tell into one immutable Cluster, and hands each new one on; the last step of watch.

Sources call from their own threads. A change costs one copy of its kind's table; tables, and objects that did not
change, are the identical values in the next Cluster, by which compile knows what to leave alone.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from threading import Lock
from types import MappingProxyType
from typing import Any

from agent.model.attachment import Attachment
from agent.model.cluster import Cluster
from agent.model.local import Local
from agent.model.name import ObjectName, Problem
from agent.model.service import EndpointSlice
from agent.watch.decode.reader import Decoded, Kind, Value

OnCluster = Callable[[Cluster], None]
Expected = tuple[str, Kind]  # a source's name, and a kind that it lists

LOCAL = "local"
ATTACHMENTS = "attachments"


@dataclass(slots=True)
class _Entry:
    """What one object is by each source that has it; the first source in order of names holds."""

    by_source: dict[str, Decoded]

    def holds(self) -> Decoded | None:
        return self.by_source[min(self.by_source)] if self.by_source else None


class Mirror:
    """The cluster as this node knows it.

    *on_cluster* is called with each new Cluster, in order, from the thread of the change; it must return at once.
    *expected* names the first lists that must have come before the Cluster says ``synced``; so must
    :meth:`set_local` and :meth:`set_attachments`, be it with nothing.
    """

    def __init__(self, on_cluster: OnCluster, expected: Collection[Expected]) -> None:
        self._on_cluster = on_cluster
        self._lock = Lock()
        self._missing: set[object] = {*expected, LOCAL, ATTACHMENTS}
        self._entries: dict[Kind, dict[ObjectName, _Entry]] = {kind: {} for kind in Kind}
        self._problems: dict[tuple[Kind, ObjectName], tuple[Problem, ...]] = {}
        self._source_problems: dict[str, tuple[Problem, ...]] = {}
        self._tables: dict[Kind, dict[Any, Any]] = {kind: {} for kind in Kind}
        self._touched: set[Kind] = set()  # tables that differ from the latest Cluster's
        self._problems_touched = False
        self._cluster = Cluster()

    @property
    def cluster(self) -> Cluster:
        """The latest Cluster."""
        return self._cluster

    def change(self, source: str, changes: Iterable[Decoded]) -> None:
        """Take in changed objects, all in one new Cluster; one without a value is gone."""
        with self._lock:
            for change in changes:
                self._fold(source, change)
            self._publish()

    def replace(self, source: str, kind: Kind, objects: Iterable[Decoded]) -> None:
        """Take in a whole list; what *source* had of this kind and does not list is gone."""
        with self._lock:
            listed = {decoded.name: decoded for decoded in objects}
            gone = [
                Decoded(kind, name, None)
                for name, entry in self._entries[kind].items()
                if source in entry.by_source and name not in listed
            ]
            for change in (*gone, *listed.values()):
                self._fold(source, change)
            self._missing.discard((source, kind))
            self._publish()

    def report(self, source: str, problems: tuple[Problem, ...]) -> None:
        """Set the problems of a source itself, such as a file that is no YAML."""
        with self._lock:
            self._problems_touched |= self._source_problems.get(source, ()) != problems
            self._source_problems[source] = problems
            self._publish()

    def set_local(self, local: Local) -> None:
        """Set what netlink tells of this node; the attachments stay those of :meth:`set_attachments`."""
        with self._lock:
            self._missing.discard(LOCAL)
            self._publish(replace(local, attachments=self._cluster.local.attachments))

    def set_attachments(self, attachments: tuple[Attachment, ...]) -> None:
        """Set the interfaces that pods have."""
        with self._lock:
            self._missing.discard(ATTACHMENTS)
            self._publish(replace(self._cluster.local, attachments=attachments))

    def _fold(self, source: str, change: Decoded) -> None:
        entries = self._entries[change.kind]
        entry = entries.setdefault(change.name, _Entry({}))
        before = entry.holds()
        if change.value is None and not change.problems:
            entry.by_source.pop(source, None)
        else:
            entry.by_source[source] = change
        if not entry.by_source:
            del entries[change.name]
        after = entry.holds()
        old_problems, new_problems = before.problems if before else (), after.problems if after else ()
        if old_problems != new_problems:
            self._set_problems(change, new_problems)
        old, new = before.value if before else None, after.value if after else None
        if old != new:
            self._set_value(change.kind, change.name, old, new)

    def _set_problems(self, change: Decoded, problems: tuple[Problem, ...]) -> None:
        self._problems_touched = True
        self._problems[change.kind, change.name] = problems
        if not problems:
            del self._problems[change.kind, change.name]

    def _set_value(self, kind: Kind, name: ObjectName, old: Value | None, new: Value | None) -> None:
        self._touched.add(kind)
        table = self._tables[kind]
        if kind is Kind.ENDPOINT_SLICE:
            for service in {s.service for s in (old, new) if isinstance(s, EndpointSlice)}:
                others = [s for s in table.get(service, ()) if s.name != name]
                own = [new] if isinstance(new, EndpointSlice) and new.service == service else []
                _put(table, service, tuple(sorted(others + own, key=lambda s: s.name)))
        else:
            # a Node's and a Namespace's key is a plain name
            _put(table, name if kind in (Kind.SERVICE, Kind.POD) else name.name, new)

    def _publish(self, local: Local | None = None) -> None:
        now = self._cluster
        changed: dict[str, Any] = {_FIELDS[kind]: MappingProxyType(self._tables[kind].copy()) for kind in self._touched}
        self._touched.clear()
        if self._problems_touched:
            changed["problems"] = self._all_problems()
            self._problems_touched = False
        if local is not None and local != now.local:
            changed["local"] = local
        if now.synced == bool(self._missing):
            changed["synced"] = not self._missing
        if changed:
            self._cluster = replace(now, **changed)
            self._on_cluster(self._cluster)

    def _all_problems(self) -> tuple[Problem, ...]:
        found = [p for group in self._problems.values() for p in group]
        found += [p for group in self._source_problems.values() for p in group]
        return tuple(sorted(found))


_FIELDS: Mapping[Kind, str] = {
    Kind.SERVICE: "services",
    Kind.ENDPOINT_SLICE: "slices",
    Kind.NODE: "nodes",
    Kind.POD: "pods",
    Kind.NAMESPACE: "namespaces",
}


def _put(table: dict[Any, Any], key: object, value: object) -> None:
    if value is None or value == ():
        table.pop(key, None)
    else:
        table[key] = value
