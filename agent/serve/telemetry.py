"""Where the metrics' numbers come from: the running agent's maps, loop, watches and addresses."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing

from agent.model.address import Network
from agent.reconcile.loop import Loop
from agent.serve.metrics import MapUse, PartUse, PoolUse, Sources, SyncUse, WatchUse, XdpUse
from agent.serve.policy_metrics import PolicyUse, policy_use
from maps import abi
from maps.flow_arrays import whole_info
from maps.pins import Generation, held
from maps.registry import open_table


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
        conntrack_gc=lambda: _conntrack_gc(generation),
        attachments=attachments,
        policy=lambda: _policy(generation, loop),
        pools=lambda: (PoolUse(str(cidr), used, free) for cidr, used, free in pools()),
    )


def map_uses(generation: Generation) -> Iterator[MapUse]:
    """Every map that is pinned; with its entries where the registry says that counting them is cheap."""
    for name in generation.pinned():
        with held(generation.map_path(name)) as fd:
            info = whole_info(fd, generation.map_path(name))
        spec = abi.MAPS.get(name)
        entries = None
        if spec is not None and spec.counted:
            with closing(open_table(spec, generation.maps)) as table:
                entries = table.count()
        yield MapUse(name, entries, info.max_entries, info.memory_bytes)


def _sync(loop: Loop) -> SyncUse:
    status = loop.status()
    age = (time.monotonic_ns() - status.last_sync_ns) / 1e9 if status.last_sync_ns else None
    parts = tuple(PartUse(part.name, not part.error, part.failures) for part in status.parts)
    return SyncUse(status.synced, age, len(status.problems), status.failures, status.drift, parts)


def _counters(generation: Generation) -> Iterator[tuple[int, abi.Counter]]:
    with closing(open_table(abi.COUNTERS, generation.maps)) as table:
        yield from table.items()


def _policy(generation: Generation, loop: Loop) -> PolicyUse:
    with closing(open_table(abi.POLICY_COUNTERS, generation.maps)) as table:
        return policy_use(table, loop.desired())


def xdp_uses(loop: Loop, modes: Mapping[int, str]) -> Iterator[XdpUse]:
    """How each uplink has the XDP program, by what is attached by ifindex."""
    for device in loop.desired().uplinks:
        yield XdpUse(device.name, modes.get(device.ifindex, "tc"))


def _conntrack_gc(generation: Generation) -> abi.GcRun | None:
    with closing(open_table(abi.GC_RUNS, generation.maps)) as table:
        return table.get(0)
