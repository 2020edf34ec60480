"""A kernel of tables in memory that can be made to fail, and what must hold of its maps after every single write."""

from dataclasses import dataclass, field

from agent.reconcile.kernel import Tables
from agent.reconcile.sync import Settings, Sync
from maps import abi
from maps.memory import MemoryTable
from tests.agent.compile.objects import HERE


class Stopped(Exception):  # noqa: N818
    """The agent died here, or the kernel refused."""


@dataclass
class Fuse:
    """Blows at the write after *left*; None never does."""

    left: int | None = None
    writes: list = field(default_factory=list)  # (map, "write" or "remove")

    def burn(self, name, what):
        if self.left == 0:
            raise Stopped(name)
        if self.left is not None:
            self.left -= 1
        self.writes.append((name, what))


class FusedTable(MemoryTable):
    def __init__(self, spec, fuse, size=0):
        super().__init__(spec, size)
        self.fuse = fuse

    def update_packed(self, keys, values, n):
        self.fuse.burn(self.spec.name, "write")
        super().update_packed(keys, values, n)

    def delete(self, keys):
        self.fuse.burn(self.spec.name, "remove")
        super().delete(keys)


class MemoryKernel:
    """Keeps what it was asked for."""

    def __init__(self, **sizes):
        self.fuse = Fuse()
        specs = (abi.SERVICES, abi.BACKEND_SETS, abi.MAGLEVS, abi.BACKENDS, abi.ENDPOINTS, abi.POD_NETNS, abi.NODE)
        self.tables = Tables(**{s.name: FusedTable(s, self.fuse, sizes.get(s.name, 0)) for s in specs})
        self.pods, self.uplinks, self.routes = {}, (), ()

    def sync_pods(self, pods):
        self.pods = dict(pods)

    def sync_uplinks(self, devices):
        self.uplinks = devices

    def sync_routes(self, routes):
        self.routes = routes

    def held(self, name):
        return dict(getattr(self.tables, name).items())

    @property
    def node(self):
        return self.tables.node.get(0)


def brought(kernel, cluster, sync=None):
    """A Sync that has brought *kernel* to *cluster*, as one round of the loop does."""
    sync = sync or Sync(kernel, Settings(HERE))
    sync.offer(cluster)
    for _ in sync.services():
        pass
    for part in sync.steps():
        part()
    return sync


def assert_no_packet_meets_a_gap(kernel):
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
