"""How much memory the agent takes for a whole cluster: from an API server's bytes to maps, and after it lists anew.

Runs watches, mirror, compile and reconcile as the agent does, over maps in the kernel that no program reads; the API
server is a process of its own, which streams what it is asked for. ``python bench/memory.py`` prints the numbers as
JSON; ``--trace`` adds what Python allocated, by room, which makes all else slow and large.
"""

import argparse
import gc
import json
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

sys.path.insert(0, str(Path(__file__).parents[1]))

import agent.run  # noqa: F401  the agent has all its modules
from agent.compile.settings import Settings
from agent.kube.client import Client, connect
from agent.model.local import Local
from agent.reconcile.loop import Loop
from agent.threads import Threads
from agent.watch.api import ApiSource
from agent.watch.decode.kinds import NEEDED
from agent.watch.mirror import Mirror
from bench.api_server import ApiServer, resident_mib, running, serve, until
from bench.sync import maps_only

SERVICES, ENDPOINTS, NODES = 10_000, 10, 100
LIMIT_MIB = 150
NODE = "node-1"
MIB = 1 << 20


def services() -> Iterator[dict[str, object]]:
    """Of one port each."""
    for i in range(SERVICES):
        address = str(IPv4Address(0x0A600000 + i))
        port = {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}
        spec = {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ports": [port]}
        yield {"metadata": _metadata(i), "spec": spec, "status": {"loadBalancer": {}}}


def slices() -> Iterator[dict[str, object]]:
    """As the controller writes them."""
    for i in range(SERVICES):
        labels = {"kubernetes.io/service-name": f"service-{i}", "app": f"service-{i}"}
        yield {
            "metadata": {**_metadata(i, "-abcde"), "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
            "endpoints": [_endpoint(i, j) for j in range(ENDPOINTS)],
        }


def nodes() -> Iterator[dict[str, object]]:
    """Each with a pod CIDR."""
    for i in range(NODES):
        address = {"type": "InternalIP", "address": f"192.0.2.{i + 1}"}
        metadata = {"name": f"node-{i}", "labels": {"topology.kubernetes.io/zone": f"zone-{i % 3}"}}
        yield {"metadata": metadata, "spec": {"podCIDR": f"10.{i}.0.0/24"}, "status": {"addresses": [address]}}


OBJECTS: dict[str, Callable[[], Iterator[dict[str, object]]]] = {
    "services": services,
    "endpointslices": slices,
    "nodes": nodes,
}


def _metadata(i: int, suffix: str = "") -> dict[str, object]:
    uid = f"00000000-0000-4000-8000-{i:012}"
    return {"name": f"service-{i}{suffix}", "namespace": f"team-{i % 50}", "uid": uid, "resourceVersion": "7"}


def _endpoint(i: int, j: int) -> dict[str, object]:
    number = i * ENDPOINTS + j
    node = number % NODES
    pod = {"kind": "Pod", "name": f"service-{i}-{j}", "namespace": f"team-{i % 50}", "uid": f"{number:036}"}
    return {
        "addresses": [str(IPv4Address(0x0A800000 + number))],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": f"node-{node}",
        "zone": f"zone-{node % 3}",
        "targetRef": pod,
    }


def measured(*, trace: bool = False) -> dict[str, float]:
    """All numbers of one run."""
    with TemporaryDirectory() as folder, running(__file__, Path(folder)) as server:
        return _measured(server, trace=trace)


def _measured(server: ApiServer, *, trace: bool) -> dict[str, float]:
    threads, dataplane, listed = Threads(), maps_only(), Event()
    backends = dataplane.tables["backends"]
    client = Client(lambda: connect(server.kubeconfig))
    found = {"idle_mib": resident_mib()}
    if trace:
        tracemalloc.start()
    loop = Loop(dataplane, Settings(NODE), threads=threads)
    mirror = Mirror(loop.offer, NEEDED)
    mirror.set_local(Local(netns_cookie=1))
    source = ApiSource(client, NODE, mirror, threads)
    loop.start()
    source.start()
    until(lambda: loop.status().synced and backends.count() == SERVICES * ENDPOINTS)
    listed.wait(1)
    found["synced_mib"] = resident_mib()
    if trace:
        found |= _by_room()
    for _ in range(3):
        before = [status.restarts for status in source.status()]
        server.forget.touch()
        until(lambda before=before: all(s.restarts > b for s, b in zip(source.status(), before, strict=True)))  # type: ignore[misc]
        until(lambda: not any(status.trouble for status in source.status()) and not server.forget.exists())
        listed.wait(1)
    found["relisted_mib"] = resident_mib()
    gc.collect()
    found["collected_mib"] = resident_mib()
    source.stop()
    loop.stop()
    return {name: round(value, 1) for name, value in found.items()}


def _by_room() -> dict[str, float]:
    """Octets for each endpoint that Python allocated and holds, by the room that did."""
    held: Counter[str] = Counter()
    for found in tracemalloc.take_snapshot().statistics("filename"):
        parts = Path(found.traceback[0].filename).parts
        room = "/".join(parts[parts.index("agent") :][:3]) if "agent" in parts else parts[-1]
        held[room] += found.size
    return {f"octets {room}": size / (SERVICES * ENDPOINTS) for room, size in held.most_common(14)}


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--trace", action="store_true", help="what Python allocated, by room")
    parser.add_argument("--no-limits", action="store_true")
    options = parser.parse_args()
    if options.serve:
        serve(OBJECTS, options.serve)
    numbers = measured(trace=options.trace)
    print(json.dumps(numbers, indent=1))
    return 1 if numbers["relisted_mib"] > LIMIT_MIB and not (options.no_limits or options.trace) else 0


if __name__ == "__main__":
    sys.exit(main())
