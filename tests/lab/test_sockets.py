"""Each way of the socket API sees a service as one host, which answers from the address that was asked."""

import json
import sys
import time
from pathlib import Path

import pytest

from lab import use
from lab.pods import Port
from lab.use import Client
from tests.behaviours import shows
from tests.lab.conftest import BACKENDS, Echo, held_by_sockets
from tests.patience import PATIENCE_S, until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

SOCKETS = (sys.executable, "-I", "-S", str(Path(__file__).with_name("sockets.py")))
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])
WHO = pytest.mark.parametrize("who", ["a pod", "the node"])


def ways(asking: Client, address: str, port: int, other: str) -> dict[str, object]:
    """What a socket sees, by the way's name; *other* is another service's address."""
    done = asking.machine.run(*SOCKETS, address, str(port), other, context=asking.context)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def await_answer(asking: Client, address: str) -> None:
    """Return when the agent there has heard of the service's first endpoint."""
    until(lambda: asking.ask("udp", address, 80, patience_s=use.SILENT_S).names, "the agent has not heard of it")


@FAMILIES
@WHO
@pytest.mark.parametrize("by", ["the cluster's address", "a node port"])
def test_one_socket_has_one_backend_under_the_services_address(echo: Echo, family: int, who: str, by: str) -> None:
    asking = echo.asking if who == "a pod" else echo.node("n2")
    address, port = echo.ips("echo")[family], 80
    if by == "a node port":
        address, port = str(echo.cluster.site.machine("n3").addresses[family]), echo.node_port("echo")
    before = held_by_sockets(asking.machine)
    found = ways(asking, address, port, echo.ips("itself")[family])
    assert held_by_sockets(asking.machine) == before, "what sockets were given ends with them"
    if who == "the node":  # whose sockets may hear of the other service, where both gave them one backend
        found = {way: seen for way, seen in found.items() if "elsewhere in turn" not in way}
    wrong = {way: seen for way, seen in found.items() if not (isinstance(seen, list) and BACKENDS.issuperset(seen))}
    assert not wrong
    several = {way: seen for way, seen in found.items() if isinstance(seen, list) and len(seen) > 1}
    assert not several
    assert len(found) == (14 - (who == "the node")) * (1 if family else 2)


# as a pod does that has so many sockets open; of cookies that no socket has
FULL = """
import sys
from dpctl.pinned import find_root, in_use
from maps import abi
from maps.registry import open_table
table = open_table(abi.SOCK_PEERS, in_use(find_root(None)).maps)
packed = lambda records: b"".join(one.pack() for one in records)
keys = [abi.SockPeerKey(2**63 + i, 0) for i in range(table.max_entries - table.count())]
if sys.argv[1] == "fill":
    table.update_packed(packed(keys), bytes(abi.SockPeer.SIZE) * len(keys), len(keys))
else:
    table.delete([key for key, _ in table.items() if key.cookie >= 2**63])
print(table.count(), table.max_entries)
"""


@FAMILIES
def test_pods_hear_of_services_alone_also_where_nothing_more_is_kept_of_sockets(echo_socket: Echo, family: int) -> None:
    asking = echo_socket.asking
    try:
        used, most = asking.machine.run(sys.executable, "-c", FULL, "fill").stdout.split()
        assert used == most
        found = ways(asking, echo_socket.ips("echo")[family], 80, echo_socket.ips("itself")[family])
        assert held_by_sockets(asking.machine) == int(most)
    finally:
        asking.machine.run(sys.executable, "-c", FULL, "empty")
    assert not {way: seen for way, seen in found.items() if not (isinstance(seen, list) and BACKENDS.issuperset(seen))}


@FAMILIES
@WHO
def test_a_backend_on_its_nodes_network_answers_a_socket_of_that_node_too(echo: Echo, family: int, who: str) -> None:
    made = echo.cluster
    (service,) = made.apply(MOVING.replace("moving", "hosted").replace("8080", "8181"))
    asking = echo.asking if who == "a pod" else echo.node("n1")
    ports = (Port("udp", 8181, "UDP"),)
    made.run("hosted1", "n1", [*use.SERVER, "8181"], labels={"app": "hosted"}, ports=ports, host_network=True)
    try:
        await_answer(asking, service["spec"]["clusterIPs"][family])
        found = ways(asking, service["spec"]["clusterIPs"][family], 80, echo.ips("itself")[family])
        datagrams = {way: seen for way, seen in found.items() if "stream" not in way}
        assert set(map(str, datagrams.values())) == {"['hosted1']"}
    finally:
        made.delete("hosted1")


