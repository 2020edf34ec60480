"""A real agent and a real shim: pods' host ports on the wire, what CHECK sees, and nothing left afterwards."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.compile.endpoint import link_local
from agent.kernel.programs.hooks import POD
from agent.pods.attachments import host_device
from lab.addresses import at_once
from maps import abi
from maps.percpu import PerCpuTable
from maps.pins import PinRoot
from maps.table import Table
from tests.behaviours import shows
from tests.netns.agents import CLUSTER, Node
from tests.netns.pods import CLUSTER6, Runtime
from tests.patience import until

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

SERVE = """
import socket, sys, threading
def serve(family, kind):
    s = socket.socket(family, kind)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind(("", 8080))
    if kind == socket.SOCK_STREAM:
        s.listen()
    print("ready", flush=True)
    while True:
        if kind == socket.SOCK_STREAM:
            c, peer = s.accept()
            c.recv(64)
            c.sendall(f"{sys.argv[1]} {peer[0]}".encode())
            c.close()
        else:
            _, peer = s.recvfrom(64)
            s.sendto(f"{sys.argv[1]} {peer[0]}".encode(), peer)
for family in (socket.AF_INET, socket.AF_INET6):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        threading.Thread(target=serve, args=(family, kind), daemon=True).start()
threading.Event().wait()
"""
ASK = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "TCP" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, kind)
s.settimeout(20)
if len(sys.argv) > 4:
    s.bind((sys.argv[4], 0))
try:
    s.connect((sys.argv[2], int(sys.argv[3])))
    s.send(b"who")
    print(s.recv(64).decode())
except OSError as error:
    print(type(error).__name__)
"""
SEND = """
import select, socket, sys
v4, v6, to4, to6, pause_s = sys.argv[1:]
senders = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
targets = ((to4, 9), (to6, 9))
for sender, own in zip(senders, (v4, v6)):
    sender.bind((own, 0))
sent = 0
while not select.select([sys.stdin], [], [], float(pause_s))[0]:
    senders[sent % 2].sendto(b"x", targets[sent % 2])
    sent += 1
print(sent)
"""
NODE_ADDRESSES = ("192.0.2.1", "2001:db8::1")
ANY_ADDRESS = ("0.0.0.0", "::")
FORGED = ("10.99.9.9", "fd99::9")
PACED_S, DENSE_S = 0.001, 0.0001  # between datagrams
LEAST = 100  # of them
SENDS_ON_S = 2.0  # when the programs have moved


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    (tmp_path / "node").mkdir()
    made = Node.make(f"swpods{os.getpid()}", tmp_path / "node")
    made.ip("addr add 2001:db8::1/64 dev u0 nodad")
    others = CLUSTER.split("---", 1)[1]
    (made.root / "manifests/cluster.yaml").write_text(f"{CLUSTER6}---{others}")
    # the far end of the uplink is a neighbour with an address of its own
    made.run("ip", "netns", "add", _far(made))
    made.ip(f"link set u1 netns {made.name}far")
    for words in ("addr add 192.0.2.9/24 dev u1", "addr add 2001:db8::9/64 dev u1 nodad", "link set u1 up"):
        _in(_far(made), "ip", *words.split())
    yield made
    subprocess.run(["ip", "netns", "del", _far(made)], check=True)
    made.remove()


@pytest.fixture
def runtime(node: Node) -> Iterator[Runtime]:
    made = Runtime(node)
    yield made
    made.close()


