"""A node's maps and parts in memory that can be made to fail, and what must hold of maps after every single write."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agent.compile.desired import Desired
from agent.compile.settings import Settings
from agent.model.attachment import Attachment
from agent.model.cluster import Cluster
from agent.reconcile.parts import Dataplane
from agent.reconcile.round import Rounds
from maps import abi
from maps.memory import MemoryTable
from maps.registry import agent_maps
from maps.spec import MapSpec
from tests.agent.compile.objects import SETTINGS

K = TypeVar("K")
V = TypeVar("V")


class Stopped(Exception):  # noqa: N818
    """The agent died here, or the kernel refused."""


@dataclass
class Fuse:
    """Blows at the write after *left*; None never does."""

    left: int | None = None
    writes: list[tuple[str, str]] = field(default_factory=list)  # (map, "write" or "remove")

    def burn(self, name: str, what: str) -> None:
        """A write, unless the fuse blows."""
        if self.left == 0:
            raise Stopped(name)
        if self.left is not None:
            self.left -= 1
        self.writes.append((name, what))


class FusedTable(MemoryTable[K, V]):
    """Every write burns the fuse first."""

    def __init__(self, spec: MapSpec[K, V], fuse: Fuse, size: int = 0) -> None:
        super().__init__(spec, size)
        self.fuse = fuse

    def update_packed(self, keys: bytes, values: bytes, n: int) -> None:
        """Burn, then write."""
        if n:
            self.fuse.burn(self.spec.name, "write")
        super().update_packed(keys, values, n)

    def delete_packed(self, keys: bytes, n: int) -> None:
        """Burn, then delete."""
        if n:
            self.fuse.burn(self.spec.name, "remove")
        super().delete_packed(keys, n)


class FakePart:
    """A part that remembers what was applied, in two pieces, or fails with *refusal*."""

    def __init__(self, name: str, wanted: Callable[[Desired], object], *, vital: bool, before: bool = False) -> None:
        self.name, self.is_vital, self.is_before_maps, self.is_watched = name, vital, before, True
        self.wanted = wanted
        self.applied: list[Any] = []
        self.resyncs = 0
        self.refusal: Exception | None = None

    def apply(self, wanted: object) -> Iterator[None]:
        """Remember *wanted*, unless it is to fail."""
        yield
        if self.refusal is not None:
            raise self.refusal
        self.applied.append(wanted)
        yield

    def resync(self) -> None:
        """Count the call."""
        self.resyncs += 1

    @property
    def last(self) -> Any:
        """What was applied last."""
        return self.applied[-1] if self.applied else None


class FakeDeferred:
    """Deferred work on pods' devices, one piece each."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.done: list[int] = []
        self.refusal: Exception | None = None

    @property
    def is_left(self) -> bool:
        """Whether some wait."""
        return bool(self.waiting)

    def piece(self) -> None:
        """Do the next device's work, or fail with *refusal* after it."""
        self.done.append(self.waiting.pop(0))
        if self.refusal is not None:
            raise self.refusal


class MemoryKernel:
    """Maps and parts of a node, in memory."""

    def __init__(self, **sizes: int) -> None:
        self.fuse = Fuse()
        self.tables: dict[str, FusedTable[Any, Any]] = {
            spec.name: FusedTable(spec, self.fuse, sizes.get(spec.name, 0)) for spec in agent_maps()
        }
        self.tunnel = FakePart("tunnel", lambda desired: desired.tunnel, vital=True, before=True)
        self.pods = FakePart(
            "pod programs", lambda d: {a.link.ifindex: a.link.host_device for a in d.attachments.values()}, vital=True
        )
        self.uplinks = FakePart("uplinks", lambda d: d.uplinks if d.synced else None, vital=True)
        self.routes = FakePart("routes", lambda d: tuple(d.routes.values()) if d.synced else None, vital=False)
        self.mtu = FakePart("pod interfaces", lambda d: d.pod_mtu or None, vital=False)
        self.deferred = FakeDeferred()

    @property
    def dataplane(self) -> Dataplane:
        """All of it."""
        return Dataplane(self.tables, (self.tunnel, self.pods, self.uplinks, self.routes, self.mtu), self.deferred)

    def held(self, name: str) -> dict[Any, Any]:
        """A map's entries."""
        return dict(self.tables[name].items())

    def written(self, name: str) -> dict[Any, Any]:
        """What an array has that is not zeros."""
        return {key: value for key, value in self.tables[name].items() if any(value.pack())}

    @property
    def node(self) -> abi.Node:
        """The node's record."""
        found: abi.Node | None = self.tables["node"].get(0)
        assert found is not None
        return found


def started(kernel: MemoryKernel, settings: Settings = SETTINGS, attachments: Iterable[Attachment] = ()) -> Rounds:
    """What an agent that starts has of the node."""
    return Rounds(kernel.dataplane, settings, attachments, lambda: 0)


def brought(kernel: MemoryKernel, cluster: Cluster, rounds: Rounds | None = None) -> Rounds:
    """Rounds that have brought *kernel* to *cluster*, and to the attachments that stand in it."""
    wanted = cluster.local.attachments
    rounds = rounds or started(kernel, attachments=wanted)
    for one in rounds.attachments:
        if one not in wanted:
            rounds.detach(one)
    for one in wanted:
        if one not in rounds.attachments:
            rounds.attach(one)
    for _ in rounds.round(cluster):
        pass
    for error in (rounds.map_error, *rounds.parts.errors(vital=True), *rounds.parts.errors(vital=False)):
        if error is not None:
            raise error
    return rounds


def assert_no_packet_meets_a_gap(kernel: MemoryKernel) -> None:
    """Every service's tables are there, and name backends that are there."""
    maglevs, backends = kernel.held("maglevs"), kernel.held("backends")
    for key, service in kernel.held("services").items():
        if service.backends == 0:
            continue
        if service.scheduler in {abi.Scheduler.SCHEDULER_RR, abi.Scheduler.SCHEDULER_LC}:
            _assert_ring(kernel, key, service)
            continue
        for part in range(service.parts):
            table = maglevs.get(abi.MaglevKey(service.set_id, part))
            assert table is not None, f"{key} has no table {part}"
            for slot in set(memoryview(table.slots).cast("H")):
                assert abi.BackendKey(service.set_id, slot) in backends, f"{key} leads to slot {slot}"


def _assert_ring(kernel: MemoryKernel, key: abi.ServiceKey, service: abi.Service) -> None:
    """Its ring is whole and names backends that are there, and so is whose turn it is."""
    rings, backends, set_id = kernel.held("rings"), kernel.held("backends"), service.set_id
    first = rings.get(abi.RingKey(set_id, 0))
    assert first is not None, f"{key} has no ring"
    assert first.length
    slots: set[int] = set()
    for part in range(-(-first.length // abi.RING_PLACES)):
        slots |= set(memoryview(rings[abi.RingKey(set_id, part)].slots).cast("H"))
    for slot in slots:
        assert abi.BackendKey(set_id, slot) in backends, f"{key} leads to slot {slot}"
    if service.scheduler == abi.Scheduler.SCHEDULER_RR:
        assert set_id in kernel.held("turns"), f"{key} has no turns"
