"""This node's own records in the maps: limits, endpoints, pods' namespaces, and last the node with its generation."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from agent.compile.limit import at_rest
from agent.compile.node import NODE_KEY, Links, node_value
from agent.compile.records import LocalRecords
from agent.reconcile.kernel import Tables
from agent.reconcile.order import FLAGS
from maps import abi
from maps.apply import AnyTable, read, remove, write
from maps.plan import difference, refuse_overflow
from maps.record import Packed

GENERATIONS = 1 << 32


class LocalMaps:
    """What the maps of this node's own records hold, and the writing of it."""

    def __init__(self, tables: Tables) -> None:
        """Read back what is there.

        Raises:
            MapsError: the kernel refused.
        """
        self._tables = tables
        self._endpoints: dict[bytes, bytes] = {}
        self._pod_netns: dict[bytes, bytes] = {}
        self._limits: dict[bytes, bytes] = {}
        self._node = abi.Node.unpack(bytes(abi.Node.SIZE))
        # an earlier agent may have ended between a removal and the generation that tells of it
        self._stale = True
        self.read_again()

    @property
    def generation(self) -> int:
        """The node's generation as last written."""
        return self._node.generation

    def read_again(self) -> None:
        """Take what is in the maps for what was written."""
        self._endpoints = read(self._tables.endpoints)
        self._pod_netns = read(self._tables.pod_netns)
        self._limits = {key: at_rest(value) for key, value in read(self._tables.limits).items()}
        self._node = self._tables.node.get(0) or self._node

    def flows_look_again(self) -> None:
        """Raise the generation with the next write: a backend left, or what lies between nodes has changed."""
        self._stale = True

    def write(
        self,
        wanted: LocalRecords,
        *,
        known: bool,
        links: Links | None = None,
        gone: Collection[bytes] = (),
        prune: bool = True,
    ) -> int:
        """Make the maps equal to *wanted*; returns how many records that took.

        Without *prune* only *gone* addresses are removed. Without *known* the Node object has not been seen, and the
        record an earlier agent left is the better one; so are its *links* until ours are known.

        Raises:
            MapFull: one of the maps has no room; nothing was written to it.
        """
        stray = None if prune else frozenset(gone)
        limited = self._fill(self._tables.limits, self._limits, wanted.limits, stray)
        count = self._fill(self._tables.endpoints, self._endpoints, wanted.endpoints, stray)
        self._stale |= count > 0
        count += limited
        count += self._fill(self._tables.pod_netns, self._pod_netns, wanted.pod_netns, stray)
        if links is None:
            links = Links(self._node.tunnel_ifindex, self._node.cutter_ifindex)
        value = node_value(wanted.node, self._node.generation, links)
        return count + self._write_node(abi.Node.unpack(value) if self._fresh or known else self._node)

    def write_pods(self, endpoints: Packed, pod_netns: Packed, gone: Collection[bytes]) -> int:
        """Have these records too, and none under the keys in *gone*; returns as :meth:`write`, and raises as it.

        It costs what these pods cost, however many others there are. An address that the node claims as well is its
        own again with the next :meth:`write`.
        """
        count = _move(self._tables.endpoints, self._endpoints, endpoints, gone)
        self._stale |= count > 0
        count += _move(self._tables.limits, self._limits, {}, gone)
        count += _move(self._tables.pod_netns, self._pod_netns, pod_netns, gone)
        return count + self._write_node(self._node)

    def _fill(self, table: AnyTable, held: dict[bytes, bytes], wanted: Packed, stray: Collection[bytes] | None) -> int:
        """One map, whole; without what is not *stray* and is not wanted, where that is given."""
        changes = difference(wanted, held)
        leaving = tuple(key for key in changes.remove if stray is None or key in stray)
        return _put(table, held, changes.write, leaving)

    def _write_node(self, found: abi.Node) -> int:
        if found == self._node and not self._stale:
            return 0
        if self._stale:
            found = replace(found, generation=(found.generation + 1) % GENERATIONS)
        write(self._tables.node, {NODE_KEY: found.pack()})
        self._node, self._stale = found, False
        return 1

    @property
    def _fresh(self) -> bool:
        """Whether no agent has written the node's record before."""
        return self._node.netns_cookie == 0


def _move(table: AnyTable, held: dict[bytes, bytes], come: Packed, gone: Collection[bytes]) -> int:
    """Some of one map's entries."""
    changed = {key: value for key, value in come.items() if held.get(key) != value}
    return _put(table, held, changed, tuple(key for key in gone if key in held and key not in come))


def _put(table: AnyTable, held: dict[bytes, bytes], changed: Packed, leaving: Sequence[bytes]) -> int:
    """Write and remove; *held* advances with each write that succeeded.

    Nothing in these maps refers to another entry, so where old and new do not fit side by side the old ones go first.
    """
    room, size = table.max_entries, len(held) + len(changed.keys() - held.keys())
    refuse_overflow(table.spec.name, room, size - len(leaving), FLAGS[table.spec.name])
    if size > room:
        _remove(table, held, leaving)
    write(table, changed)
    held.update(changed)
    if size <= room:
        _remove(table, held, leaving)
    return len(changed) + len(leaving)


def _remove(table: AnyTable, held: dict[bytes, bytes], keys: Sequence[bytes]) -> None:
    remove(table, keys)
    for key in keys:
        del held[key]
