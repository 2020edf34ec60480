"""How long a change takes from the API server to the first packet that it is right for, in a large policed cluster.

A server of its own process streams the cluster of ``bench/policy_compile.py``; watches, mirror, compile and reconcile
are the agent's, and so are the program and the maps. After each change new flows are sent from a pod of this node, one
after the other, until one is judged by the change. ``python bench/propagation.py`` prints the numbers as JSON.
"""

import argparse
import json
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

import agent.run  # noqa: F401  the agent has all its modules
from agent.compile.settings import Settings
from agent.kube.client import Client, connect
from agent.model.attachment import Veth
from agent.model.cluster import Cluster
from agent.model.local import Local
from agent.model.name import ObjectName
from agent.model.policy import Operator, PeerPod, PodPeer, Policy, PortRange, Requirement, Rule, Selector
from agent.model.service import Protocol
from agent.reconcile.loop import Loop
from agent.reconcile.parts import Dataplane
from agent.threads import Threads
from agent.watch.api import ApiSource
from agent.watch.decode.kinds import NEEDED, POLICIES
from agent.watch.decode.peer_pod import PEER_POD
from agent.watch.mirror import Mirror
from bench import objects
from bench.api_server import ApiServer, Object, Objects, resident_mib, running, serve, until
from bench.plane import NODE_ADDRESS, Plane
from bench.policy_compile import attachments, cluster
from bench.sets import Result
from bench.sync import NothingLeft
from maps import abi, libbpf
from maps.registry import agent_maps
from maps.table import Table

NODE = "n1"
MANY_POLICIES, MANY_PODS = 1_000, 5_000
CHANGE_LIMIT_MS, MEMORY_LIMIT_MIB, SYNC_LIMIT_MS = 50.0, 150.0, 2000.0
LOOPBACK, TC_ACT_SHOT = 1, 2
CONTEXT = struct.pack("<40xI", LOOPBACK).ljust(192, b"\0")  # struct __sk_buff, that comes in by this device
UDP, PORT, OTHER_PORT = 17, 9999, 9998
ASKING = ObjectName("ns0", "p0")  # the first of the node's pods
FAR = ObjectName("ns0", "far")  # the pod of another node that is asked, while its label says so
ASKED = (("probe", "yes"),)
WHERE = IPv4Address("10.99.0.1")


def _network() -> Cluster:
    return cluster(MANY_POLICIES, MANY_PODS)


def _pods(of_node: str = "") -> Iterator[Object]:
    made = _network()
    for i, one in enumerate(made.peers.values()):
        node = NODE if one.name in made.pods else "n2"
        if node == of_node or not of_node:
            yield objects.pod(one, node, f"u{i}")
    if not of_node:
        yield _far(WHERE, ASKED)


def _far(where: IPv4Address, labels: tuple[tuple[str, str], ...]) -> Object:
    return objects.pod(PeerPod(FAR, labels, (where,)), "n2", "far")


def _probe(port: int) -> Policy:
    """The policy that allows a pod to ask the one of another node at a port."""
    subject = PodPeer(pods=_has("pod", ASKING.name), namespace=ASKING.namespace)
    rule = Rule(
        peers=(PodPeer(pods=_has("probe", "yes"), namespace=FAR.namespace),),
        ports=(PortRange(Protocol.UDP, port, port),),
    )
    return Policy(ObjectName(ASKING.namespace, "probe"), subject, None, (rule,))


def _has(key: str, value: str) -> Selector:
    return Selector((Requirement(key, Operator.IN, frozenset({value})),))


def _policies() -> Iterator[Object]:
    yield from map(objects.network_policy, _network().policies.values())
    yield objects.network_policy(_probe(PORT))


def _nodes() -> Iterator[Object]:
    for name, address in ((NODE, NODE_ADDRESS), ("n2", NODE_ADDRESS + 1)):
        told = [{"type": "InternalIP", "address": str(address)}]
        yield {"metadata": {"name": name}, "status": {"addresses": told}}


OBJECTS: Objects = {
    "namespaces": lambda: map(objects.namespace, _network().namespaces.values()),
    "nodes": _nodes,
    "networkpolicies": _policies,
    "pods": _pods,
    "pods of a node": partial(_pods, NODE),
}


@dataclass(slots=True)
class Sender:
    """The pod that asks: each packet begins a flow."""

    program: int
    source: IPv4Address
    mac: str
    _ports: Iterator[int]

    def passes(self, where: IPv4Address) -> bool:
        """Whether a datagram for an address is not dropped."""
        head = struct.pack("!BBHHHBBH", 0x45, 0, 36, 1, 0x4000, 64, UDP, 0) + self.source.packed + where.packed
        datagram = struct.pack("!HHHHQ", 1024 + next(self._ports) % 60_000, PORT, 16, 0, 0)
        frame = abi.NODE_MAC + bytes.fromhex(self.mac.replace(":", "")) + b"\x08\x00" + head + datagram
        return libbpf.test_run(self.program, frame, context=CONTEXT).retval != TC_ACT_SHOT


