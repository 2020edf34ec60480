"""A kernel of tables in memory that can be made to fail, and what must hold of its maps after every single write."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agent.compile.node import Links
from agent.compile.route import Route
from agent.compile.tunnel import Tunnel
from agent.model.attachment import Attachment
from agent.model.cluster import Cluster
from agent.model.local import Device
from agent.reconcile.kernel import Tables
from agent.reconcile.sync import Settings, Sync
from maps import abi
from maps.memory import MemoryTable
from maps.spec import MapSpec
from tests.agent.compile.objects import HERE

TUNNEL_IFINDEX = 99
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


class MemoryKernel:
    """Keeps what it was asked for."""

    def __init__(self, **sizes: int) -> None:
        self.fuse = Fuse()
        specs: tuple[MapSpec[Any, Any], ...] = (
            abi.SERVICES,
            abi.BACKEND_SETS,
            abi.MAGLEVS,
            abi.BACKENDS,
            abi.ENDPOINTS,
            abi.POD_NETNS,
            abi.LIMITS,
            abi.REMOTES,
            abi.PREFIXES,
            abi.NODE,
        )
        self.tables = Tables(**{s.name: FusedTable(s, self.fuse, sizes.get(s.name, 0)) for s in specs})
        self.pods: dict[int, str] = {}  # as given; they stay
        self.settled: list[int] = []
        self.forgotten = 0  # times
        self.uplinks: tuple[Device, ...] = ()
        self.routes: tuple[Route, ...] = ()
        self.tunnel: Tunnel | None = None
        self.mtus: list[tuple[set[str], int]] = []
        self.mended = 0  # pods, all times together

    def sync_pods(self, pods: Mapping[int, str]) -> None:
        """Remember."""
        self.pods |= pods

    def settle_pod(self, ifindex: int) -> None:
        """Remember."""
        self.settled.append(ifindex)

    def forget_pods(self) -> None:
        """Count."""
        self.forgotten += 1

    def mend_pods(self, attachments: tuple[Attachment, ...]) -> None:
        """Count."""
        self.mended += len(attachments)

    def resize_pods(self, attachments: tuple[Attachment, ...], mtu: int) -> None:
        """Remember."""
        self.mtus.append(({a.link.host_device for a in attachments}, mtu))

    def sync_uplinks(self, devices: tuple[Device, ...]) -> None:
        """Remember."""
        self.uplinks = devices

    def sync_tunnel(self, tunnel: Tunnel | None) -> Links:
        """Remember; a number that no device has."""
        self.tunnel = tunnel
        return Links(TUNNEL_IFINDEX) if tunnel else Links()

    def sync_routes(self, routes: tuple[Route, ...]) -> None:
        """Remember."""
        self.routes = routes

    def held(self, name: str) -> dict[Any, Any]:
        """A map's entries."""
        return dict(getattr(self.tables, name).items())

    @property
    def node(self) -> abi.Node:
        """The node's record."""
        found = self.tables.node.get(0)
        assert found is not None
        return found


def brought(kernel: MemoryKernel, cluster: Cluster, sync: Sync | None = None) -> Sync:
    """A Sync that has brought *kernel* to *cluster*, as one round of the loop does."""
    sync = sync or Sync(kernel, Settings(HERE))
    sync.offer(cluster)
    for _ in sync.services():
        pass
    for part in (sync.tunnel, sync.here, sync.pods, sync.uplinks, sync.routes, sync.no_tunnel, sync.wires, sync.mtus):
        part()
    return sync


def assert_no_packet_meets_a_gap(kernel: MemoryKernel) -> None:
    """Every service's tables are there, and name backends that are there."""
    maglevs, backends = kernel.held("maglevs"), kernel.held("backends")
    for key, service in kernel.held("services").items():
        if service.backends == 0:
            continue
        for part in range(service.parts):
            table = maglevs.get(abi.MaglevKey(service.set_id, part))
            assert table is not None, f"{key} has no table {part}"
            for slot in set(memoryview(table.slots).cast("H")):
                assert abi.BackendKey(service.set_id, slot) in backends, f"{key} leads to slot {slot}"
