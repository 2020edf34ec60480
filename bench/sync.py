"""How fast Kubernetes objects become programmed maps: a whole cluster, and one endpoint's change in it.

Runs compile and reconcile as the agent does, on its real loop, over maps in the kernel that no program reads.
``python bench/sync.py`` prints the numbers as JSON, and fails when one is over its limit (``--no-limits`` only prints).
"""

import argparse
import gc
import json
import statistics
import sys
import time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType

sys.path.insert(0, str(Path(__file__).parents[1]))

from agent.compile.settings import Settings
from agent.model.address import ADDRESS_BYTES, Family, mapped_octets
from agent.model.cluster import Cluster
from agent.model.local import Local
from agent.model.name import ObjectName
from agent.model.node import Node
from agent.model.service import (
    EndpointPort,
    EndpointSlice,
    EndpointState,
    Protocol,
    Service,
    ServicePort,
    endpoint_slice,
)
from agent.reconcile.loop import Loop
from agent.reconcile.parts import Dataplane
from agent.reconcile.round import Rounds
from maps.registry import agent_maps
from maps.table import Table

FULL_LIMIT_S = 3.0
CHANGE_LIMIT_MS = 20.0
CHANGE_CPU_LIMIT_MS = 2.0  # with 5,000 services
NODE = "node-1"


class NothingLeft:
    """No pods, so nothing of theirs that can wait."""

    is_left = False

    def piece(self) -> None:
        """Never called."""


def maps_only() -> Dataplane:
    """New maps in the kernel, of the sizes that the source gives them; no parts."""
    tables = {spec.name: Table.create(spec) for spec in agent_maps()}
    return Dataplane(tables, (), NothingLeft())


def cluster(services: int, endpoints: int) -> Cluster:
    """*services* with one port and *endpoints* each, spread over five nodes."""
    objects: dict[ObjectName, Service] = {}
    slices: dict[ObjectName, tuple[EndpointSlice, ...]] = {}
    states = [EndpointState(node=f"node-{number}") for number in range(5)]
    for i in range(services):
        name = ObjectName(f"team-{i % 50}", f"service-{i}")
        port = ServicePort("http", Protocol.TCP, 80)
        objects[name] = Service(name, (IPv4Address(0x0A600000 + i),), ports=(port,))
        backends = (
            (mapped_octets(IPv4Address(0x0A000000 + i * endpoints + j)), states[j % 5]) for j in range(endpoints)
        )
        target = EndpointPort("http", Protocol.TCP, 8080)
        slice_name = ObjectName(name.namespace, f"{name.name}-abcde")
        slices[name] = (endpoint_slice(slice_name, name, (target,), Family.IPV4, backends),)
    node = Node(NODE, (IPv4Address("192.0.2.1"),))
    return Cluster(
        MappingProxyType(objects), MappingProxyType(slices), {NODE: node}, local=Local(netns_cookie=1), synced=True
    )


def with_one_endpoint_changed(before: Cluster, turn: int) -> Cluster:
    """The next Cluster as watch makes it: one slice is new, all else is the identical value."""
    name = list(before.slices)[turn * 197 % len(before.slices)]
    (old,) = before.slices[name]
    moved = mapped_octets(IPv4Address(0x0B000000 + turn)) + old.addresses[ADDRESS_BYTES:]
    slices = dict(before.slices)
    slices[name] = (replace(old, addresses=moved),)
    return replace(before, slices=MappingProxyType(slices))


def seconds(loop: Loop, offered: Cluster) -> float:
    """From the moment a Cluster is offered until the loop says that it is written."""
    rounds = loop.status().syncs
    started = time.perf_counter()
    loop.offer(offered)
    while loop.status().syncs == rounds:
        time.sleep(0.0001)
    return time.perf_counter() - started


def measured(services: int, endpoints: int, changes: int) -> dict[str, float]:
    """All numbers of one run."""
    dataplane = maps_only()
    now = cluster(services, endpoints)
    gc.collect()
    loop = Loop(dataplane, Settings(NODE))
    loop.start()
    full = seconds(loop, now)
    held = dataplane.tables["backends"].count()
    if held != services * endpoints:
        raise SystemExit(f"{held} backends are in the map, not {services * endpoints}: {loop.status().error}")
    each = []
    for turn in range(changes):
        now = with_one_endpoint_changed(now, turn)
        each.append(seconds(loop, now) * 1e3)
    loop.stop()
    again = Loop(dataplane, Settings(NODE))
    again.start()
    adopted = seconds(again, now)
    again.stop()
    return {
        "services": services,
        "endpoints": services * endpoints,
        "full_sync_s": round(full, 3),
        "change_median_ms": round(statistics.median(each), 2),
        "change_worst_ms": round(max(each), 2),
        "changes": changes,
        "adopt_s": round(adopted, 3),
    }


def change_cpu_ms(services: int, endpoints: int, changes: int = 40) -> float:
    """The processor time that the reconcile thread has for one endpoint's change, median."""
    now = cluster(services, endpoints)
    rounds = Rounds(maps_only(), Settings(NODE), (), time.monotonic_ns)
    each = []
    for turn in range(changes + 1):
        began = time.thread_time()
        for _ in rounds.round(now):
            pass
        each.append((time.thread_time() - began) * 1e3)
        now = with_one_endpoint_changed(now, turn)
    return round(statistics.median(each[1:]), 2)  # the first was all of it


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--endpoints", type=int, default=10, help="of each service")
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--no-limits", action="store_true")
    options = parser.parse_args()
    numbers = measured(options.services, options.endpoints, options.changes)
    numbers["change_cpu_ms"] = change_cpu_ms(options.services // 2, options.endpoints)
    print(json.dumps(numbers))
    slow = numbers["full_sync_s"] > FULL_LIMIT_S or numbers["change_median_ms"] > CHANGE_LIMIT_MS
    slow |= numbers["change_cpu_ms"] > CHANGE_CPU_LIMIT_MS
    return 1 if slow and not options.no_limits else 0


if __name__ == "__main__":
    sys.exit(main())