OWN_PORT = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.create_server((address, port), family=family) as own, socket.socket(family) as asking:
    asking.settimeout(15)
    asking.connect((address, port))
    connection, _ = own.accept()
    connection.sendall(b"myself")
    print(asking.recv(100).decode())
"""


@FAMILIES
def test_no_address_with_a_node_ports_number_is_the_pod_itself(echo: Echo, family: int) -> None:
    asking = echo.asking
    argv = [sys.executable, "-c", OWN_PORT, ("0.0.0.0", "::")[family], str(echo.node_port("echo"))]
    assert asking.machine.run(*argv, context=asking.context).stdout.strip() == "myself"


MOVING = """
kind: Service
metadata: {name: moving}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: moving}
  ports: [{port: 80, targetPort: 8080, protocol: UDP}]
"""
# a connected socket that goes on asking: prints each name that is another than before
STAYS = """
import socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as asking:
    while asking.connect_ex((sys.argv[1], 80)):
        time.sleep(0.05)  # the node does not know the endpoint yet
    asking.settimeout(0.5)
    before = None
    while True:
        try:
            asking.send(b"x" * 100)
            name = asking.recv(100).decode()
        except OSError:
            continue
        if name != before:
            print(name, flush=True)
            before = name
"""


EARLY = """
kind: Service
metadata: {name: early}
spec:
  ipFamilyPolicy: RequireDualStack
  clusterIPs: [10.96.77.7, "fd00:10:96::7077"]
  selector: {app: early}
  ports: [{port: 80, targetPort: 8080, protocol: UDP}]
"""
# one socket that goes on asking, connected or not: prints each name that is another than before, or that nobody answers
ASKS_ON = """
import socket, sys, time
way, address = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as asking:
    if way == "connected":
        asking.connect((address, 80))
    asking.settimeout(0.5)
    before, silent = None, 0
    while True:
        try:
            asking.send(b"x" * 100) if way == "connected" else asking.sendto(b"x" * 100, (address, 80))
            name, silent = asking.recv(100).decode(), 0
        except OSError:
            name, silent = "nobody", silent + 1
            time.sleep(0.05)
        if name != before and silent in (0, 4):
            print(name, flush=True)
            before = name
"""


def told(asking: Client, called: str, names: list[str]) -> list[str]:
    """What the daemon has printed, when it is as much as *names* have, or after long."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := asking.machine.log_tail(called).split()) != names and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@FAMILIES
@shows("57 67 a UDP socket moves with its service", WHO)
def test_a_connected_datagram_socket_moves_when_its_backend_leaves(echo: Echo, family: int, who: str) -> None:
    made, called = echo.cluster, f"stays-{family}-{who.replace(' ', '-')}"
    (service,) = made.apply(MOVING)
    asking = echo.asking if who == "a pod" else echo.node("n1")
    argv = [sys.executable, "-u", "-c", STAYS, service["spec"]["clusterIPs"][family]]
    use.serve(made, "moving1", "n2", {"app": "moving"})
    await_answer(asking, service["spec"]["clusterIPs"][family])
    asking.machine.daemon(called, argv, context=asking.context)
    try:
        assert told(asking, called, ["moving1"]) == ["moving1"]
        use.serve(made, "moving2", "n3", {"app": "moving"})
        made.delete("moving1")
        assert told(asking, called, ["moving1", "moving2"]) == ["moving1", "moving2"]
        made.delete("moving2")
    finally:
        asking.machine.stop(called)


