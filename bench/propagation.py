"""How long a change takes from the API server to the first packet that it is right for, in a large policed cluster.

The agent is a process, as it ships; a server, a process too, streams the cluster of ``bench/policed_cluster.py``.
A pod of this node asks another one, or one of another node, by datagrams each of which begins a flow. A change takes
from before its event is written until the first of them was sent that is judged by it: that passes, or after which
none does.
``python bench/propagation.py`` prints the numbers as JSON.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import policed_cluster
from bench.api_server import ApiServer, Object, serve
from bench.policed_cluster import MEANT, NOT_MEANT, OTHER_PORT, PORT, WHERE, Addresses, asks, far, near, served
from bench.policed_node import Agent, attach, policed_node, ready_agent
from bench.probe import Probe, probe
from bench.sets import Result

CHANGES = 30  # of each kind, in each of two ways
CHANGE_LIMIT_MS, MEMORY_LIMIT_MIB, SYNC_LIMIT_MS = 50.0, 150.0, 2000.0
QUIET_S = 0.1  # what the change before left to do is done
PODS_OF_NODE, PODS, POLICIES = "pods of a node", "pods", "networkpolicies"  # what is watched


@dataclass(frozen=True, slots=True)
class Change:
    """Events, and an address that may be asked since then, or not any more."""

    kind: str
    events: tuple[tuple[str, str, Object], ...]  # resource, event, object
    address: str
    allows: bool

    @property
    def name(self) -> str:
        """Its kind and its way."""
        return f"{self.kind} {'allows' if self.allows else 'denies'}"


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured: milliseconds of each change, by its name, and of a first sync; MiB."""

    changes: dict[str, list[float]]
    sync_ms: float
    none_mib: float
    synced_mib: float
    changed_mib: float


def measured(changes: int = CHANGES) -> Found:
    """All numbers of one run."""
    with ExitStack() as stack:
        node = stack.enter_context(policed_node("propagation"))
        with ready_agent(node, __file__, policies=False) as agent:
            addresses = attach(node)
            time.sleep(QUIET_S)
        with ready_agent(node, __file__, policies=False) as agent:
            none_mib = agent.resident_mib()
        agent = stack.enter_context(ready_agent(node, __file__, policies=True))
        asked = (node.pods[1], node.pods[-1])  # the near pod's namespace, the other node
        pods = stack.enter_context(probe(PORT, node.pods[0], *asked))
        return _measured(agent, pods, addresses, changes, none_mib)


def _measured(agent: Agent, pods: Probe, addresses: Addresses, changes: int, none_mib: float) -> Found:
    near_address = addresses[policed_cluster.NEAR.name][0]
    if pods.passes(near_address):
        raise SystemExit("propagation: the agent is ready, and policy is not in force")
    pods.until_passes(str(WHERE))  # the uplink has its neighbour
    synced_mib = agent.resident_mib()
    took: dict[str, list[float]] = {}
    for change in _changes(addresses, changes):
        took.setdefault(change.name, []).append(_took(agent.server, pods, change))
    return Found(took, agent.sync_ms, none_mib, synced_mib, agent.resident_mib())


def _took(server: ApiServer, pods: Probe, change: Change) -> float:
    """The milliseconds of one change; before it the address is judged the other way.

    Raises:
        SystemExit: it is not, so the change would be none.
    """
    time.sleep(QUIET_S)
    if pods.passes(change.address) == change.allows:
        raise SystemExit(f"propagation: {change.name}: so it was before")
    began = time.monotonic()
    for event in change.events:
        server.say(*event)
    until = pods.until_passes if change.allows else pods.until_stops
    return (until(change.address) - began) * 1e3


def _changes(addresses: Addresses, changes: int) -> Iterator[Change]:
    """Each kind of change, turn by turn denying what was allowed and allowing it again."""
    for _ in range(changes):
        yield from _policy_and_labels(addresses)
    for turn in range(changes):
        yield from _addresses(turn)


def _policy_and_labels(addresses: Addresses) -> Iterator[Change]:
    where, near_address = str(WHERE), addresses[policed_cluster.NEAR.name][0]
    for allows in (False, True):
        policy = asks(PORT if allows else OTHER_PORT)
        yield Change("a policy's port", ((POLICIES, "MODIFIED", policy),), where, allows)
    for allows in (False, True):
        pod = far(WHERE, MEANT if allows else NOT_MEANT)
        yield Change("the label of another node's pod", ((PODS, "MODIFIED", pod),), where, allows)
    for allows in (True, False):
        pod = near(addresses, MEANT if allows else NOT_MEANT)
        both = tuple((kind, "MODIFIED", pod) for kind in (PODS_OF_NODE, PODS))
        yield Change("the label of this node's pod", both, near_address, allows)


def _addresses(turn: int) -> Iterator[Change]:
    """Another node's pod has another address, and its first one again; another one comes, and goes."""
    moved, new = WHERE + 1 + 2 * turn, WHERE + 2 + 2 * turn
    for where, allows in ((moved, True), (WHERE, False)):
        yield Change("a pod's address", ((PODS, "MODIFIED", far(where, MEANT)),), str(moved), allows)
    for event, allows in (("ADDED", True), ("DELETED", False)):
        pod = far(new, MEANT, f"new{turn}")
        yield Change("a pod that comes or goes", ((PODS, event, pod),), str(new), allows)


def results(_: int) -> list[Result]:
    """As ``python -m bench`` prints them."""
    found = measured()
    ready = f"{policed_cluster.POLICIES:,} policies, {policed_cluster.PODS:,} pods"
    told = [
        Result(f"{name}, median", statistics.median(took), "ms", at_most=CHANGE_LIMIT_MS)
        for name, took in found.changes.items()
    ]
    told += [Result(f"{name}, p90", _p90(took), "ms") for name, took in found.changes.items()]
    return [
        *told,
        Result(f"{ready}: from the first list to readiness", found.sync_ms, "ms", at_most=SYNC_LIMIT_MS),
        Result("the agent's memory without policies", found.none_mib, "MiB"),
        Result(f"with {ready}", found.synced_mib, "MiB", at_most=MEMORY_LIMIT_MIB),
        Result("more than without", found.synced_mib - found.none_mib, "MiB"),
        Result("after all changes", found.changed_mib, "MiB", at_most=MEMORY_LIMIT_MIB),
    ]


def _p90(took: list[float]) -> float:
    return statistics.quantiles(took, n=10, method="inclusive")[-1] if len(took) > 1 else took[0]


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--addresses", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--policies", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--changes", type=int, default=CHANGES, help="of each kind, each way")
    options = parser.parse_args()
    if options.serve:
        serve(served(options.addresses, policies=options.policies), options.serve)
        return 0
    found = measured(options.changes)
    numbers = {name: (statistics.median(took), _p90(took)) for name, took in found.changes.items()}
    rest = {key: getattr(found, key) for key in ("sync_ms", "none_mib", "synced_mib", "changed_mib")}
    print(json.dumps({**numbers, **rest}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
