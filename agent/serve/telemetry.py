"""Where the metrics' numbers come from: the running agent's maps, loop, watches and addresses."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from agent.kernel.programs.load import SPECS
from agent.model.address import Network
from agent.reconcile.loop import Loop
from agent.serve.metrics import MapUse, PoolUse, Sources, SyncUse, WatchUse
from maps import abi, libbpf
from maps.percpu import PerCpuTable
from maps.pins import Generation, held
from maps.table import Table

# counted by the sweep, or too large to be walked at each scrape
UNCOUNTED = frozenset({"flows", "affinities", "sock_peers", "fragments"})


def sources(
    generation: Generation,
    loop: Loop,
    watches: Callable[[], Iterator[WatchUse]],
    attachments: Callable[[], int],
    pools: Callable[[], Iterable[tuple[Network, int, int]]],
) -> Sources:
    """What one scrape reads; every call opens what it reads, so that nothing is held in between."""
    return Sources(
        maps=lambda: map_uses(generation),
        sync=lambda: _sync(loop),
        watches=watches,
        counters=lambda: _counters(generation),
        sweep=lambda: _sweep(generation),
        attachments=attachments,
        pools=lambda: (PoolUse(str(cidr), used, free) for cidr, used, free in pools()),
    )


def map_uses(generation: Generation) -> Iterator[MapUse]:
    """Every map that is pinned; with its entries where Python knows the map and counting is cheap."""
    for name in generation.pinned():
        if name not in SPECS:
            yield _private(name, generation)
            continue
        spec = SPECS[name]
        kind = PerCpuTable if spec.kind.is_per_cpu else Table
        table: Table[Any, Any] = kind.open(spec, generation.map_path(name))
        octets = libbpf.map_info(table.fd).memory_bytes
        entries = None if name in UNCOUNTED or spec.kind.is_array else table.count()
        yield MapUse(name, entries, table.max_entries, octets)
        table.close()


def _private(name: str, generation: Generation) -> MapUse:
    """A map that only programs read."""
    with held(generation.map_path(name)) as fd:
        info = libbpf.map_info(fd)
    return MapUse(name, None, info.max_entries, info.memory_bytes)


def _sync(loop: Loop) -> SyncUse:
    status = loop.status()
    age = (time.monotonic_ns() - status.last_sync_ns) / 1e9 if status.last_sync_ns else None
    return SyncUse(synced=status.synced, age_s=age, problems=len(status.problems))


def _counters(generation: Generation) -> Iterator[tuple[int, abi.Counter]]:
    table = PerCpuTable.open(abi.COUNTERS, generation.map_path("counters"))
    yield from table.items()
    table.close()


def _sweep(generation: Generation) -> abi.Sweep | None:
    table = Table.open(abi.SWEEPS, generation.map_path("sweeps"))
    found = table.get(0)
    table.close()
    return found