@FAMILIES
@WHO
@pytest.mark.parametrize("way", ["connected", "unconnected"])
def test_a_datagram_client_that_is_earlier_than_its_service_reaches_it(
    echo: Echo, family: int, who: str, way: str
) -> None:
    made, called = echo.cluster, f"early-{family}-{who.replace(' ', '-')}-{way}"
    (service,) = made.apply(EARLY)
    use.serve(made, "early1", "n2", {"app": "early"})
    made.remove("Service", "early")
    asking = echo.asking if who == "a pod" else echo.node("n1")
    argv = [sys.executable, "-u", "-c", ASKS_ON, way, service["spec"]["clusterIPs"][family]]
    asking.machine.daemon(called, argv, context=asking.context)
    try:
        assert told(asking, called, ["nobody"]) == ["nobody"]
        made.apply(EARLY)
        assert told(asking, called, ["nobody", "early1"]) == ["nobody", "early1"]
        made.remove("Service", "early")
        assert told(asking, called, ["nobody", "early1", "nobody"]) == ["nobody", "early1", "nobody"]
    finally:
        asking.machine.stop(called)
        made.delete("early1")


SINGLE = """
kind: Service
metadata: {name: single}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: single}
  ports: [{name: tcp, port: 80, targetPort: 8080}, {name: udp, port: 80, targetPort: 8080, protocol: UDP}]
"""
# from one port asks each address and port in turn, then all once more; prints who answered, or why nobody was asked
SAME_PORT = """
import errno, socket, sys, time
kind, *words = sys.argv[1:]
targets = [(words[i], int(words[i + 1])) for i in (0, 2)]
family = socket.AF_INET6 if ":" in words[0] else socket.AF_INET
sockets = []
try:
    for target in targets:
        asking = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            asking.setsockopt(socket.SOL_SOCKET, option, 1)
        asking.settimeout(15)
        asking.bind(("", 23456))
        asking.connect(target)
        sockets.append(asking)
    for asking in sockets * 2:
        asking.sendall(b"x\\n")
        print(asking.recv(100).split()[0].decode())
except OSError as error:
    print(errno.errorcode.get(error.errno, str(error)))
"""


@FAMILIES
@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("first", ["the service", "the backend"])
def test_one_port_asks_a_service_and_its_backend_itself(echo: Echo, family: int, kind: str, first: str) -> None:
    made = echo.cluster
    (service,) = made.apply(SINGLE)
    pod = use.serve(made, "single1", "n2", {"app": "single"})
    try:
        asking = echo.asking
        targets = [(service["spec"]["clusterIPs"][family], 80), (pod["status"]["podIPs"][family]["ip"], 8080)]
        until(
            lambda: asking.ask(kind, *targets[0], patience_s=use.SILENT_S).names == {"single1"}
        )  # the node hears of it
        words = [str(word) for target in (targets if first == "the service" else targets[::-1]) for word in target]
        done = asking.machine.run(sys.executable, "-c", SAME_PORT, kind, *words, context=asking.context)
        # where the hook gives the socket its backend, the kernel itself has two connections that are one
        is_refused = echo.cluster.site.options.socket_lb and kind == "tcp"
        assert done.stdout.split() == (["EADDRNOTAVAIL"] if is_refused else ["single1"] * 4)
    finally:
        made.delete("single1")


# in a network namespace of its own, as a cluster in a container has, somebody else has the service's address
NESTED = """
import ctypes, os, socket, subprocess, sys, time
address = sys.argv[1]
assert ctypes.CDLL(None).unshare(0x40000000) == 0
bits = ["/128", "nodad"] if ":" in address else ["/32"]
for line in (["link", "set", "lo", "up"], ["address", "add", address + bits[0], "dev", "lo", *bits[1:]]):
    subprocess.run(["ip", *line], check=True)
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.create_server((address, 80), family=family) as own, socket.socket(family) as asking:
    asking.settimeout(15)
    own.settimeout(15)
    for _ in range(3000):  # a new namespace has its routes of IPv6 a moment later
        if not asking.connect_ex((address, 80)):
            break
        time.sleep(0.01)
    connection, _ = own.accept()
    connection.sendall(b"the inner one")
    print(asking.recv(100).decode())
"""


@FAMILIES
@WHO
def test_a_namespace_within_a_pod_or_a_node_has_its_own_services(echo: Echo, family: int, who: str) -> None:
    asking = echo.asking if who == "a pod" else echo.node("n1")
    argv = [sys.executable, "-c", NESTED, echo.ips("echo")[family]]
    assert asking.machine.run(*argv, context=asking.context).stdout.strip() == "the inner one"
