"""How soon BGP follows: from an endpoint's end to a router's withdrawal, from a prefix's telling to a first packet.

Two nodes and a router of the lab's, each with BIRD. With 1 prefix, and with 10,000 that the router tells beside. Times
are of the wall clock, which all machines of the lab share: from before a change is written until the router's kernel
says that its route went, or until the first datagram left that was answered. And what the 10,000 are to a node: the
time until its kernel has them all, and until it has none again, and the memory of its BIRD and its agent. None of our
maps has them: the programs ask the kernel.
``python bench/routes.py`` prints the numbers as JSON.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.api_server import resident_mib
from bench.sets import Result
from lab import agents, bird, cluster, site, use
from lab.addresses import OUTSIDE, ROUTER
from lab.cluster import Cluster
from lab.machine import Machine
from lab.manifests import Object
from lab.site import Options
from lab.use import Client

ROUNDS = 20
MANY = 10_000
WITHIN_S = 60.0
WITHDRAWN_MS = 100.0
BALANCER, HOST, RANGE, PORT = "203.0.113.10", "198.51.100.1", "198.51.100.0/24", 9099
TOR = f"""
log stderr all;
router id 10.88.0.1;
protocol device {{ scan time 10; }}
protocol static one {{ disabled; ipv4; route {RANGE} via 10.88.0.200; }}
protocol static many {{ disabled; ipv6;
include "many.conf";
}}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; merge paths on; }}
template bgp node {{
  local 10.88.0.1 as 64600;
  connect retry time 1;
  connect delay time 1;
  ipv4 {{ import all; export where proto = "one"; }};
  ipv6 {{ import all; export where proto = "many"; next hop address fd88::1; }};
}}
protocol bgp n1 from node {{ neighbor 10.88.0.11 as 64512; }}
protocol bgp n2 from node {{ neighbor 10.88.0.12 as 64512; }}
"""
PEER: Object = {
    "apiVersion": "sluiceway.io/v1alpha1",
    "kind": "BGPPeer",
    "metadata": {"name": "tor"},
    "spec": {"address": "10.88.0.1", "asn": 64600, "bothFamilies": True},
}
SERVICE: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.80", "clusterIPs": ["10.96.0.80"], "ports": [{"port": 80}]},
    "status": {"loadBalancer": {"ingress": [{"ip": BALANCER, "ipMode": "VIP"}]}},
}
# answers a datagram from the address that it was sent to
ECHO = f"""
import socket
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.bind(("{HOST}", {PORT}))
while True:
    said, client = end.recvfrom(64)
    end.sendto(said, client)
"""
# a datagram each half millisecond, with the time at which it left, until one comes back; that time
ASK = f"""
import socket, time
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.connect(("{HOST}", {PORT}))
end.settimeout(0.0005)
print("begun", flush=True)
while True:
    try:
        end.send(repr(time.time()).encode())
    except OSError:
        time.sleep(0.0005)
    try:
        print(end.recv(64).decode(), flush=True)
        break
    except OSError:
        continue
"""


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for it.

    Raises:
        TimeoutError: it does not come.
    """
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.01)


def endpoints(*, ready: bool) -> Object:
    """The Service's one slice."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"port": 80, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.244.2.9"], "nodeName": "n2", "conditions": {"ready": ready}}],
    }


@contextmanager
def routed() -> Iterator[Cluster]:
    """The lab, with a session to the router."""
    name = "swbench-routes"
    site.remove(name)
    try:
        made = cluster.up(name, Options(nodes=2, router=True), lambda _: None)
        tor = made.site.machine(ROUTER)
        beside = made.site.machine(OUTSIDE)  # who has the prefix, of which the router's own kernel knows nothing
        beside.run("ip", "address", "add", f"{HOST}/32", "dev", "lo")
        beside.daemon("echo", [sys.executable, "-I", "-S", "-c", ECHO])
        many = "".join(f"route 2001:db8:51:{number:x}::/64 blackhole;\n" for number in range(MANY))
        tor.run("mkdir", "-p", "/run/bird-of-the-lab")
        tor.run("sh", "-c", "cat >/run/bird-of-the-lab/many.conf", stdin=many)
        bird.run(tor, TOR)
        tor.daemon("monitor", ["stdbuf", "-oL", "ip", "-ts", "-4", "monitor", "route"])
        made.manifests.put(PEER)
        made.manifests.put(SERVICE)
        socket = "/run/bird-of-the-lab/bird.ctl"
        until(lambda: tor.run("birdc", "-s", socket, "show", "status", check=False).returncode == 0, "no BIRD")
        until(lambda: bird.ask(tor, "show", "protocols").count("Established") == len(made.site.nodes), "no sessions")
        yield made
    finally:
        site.remove(name)


def withdrawals(made: Cluster, rounds: int) -> list[float]:
    """Milliseconds from the last endpoint's end until the router has no route."""
    tor = made.site.machine(ROUTER)
    log = tor.home / "monitor.log"
    return [_withdrawal(made, tor, log) for _ in range(rounds)]


