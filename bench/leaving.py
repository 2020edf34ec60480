"""How long a backend that is about to end, or to come, goes on to be left out or asked, among thousands of Services.

The agent is a process, as it ships; a server, a process too, streams the Services and their EndpointSlices. A pod asks
one of them by datagrams each of which begins a flow. The time is from before the event is written until the first
datagram was sent after which none reaches the backend that leaves, or that reached the one that came.
``python bench/leaving.py`` prints the numbers as JSON.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import policed_cluster
from bench.api_server import ApiServer, Object, Objects, serve
from bench.policed_node import attach, policed_node, ready_agent
from bench.probe import Probe, probe
from bench.sets import Result

SERVICES = 5_000  # beside the one that is asked
ASKED = "10.96.255.1"
PORT = 9999
CHANGES = 50  # of each kind
LIMIT_MS = 100.0
QUIET_S = 0.1  # what the change before left to do is done
SLICES = "endpointslices"
LEAVES, STAYS = 1, 2  # pods of the node, by their places


def served(addresses: Path) -> Objects:
    """All objects; what is asked is there once its pods have addresses."""
    base = policed_cluster.served(addresses, policies=False)
    if not addresses.exists():
        return base
    given = tuple(json.loads(addresses.read_text()).values())
    return {**base, "services": _services, SLICES: lambda: _slices(given)}


def _services() -> Iterator[Object]:
    for i in range(SERVICES):
        yield _service(f"s{i}", f"10.96.{i >> 8}.{i & 0xFF}")
    yield _service("asked", ASKED)


def _slices(given: tuple[tuple[str, ...], ...]) -> Iterator[Object]:
    for i in range(SERVICES):
        yield _slice(f"s{i}", {f"10.99.{i >> 8}.{i & 0xFF}": True, f"10.98.{i >> 8}.{i & 0xFF}": True})
    yield _slice("asked", {given[LEAVES][0]: True, given[STAYS][0]: True})


def _service(name: str, address: str) -> Object:
    ports = [{"port": PORT, "targetPort": PORT, "protocol": "UDP"}]
    spec = {"clusterIP": address, "clusterIPs": [address], "ipFamilies": ["IPv4"], "ports": ports}
    return {"metadata": {"namespace": "ns0", "name": name}, "spec": spec}


def _slice(name: str, endpoints: dict[str, bool]) -> Object:
    """The endpoints of a Service by address, and whether each stays: who does not is ending, and serves until then."""
    return {
        "metadata": {"namespace": "ns0", "name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"port": PORT, "protocol": "UDP"}],
        "endpoints": [
            {
                "addresses": [address],
                "nodeName": policed_cluster.NODE,
                "conditions": {"ready": stays, "serving": True, "terminating": not stays},
            }
            for address, stays in endpoints.items()
        ],
    }


def measured(changes: int = CHANGES) -> dict[str, list[float]]:
    """Milliseconds of each change, by what it is."""
    with ExitStack() as stack:
        node = stack.enter_context(policed_node("leaving"))
        with ready_agent(node, __file__, policies=False):
            given = tuple(attach(node).values())
        agent = stack.enter_context(ready_agent(node, __file__, policies=False))
        asking = stack.enter_context(probe(PORT, node.pods[0], node.pods[LEAVES]))
        asking.until_passes(ASKED)
        took: dict[str, list[float]] = {"a backend that is ending": [], "a backend that comes": []}
        for _ in range(changes):
            for found, stays in zip(took.values(), (False, True), strict=True):
                endpoints = {given[LEAVES][0]: stays, given[STAYS][0]: True}
                found.append(_took(agent.server, asking, _slice("asked", endpoints), comes=stays))
        return took


def _took(server: ApiServer, asking: Probe, content: Object, *, comes: bool) -> float:
    time.sleep(QUIET_S)
    began = time.monotonic()
    server.say(SLICES, "MODIFIED", content)
    return ((asking.until_passes if comes else asking.until_stops)(ASKED) - began) * 1e3


def results(_: int) -> list[Result]:
    """As ``python -m bench`` prints them."""
    found = measured()
    told = [Result(f"{name}, median", statistics.median(took), "ms") for name, took in found.items()]
    return told + [Result(f"{name}, the longest", max(took), "ms", at_most=LIMIT_MS) for name, took in found.items()]


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--addresses", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--changes", type=int, default=CHANGES, help="of each kind")
    options = parser.parse_args()
    if options.serve:
        serve(served(options.addresses), options.serve)
        return 0
    print(json.dumps({name: (statistics.median(t), max(t)) for name, t in measured(options.changes).items()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
