"""Folds what all watches deliver into one immutable Cluster, and hands each new one on; the last step of watch.

Watches call from their own threads. A change costs one copy of its kind's table; tables, and objects that did not
change, are the identical values in the next Cluster, by which compile knows what to leave alone.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from threading import Lock
from types import MappingProxyType
from typing import Any

from agent.model.accepted import is_alike
from agent.model.bgp import Neighbours, Passwords
from agent.model.cluster import Cluster
from agent.model.denied import Denied
from agent.model.ip_pool import IpBlock, routed, with_blocks
from agent.model.local import Local
from agent.model.name import ObjectName, Problem
from agent.watch.decode.ip_block import IP_BLOCK_KIND
from agent.watch.decode.ip_pool import IP_POOL_KIND
from agent.watch.decode.kind import Decoded, Kind, Value
from agent.watch.decode.node import NODE

OnCluster = Callable[[Cluster], None]

LOCAL = "this node's devices"
DENIED = "the ranges to deny"
PASSWORDS = "passwords of BGP"


class Mirror:
    """The cluster as this node knows it.

    *on_cluster* is called with each new Cluster, in order, from the thread of the change; it must return at once. Not
    with one of which only what agents say in statuses is new: such writes reach every agent, and who reads them asks
    for :attr:`cluster`.
    *expected* are the kinds of which a whole list must have come before the Cluster is ``synced``; so must
    :meth:`set_local`, with *denies* :meth:`set_denied`, and with *routes* :meth:`set_bgp_passwords`. BGP alone waits
    for :meth:`set_bgp_neighbours` too.
    """

    def __init__(
        self, on_cluster: OnCluster, expected: Collection[Kind], *, denies: bool = False, routes: bool = False
    ) -> None:
        self._on_cluster = on_cluster
        self._lock = Lock()
        self._missing: dict[str, None] = dict.fromkeys(
            (
                *(kind.name for kind in expected),
                LOCAL,
                *([DENIED] if denies else []),
                *([PASSWORDS] if routes else []),
            )
        )
        self._tables: dict[Kind, _Table] = {}
        self._problems: dict[tuple[str, ObjectName], tuple[Problem, ...]] = {}  # by the kind's name
        self._own_problems: dict[str, tuple[Problem, ...]] = {}  # of watches themselves
        self._listed: frozenset[str] = frozenset()
        self._touched: set[Kind] = set()  # tables that differ from the latest Cluster's
        self._changed: set[Kind] = set()  # those of them that differ by more than statuses
        self._problems_touched = False
        self._routed: Mapping[str, IpBlock] = {}  # blocks that Nodes have
        self._cluster = Cluster(bgp_neighbours=Neighbours(is_known=not routes))

    @property
    def cluster(self) -> Cluster:
        """The latest Cluster."""
        return self._cluster

    def missing(self) -> tuple[str, ...]:
        """What has not come yet and is waited for: kinds, and the node's own state."""
        with self._lock:
            return tuple(self._missing)

    def held(self, kind: Kind, name: ObjectName) -> Value | None:
        """One object as it is known now, from any thread."""
        table = self._tables.get(kind)
        return table.objects.get(name) if table else None

    def holds(self, kind: Kind) -> bool:
        """Whether there are objects of this kind, from any thread."""
        table = self._tables.get(kind)
        return bool(table and table.objects)

    def change(self, changes: Iterable[Decoded]) -> None:
        """Take in changed objects, all in one new Cluster; one without a value is gone."""
        with self._lock:
            for change in changes:
                self._fold(change)
            self._publish()

    def replace(self, kind: Kind, objects: Iterable[Decoded]) -> None:
        """Take in a whole list; what was known of this kind and is not listed is gone."""
        with self._lock:
            self._replace(kind, objects)
            self._missing.pop(kind.name, None)
            self._listed |= {kind.name}
            self._publish()

    def forget(self, kind: Kind) -> None:
        """Take out all of a kind that is watched no more, with what its watch had to report."""
        with self._lock:
            self._replace(kind, ())
            self._listed -= {kind.name}
            self._problems_touched |= bool(self._own_problems.pop(kind.name, ()))
            self._publish()

    def report(self, watch: str, problems: tuple[Problem, ...]) -> None:
        """Set the problems of a watch itself, such as a file that is no YAML, or a list that is forbidden.

        A kind's watch goes by the kind's name.
        """
        with self._lock:
            self._problems_touched |= self._own_problems.get(watch, ()) != problems
            self._own_problems[watch] = problems
            self._publish()

    def set_local(self, local: Local) -> None:
        """Set what netlink lists of this node; its pods' interfaces CNI gives to the reconcile loop itself."""
        with self._lock:
            self._missing.pop(LOCAL, None)
            self._publish(local=local)

    def set_denied(self, denied: Denied, problems: tuple[Problem, ...]) -> None:
        """Set from where nothing is let in, and what is wrong with the file that says so."""
        with self._lock:
            self._missing.pop(DENIED, None)
            self._problems_touched |= self._own_problems.get(DENIED, ()) != problems
            self._own_problems[DENIED] = problems
            self._publish(denied=denied)

    def set_bgp_passwords(self, passwords: Passwords, problems: tuple[Problem, ...]) -> None:
        """Set the passwords of BGP's peers, and what is wrong with their files."""
        with self._lock:
            self._missing.pop(PASSWORDS, None)
            self._problems_touched |= self._own_problems.get(PASSWORDS, ()) != problems
            self._own_problems[PASSWORDS] = problems
            self._publish(passwords=passwords)

    def set_bgp_neighbours(self, neighbours: Neighbours) -> None:
        """Set who answers where BGP's peers are named by their interfaces."""
        with self._lock:
            self._cluster = replace(self._cluster, bgp_neighbours=neighbours)
            self._on_cluster(self._cluster)

    def set_announcers(self, nodes: frozenset[str]) -> None:
        """Set the nodes that announce addresses on their subnets."""
        with self._lock:
            if nodes != self._cluster.announcers:
                self._cluster = replace(self._cluster, announcers=nodes)
                self._on_cluster(self._cluster)

    def _table(self, kind: Kind) -> "_Table":
        return self._tables.setdefault(kind, _Table(kind))

    def _rows(self, kind: Kind) -> dict[Any, Any]:
        return self._tables[kind].rows if kind in self._tables else {}

    def _replace(self, kind: Kind, objects: Iterable[Decoded]) -> None:
        listed = {decoded.name: decoded for decoded in objects}
        known = {*self._table(kind).objects, *(name for of, name in self._problems if of == kind.name)}
        for change in (*(Decoded(kind, name, None) for name in known - listed.keys()), *listed.values()):
            self._fold(change)

    def _fold(self, change: Decoded) -> None:
        key = (change.kind.name, change.name)
        if self._problems.get(key, ()) != change.problems:
            self._problems_touched = True
            self._problems[key] = change.problems
            if not change.problems:
                del self._problems[key]
        table = self._table(change.kind)
        before = table.objects.get(change.name)
        if table.put(change.name, change.value):
            self._touched.add(change.kind)
            if not is_alike(before, change.value):
                self._changed.add(change.kind)

    def _publish(
        self, *, local: Local | None = None, denied: Denied | None = None, passwords: Passwords | None = None
    ) -> None:
        now = self._cluster
        changed: dict[str, Any] = {
            kind.table: MappingProxyType(self._tables[kind].rows.copy()) for kind in self._touched
        }
        if self._touched & {IP_POOL_KIND, IP_BLOCK_KIND}:
            self._routed = routed(self._rows(IP_BLOCK_KIND), self._rows(IP_POOL_KIND), self._routed)
        if self._touched & {NODE, IP_POOL_KIND, IP_BLOCK_KIND}:
            nodes = with_blocks(self._rows(NODE), self._routed, now.nodes)
            is_same = len(nodes) == len(now.nodes) and all(now.nodes.get(name) is one for name, one in nodes.items())
            changed["nodes"] = now.nodes if is_same else MappingProxyType(nodes)
        of_statuses = {kind.table for kind in self._touched - self._changed}
        self._touched.clear()
        self._changed.clear()
        if self._problems_touched:
            changed["problems"] = self._all_problems()
            self._problems_touched = False
        if local is not None and local != now.local:
            changed["local"] = local
        if denied is not None and denied != now.denied:
            changed["denied"] = denied
        if passwords is not None and passwords != now.bgp_passwords:
            changed["bgp_passwords"] = passwords
        if self._listed != now.listed:
            changed["listed"] = self._listed
        if now.synced == bool(self._missing):
            changed["synced"] = not self._missing
        if changed:
            self._cluster = replace(now, **changed)
            if changed.keys() - of_statuses:
                self._on_cluster(self._cluster)

    def _all_problems(self) -> tuple[Problem, ...]:
        found = [p for group in self._problems.values() for p in group]
        found += [p for group in self._own_problems.values() for p in group]
        return tuple(sorted(set(found)))  # two kinds may read one object, and find the same