def _withdrawal(made: Cluster, tor: Machine, log: Path) -> float:
    made.manifests.put(endpoints(ready=True))
    until(lambda: BALANCER in tor.run("ip", "route", "show", BALANCER).stdout, "it is not told")
    time.sleep(0.3)  # both nodes have told it
    began = time.time()
    made.manifests.put(endpoints(ready=False))
    until(lambda: BALANCER not in tor.run("ip", "route", "show", BALANCER).stdout, "it is not withdrawn")
    until(lambda: _deleted_at(log.read_text()) > began, "nothing is heard of it")
    return (_deleted_at(log.read_text()) - began) * 1e3


def _deleted_at(log: str) -> float:
    """When the latest route went, by ``ip -ts``, whose lines have the local time before what happened."""
    line = next((line for line in reversed(log.splitlines()) if f"Deleted {BALANCER}" in line), "[1970-01-01T00:00:00]")
    stamp = line[line.index("[") + 1 : line.index("]")]
    whole, _, part = stamp.partition(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{part or 0}")


def arrivals(asking: Client, tor: Machine, rounds: int) -> list[float]:
    """Milliseconds from a prefix's telling until the first datagram leaves that is answered."""
    return [_arrival(asking, tor) for _ in range(rounds)]


def _arrival(asking: Client, tor: Machine) -> float:
    node = asking.machine
    log = node.home / "ask.log"
    node.daemon("ask", [sys.executable, "-I", "-S", "-c", ASK], context=asking.context)
    until(lambda: "begun" in log.read_text(), "it does not begin")
    began = time.time()
    bird.ask(tor, "enable", "one")
    until(lambda: len(log.read_text().split()) > 1, "no answer")
    left_at = float(log.read_text().split()[1])
    node.stop("ask")
    log.unlink()
    bird.ask(tor, "disable", "one")
    until(lambda: "bird" not in node.run("ip", "route", "show", RANGE).stdout, "it stays")
    return (left_at - began) * 1e3


def _count(node: Machine) -> int:
    """How many of the many its kernel has."""
    return node.run("ip", "-6", "route", "show", "proto", "bird", "metric", "90").stdout.count("2001:db8:51:")


def _has_many(node: Machine) -> bool:
    return _count(node) == MANY


@dataclass(frozen=True, slots=True)
class Import:
    """What so many prefixes are to a node."""

    came_s: float
    went_s: float
    mib: Mapping[str, tuple[float, float]]  # resident, of BIRD and of the agent: before, and with them


def imported(made: Cluster) -> tuple[float, Mapping[str, tuple[float, float]]]:
    """Have the router tell them: the seconds until the node's kernel has all, and the memory before and with them."""
    tor, n1 = made.site.machine(ROUTER), made.site.machine("n1")
    before = _resident(n1)
    came_s = _seconds(tor, "enable", lambda: _has_many(n1))
    time.sleep(2.0)
    return came_s, {name: (before[name], now) for name, now in _resident(n1).items()}


def _seconds(tor: Machine, verb: str, holds: Callable[[], bool]) -> float:
    began = time.monotonic()
    bird.ask(tor, verb, "many")
    until(holds, f"{verb} does not follow")
    return time.monotonic() - began


def _resident(node: Machine) -> dict[str, float]:
    return {name: resident_mib(node.daemon_process(name) or "none") for name in (bird.DAEMON, agents.DAEMON)}


def measured(rounds: int = ROUNDS) -> tuple[dict[str, list[float]], Import]:
    """Milliseconds of each change, by what and with how many prefixes; and what many are to a node."""
    with routed() as made:
        tor, n1 = made.site.machine(ROUTER), made.site.machine("n1")
        asking = use.idle(made, "asking", "n1")
        found = {"withdrawal, 1": withdrawals(made, rounds), "arrival, 1": arrivals(asking, tor, rounds)}
        came_s, mib = imported(made)
        found |= {f"withdrawal, {MANY}": withdrawals(made, rounds), f"arrival, {MANY}": arrivals(asking, tor, rounds)}
        return found, Import(came_s, _seconds(tor, "disable", lambda: _count(n1) == 0), mib)


def results(sets: int) -> list[Result]:
    """As ``python -m bench`` prints them."""
    found, many = measured(4 * sets)
    made = []
    for count in (1, MANY):
        beside = f", {count:,} prefixes beside" if count > 1 else ""
        gone, came = (statistics.median(found[f"{what}, {count}"]) for what in ("withdrawal", "arrival"))
        made.append(
            Result(f"an endpoint's end to the withdrawal at a router{beside}", gone, "ms", at_most=WITHDRAWN_MS)
        )
        made.append(Result(f"a prefix's telling to the first packet{beside}", came, "ms"))
    made.append(Result(f"{MANY:,} prefixes' telling until a node's kernel has them", many.came_s * 1e3, "ms"))
    made.append(Result(f"{MANY:,} prefixes' withdrawal until it has none", many.went_s * 1e3, "ms"))
    for name, (before, now) in many.mib.items():
        made.append(Result(f"resident memory of {name} for {MANY:,} prefixes", now - before, "MiB"))
    return made


if __name__ == "__main__":
    times, many = measured()
    rounded = {name: [round(one, 1) for one in them] for name, them in times.items()}
    print(json.dumps({**rounded, f"imported, {MANY}": asdict(many)}))