def _in(netns: str, *command: str) -> str:
    done = subprocess.run([*_inside(netns), *command], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _ask(node: Node, netns: str, *arguments: object) -> str:
    """What a client in a namespace hears; on the node it is one of the node's cgroup, where the socket programs are."""
    join = f'echo $$ > {node.cgroup}/cgroup.procs; exec "$@"' if netns != _far(node) else 'exec "$@"'
    return _in(netns, "sh", "-c", join, "sh", sys.executable, "-c", ASK, *map(str, arguments))


def _inside(netns: str) -> list[str]:
    return ["nsenter", f"--net=/run/netns/{netns}"]


def _forged_drops(node: Node) -> int:
    """Packets from pods that were dropped for their source address."""
    generation = PinRoot(node.pins).current()
    assert generation
    table = PerCpuTable.open(abi.COUNTERS, generation.map_path("counters"))
    found = table.get(abi.DropReason.DROP_SOURCE_ADDRESS)  # of PROGRAM_POD, DIRECTION_INGRESS: both are zero
    table.close()
    assert found is not None
    return found.packets


def _send(netns: str, sources: Sequence[str], targets: Sequence[str], pause_s: float) -> "subprocess.Popen[str]":
    """Sends datagrams of both families in turns until its input ends; prints how many."""
    argv = [*_inside(netns), sys.executable, "-c", SEND, *sources, *targets, str(pause_s)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _unasked(netns: str) -> int:
    """Datagrams that came to a namespace for ports that nobody has."""
    words = _in(netns, "nstat", "-asz", "UdpNoPorts", "Udp6NoPorts").split()
    return sum(int(words[words.index(name) + 1]) for name in ("UdpNoPorts", "Udp6NoPorts"))


def _far(node: Node) -> str:
    """The neighbour's namespace."""
    return f"{node.name}far"


@contextmanager
def serves(netns: str, word: str, *at: str, program: str = SERVE) -> Iterator[None]:
    """A server in a namespace that says the word, and by which address it knows who asks."""
    argv = ["nsenter", f"--net=/run/netns/{netns}", sys.executable, "-c", program, word, *at]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        for _ in range(4):
            server.stdout.readline()
        try:
            yield
        finally:
            server.kill()


def mapping(host_ip: str, protocol: str = "TCP") -> dict[str, Any]:
    entry = {"HostPort": 54323, "ContainerPort": 8080, "Protocol": protocol, "HostIP": host_ip}
    return {"runtimeConfig": {"portMappings": [entry]}}


@shows("80 host ports", pytest.mark.parametrize("mode", ["on", "off"]))
def test_pods_share_a_host_port_on_different_addresses_and_protocols(node: Node, runtime: Runtime, mode: str) -> None:
    with node.agent_runs(f"--socket-lb={mode}"):
        pods = [runtime.make() for _ in range(4)]
        asked = (mapping("127.0.0.1"), mapping("192.0.2.1"), mapping("192.0.2.1", "UDP"), mapping("::1"))
        for pod, config in zip(pods, asked, strict=True):
            code, result = runtime.call("ADD", pod, **config)
            assert code == 0, result
        with serves(pods[0], "one"), serves(pods[1], "two"), serves(pods[2], "three"), serves(pods[3], "four"):
            here, far = node.name, _far(node)
            assert _ask(node, here, "TCP", "127.0.0.1", 54323).startswith("one 192.0.2.1")
            assert _ask(node, here, "TCP", "127.0.0.1", 54323, "192.0.2.1") == "one 192.0.2.1"
            assert _ask(node, here, "TCP", "::1", 54323) == "four 2001:db8::1"
            assert _ask(node, here, "TCP", "192.0.2.1", 54323) == "two 192.0.2.1"
            assert _ask(node, here, "UDP", "192.0.2.1", 54323) == "three 192.0.2.1"
            assert _ask(node, far, "TCP", "192.0.2.1", 54323) == "two 192.0.2.9", "the client is seen"
            assert _ask(node, far, "UDP", "192.0.2.1", 54323) == "three 192.0.2.9"
            assert _ask(node, pods[0], "TCP", "192.0.2.1", 54323).startswith("two 10.244.0.")
            assert _ask(node, pods[1], "TCP", "192.0.2.1", 54323).startswith("two "), "a pod reaches itself"
            refused = _ask(node, pods[1], "TCP", "127.0.0.1", 54323)
            assert refused == "ConnectionRefusedError", "a pod's loopback is its own"
        code, error = runtime.call("ADD", runtime.make(), **mapping("0.0.0.0"))
        assert (code, "host port 0.0.0.0:54323/TCP: default/" in error["msg"]) == (11, True)
        for pod in pods:
            assert runtime.call("DEL", pod) == (0, {})
        assert _ask(node, here, "TCP", "192.0.2.1", 54323) == "ConnectionRefusedError"
        assert runtime.left() == {}


def take_away(node: Node, device: str) -> None:
    """Take a pod's programs off its device, and all addresses from the maps."""
    node.run("sh", "-c", f"tc filter del dev {device} ingress || true")  # or they are on tcx
    for link in (node.pins / "links").glob("pod_ingress-*"):
        link.unlink()
    generation = PinRoot(node.pins).current()
    assert generation
    for spec in (abi.ENDPOINTS, abi.POD_NETNS):
        table: Table[Any, Any] = Table.open(spec, generation.map_path(spec.name))
        table.delete([key for key, _ in table.items()])
        table.close()


def checked_without(node: Node, device: str, check: Callable[[], tuple[int, Any]]) -> Any:
    """What CHECK says of that; the agent puts back what it misses, on a slow machine before CHECK has looked."""
    seen = []
    for _ in range(5):
        take_away(node, device)
        code, error = check()
        if code == 100 and "the programs" in error["details"]:
            return error
        seen.append(error)
    raise AssertionError(seen)


def test_check_sees_what_is_missing_in_the_kernel(node: Node, runtime: Runtime) -> None:
    with node.agent_runs():
        pod = runtime.make()
        code, result = runtime.call("ADD", pod, **mapping(""))
        assert code == 0, result
        assert runtime.call("CHECK", pod, prevResult=result) == (0, {})
        device = host_device(f"c-{pod}", "eth0")
        (mac,) = (bytes.fromhex(i["mac"].replace(":", "")) for i in result["interfaces"] if i["name"] == "eth0")
        error = checked_without(node, device, lambda: runtime.call("CHECK", pod, prevResult=result))
        *found, namespace = error["details"].split("; ")
        assert found == [
            f"the programs are not on {device}",
            f"the endpoints map does not lead 10.244.0.2 to {device}",
            f"the endpoints map does not lead fd00:244::2 to {device}",
            f"the endpoints map does not lead {link_local(mac)} to {device}",
        ]
        assert namespace.startswith("the pod_netns map does not lead ")


def test_a_pods_programs_move_to_tcx_and_meet_every_packet_once_meanwhile(node: Node, runtime: Runtime) -> None:
    """From the pod, under an address it has not: each is dropped, and counted, by one program. To it: none is lost.

    What the node sends its pod goes by the device's queues, which redirected packets pass by.
    """
    with node.agent_runs():
        pod = runtime.make()
        code, result = runtime.call("ADD", pod)
        assert code == 0
        device = host_device(f"c-{pod}", "eth0")
        ifindex = json.loads(node.ip(f"-j link show {device}"))[0]["ifindex"]
        assert node.run("tc", "filter", "show", "dev", device, "ingress"), "its first programs cost no time"
        for address in FORGED:
            _in(pod, "ip", "addr", "add", address, "dev", "lo", *at_once(address))
        before, unasked = _forged_drops(node), _unasked(pod)
        own = [ip["address"].partition("/")[0] for ip in result["ips"]]
        senders = _send(pod, FORGED, NODE_ADDRESSES, PACED_S), _send(node.name, ANY_ADDRESS, own, DENSE_S)
        with senders[0], senders[1]:
            pins = [node.pins / f"links/{name}-{ifindex}" for name in POD]
            until(lambda: all(pin.exists() for pin in pins))
            time.sleep(SENDS_ON_S)
            assert [sender.poll() for sender in senders] == [None, None], "they sent all the while"
            paced, dense = (int(sender.communicate("")[0]) for sender in senders)
        assert _forged_drops(node) - before == paced > LEAST
        assert _unasked(pod) - unasked == dense > LEAST
        assert not node.run("tc", "filter", "show", "dev", device, "ingress")
        assert runtime.call("DEL", pod) == (0, {})
        assert runtime.left() == {}
        while any(pin.exists() for pin in pins):  # the test's limit ends the wait
            time.sleep(0.05)


def test_a_pod_has_the_addresses_and_the_mac_that_it_asks_for(node: Node, runtime: Runtime) -> None:
    with node.agent_runs():
        pod = runtime.make()
        notes = {"sluiceway.io/ipv4": "10.244.0.77", "sluiceway.io/ipv6": "fd00:244::7777:1"}
        asked = {"io.kubernetes.cri.pod-annotations": notes, "mac": "C2:00:00:00:00:07"}
        code, result = runtime.call("ADD", pod, runtimeConfig=asked)
        assert code == 0, result
        assert [ip["address"] for ip in result["ips"]] == ["10.244.0.77/32", "fd00:244::7777:1/128"]
        assert json.loads(_in(pod, "ip", "-j", "link", "show", "eth0"))[0]["address"] == "c2:00:00:00:00:07"
        for target in ("192.0.2.1", "2001:db8::1"):
            _in(pod, "ping", "-c1", "-w5", target)
        code, error = runtime.call("ADD", runtime.make(), runtimeConfig=asked)
        assert (code, error["msg"]) == (11, "sluiceway.io/ipv4: 10.244.0.77 is another pod's")
        runtime.call("DEL", pod)
        assert runtime.left() == {}