class _Table:
    """One kind's objects, by name and as the Cluster's table has them."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.objects: dict[ObjectName, Value] = {}
        is_by_name = kind.is_namespaced and kind.owner is None
        self.rows: dict[Any, Any] = self.objects if is_by_name else {}

    def put(self, name: ObjectName, value: Value | None) -> bool:
        """Take in an object, None for one that is gone; whether that is news."""
        old = self.objects.get(name)
        if old == value:
            return False
        if self._kind.owner is not None:
            self._regroup(self._kind.owner, name, old, value)
        elif not self._kind.is_namespaced:
            _put(self.rows, name.name, value)
        _put(self.objects, name, value)
        return True

    def _regroup(self, owner: Callable[[Any], ObjectName], name: ObjectName, old: Any, new: Any) -> None:
        """Take *new* in place of *old* into the rows of their owners."""
        after = owner(new) if new is not None else None
        for key in {owner(old) if old is not None else None, after} - {None}:
            others = [one for one in self.rows.get(key, ()) if one.name != name]
            own = [new] if key == after else []
            _put(self.rows, key, tuple(sorted(others + own, key=lambda one: one.name)))


def _put(rows: dict[Any, Any], key: object, value: object) -> None:
    if value is None or value == ():
        rows.pop(key, None)
    else:
        rows[key] = value