def measured(changes: int = 40) -> dict[str, float]:
    """All numbers of one run: milliseconds, and MiB."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        server = stack.enter_context(running(__file__, folder))
        plane = Plane.load()
        stack.callback(plane.close)
        missing = {spec.name: Table.create(spec) for spec in agent_maps() if spec.name not in plane.tables}
        dataplane = Dataplane({**missing, **plane.tables}, (), NothingLeft())
        return _measured(server, plane, dataplane, changes)


def _measured(server: ApiServer, plane: Plane, dataplane: Dataplane, changes: int) -> dict[str, float]:
    served = tuple(replace(one, link=Veth(one.link.host_device, LOOPBACK)) for one in attachments())
    threads = Threads()
    found = {"idle_mib": resident_mib()}
    loop = Loop(dataplane, Settings(NODE, network_policy=True), threads=threads)
    loop.adopt(served)
    mirror = Mirror(loop.offer, (*NEEDED, *POLICIES))
    mirror.set_local(Local(netns_cookie=1))
    client = Client(lambda: connect(server.kubeconfig))
    source = ApiSource(client, NODE, mirror, threads, (*NEEDED, *POLICIES, PEER_POD))
    one = served[0]
    sender = Sender(plane.programs["pod_ingress"], one.ipv4 or WHERE, one.mac, count())
    began = time.perf_counter()
    loop.start()
    source.start()
    until(lambda: loop.status().synced and sender.passes(WHERE), every_s=0.005)
    found["sync_ms"] = (time.perf_counter() - began) * 1e3
    found["synced_mib"] = resident_mib()
    for what, times in _changes(server, sender, changes).items():
        found[f"{what}_ms"] = statistics.median(times)
        found[f"{what}_p90_ms"] = statistics.quantiles(times, n=10)[-1]
    found["changed_mib"] = resident_mib()
    source.stop()
    loop.stop()
    return {name: round(value, 1) for name, value in found.items()}


def _changes(server: ApiServer, sender: Sender, changes: int) -> dict[str, list[float]]:
    """The milliseconds of each change of a kind: every other one forbids what the one before allowed."""
    found: dict[str, list[float]] = {"policy": [], "label": [], "address": []}
    say_policy, say_pod = (partial(server.say, kind, "MODIFIED") for kind in ("networkpolicies", "pods"))
    for turn in range(changes):
        allows = turn % 2 == 1
        policy = objects.network_policy(_probe(PORT if allows else OTHER_PORT))
        found["policy"].append(_took(say_policy, policy, partial(sender.passes, WHERE), wanted=allows))
    for turn in range(changes):
        allows = turn % 2 == 1
        pod = _far(WHERE, ASKED if allows else (("probe", "no"),))
        found["label"].append(_took(say_pod, pod, partial(sender.passes, WHERE), wanted=allows))
    for turn in range(changes):
        where = WHERE + 1 + turn
        found["address"].append(_took(say_pod, _far(where, ASKED), partial(sender.passes, where), wanted=True))
    return found


def _took(say: Callable[[Object], None], content: Object, passes: Callable[[], bool], *, wanted: bool) -> float:
    """The milliseconds from an event until a packet is judged by it."""
    time.sleep(0.1)  # what the change before left to do is done
    began = time.perf_counter()
    say(content)
    until(lambda: passes() == wanted, every_s=0.0005)
    return (time.perf_counter() - began) * 1e3


def results(_: int) -> list[Result]:
    """As ``python -m bench`` prints them."""
    found = measured()
    changes = (("policy", "a policy's ports"), ("label", "another node's pod's label"), ("address", "its address"))
    told = [
        Result(f"{what} to the first packet judged by it, median", found[f"{key}_ms"], "ms", at_most=CHANGE_LIMIT_MS)
        for key, what in changes
    ]
    told += [Result(f"{what}, one in ten takes longer than", found[f"{key}_p90_ms"], "ms") for key, what in changes]
    return [
        Result("1,000 policies, 5,000 pods to maps", found["sync_ms"], "ms", at_most=SYNC_LIMIT_MS),
        *told,
        Result("the agent before it knows anything", found["idle_mib"], "MiB"),
        Result("all of it", found["synced_mib"], "MiB", at_most=MEMORY_LIMIT_MIB),
        Result("after all changes", found["changed_mib"], "MiB", at_most=MEMORY_LIMIT_MIB),
    ]


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--changes", type=int, default=40)
    options = parser.parse_args()
    if options.serve:
        serve(OBJECTS, options.serve)
    print(json.dumps(measured(options.changes), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
