"""Uplinks whose kinds the machines of the other tests may lack: a bond, a bridge, VLAN devices, and all on one another.

Each in turn has the node's addresses, and the agent's own rule says which devices get the programs: the device below is
one that it would choose too. The neighbour reaches node ports, whose backends are a pod and a process of the node, and
a pod reaches the neighbour under the node's address. A datagram and its answer are counted once each.
"""

import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Address
from pathlib import Path

from agent.compile.context import node_context
from agent.compile.node import node_records
from agent.compile.settings import Settings
from agent.compile.tunnel import TunnelLinks
from agent.compile.uplink import uplinks
from agent.kernel.net.sysctl import Sysctls
from agent.kernel.parts import UplinksPart
from agent.kernel.programs.attach import Hooks
from agent.kernel.programs.hooks import LOOPBACK, LOOPBACK_IFINDEX, UPLINK
from agent.model.address import Address
from agent.model.local import Device, Local
from agent.model.node import Node
from agent.netlink import netns
from agent.netlink.dump import Dump
from agent.watch.node import local
from maps import abi
from maps.table import Table
from tests.kernels import site

Tried = Callable[[str, Callable[[], None]], list[str]]

NEIGHBOUR, POD, BACKEND, NODE = "/run/netns/beyond", "/run/netns/client", "/run/netns/backend", ""
TO_NODE, TO_POD = 30100, 30200  # node ports
PORT = 9090  # of their backends, and of the neighbour
TIMEOUT_S = 20
LOST = 1  # datagrams without an answer that a run forgives: devices are just up
PROGRAM = abi.Program.PROGRAM_UPLINK


@dataclass(frozen=True, slots=True)
class Kind:
    """How the node is wired: its last device is the uplink, with the same VLAN as the neighbour's."""

    title: str
    made: str  # ip's lines, of the ports port0 and port1; what is below has a subnet
    device: str
    vlan: int = 0
    beside: tuple[str, ...] = ()  # other uplinks: what they have is another VLAN's
    has_priority: bool = False  # the neighbour tags what it sends with a priority, which makes it no VLAN's


BOND = """link add bond9 type bond mode active-backup miimon 100
link set port0 master bond9
link set port1 master bond9
link set port0 up
link set port1 up
link set bond9 up
"""
BELOW = "address add 172.31.0.1/24 dev {}\naddress add fd31::1/64 dev {} nodad\n"


def _below(device: str) -> str:
    return BELOW.format(device, device)


KINDS = (
    Kind("a bond", BOND + _below("port0"), "bond9"),
    Kind(
        "a bridge",
        "link add br9 type bridge\nlink set port0 master br9\nlink set port0 up\nlink set br9 up\n" + _below("port0"),
        "br9",
    ),
    Kind("a plain device that is sent priorities", "link set port0 up\n", "port0", has_priority=True),
    Kind(
        "a VLAN device",
        "link set port0 up\nlink add link port0 name port0.7 type vlan id 7\nlink set port0.7 up\n" + _below("port0"),
        "port0.7",
        vlan=7,
        beside=("port0",),
    ),
    Kind(
        "a VLAN device on a bridge on a bond",
        BOND
        + "link add br9 type bridge\nlink set bond9 master br9\nlink set br9 up\n"
        + "link add link br9 name br9.7 type vlan id 7\nlink set br9.7 up\n"
        + "route add default dev br9 metric 9\nroute add default dev bond9 metric 10\n"
        + _below("port0"),
        "br9.7",
        vlan=7,
        beside=("br9",),
    ),
)


def tried_kinds(hooks: Hooks, maps: Path, tried: Tried) -> list[str]:
    """Every kind in turn; what failed. The node has its plain uplink again afterwards."""
    _ip(["address flush dev uplink", "link set uplink down"])
    failures = []
    with tempfile.TemporaryDirectory() as state:
        part = UplinksPart(hooks, Sysctls(Path(state)))
        site.masquerade(maps)
        site.offer_node_port(maps, TO_NODE, (f.node for f in site.FAMILIES), PORT)
        site.offer_node_port(maps, TO_POD, (f.backend for f in site.FAMILIES), PORT)
        for path in (NODE, BACKEND):
            _serve(path)
        lost: list[str] = []
        for kind in KINDS:
            failures += _tried_kind(kind, part, hooks, maps, tried, lost)
        hooks.detach(LOOPBACK_IFINDEX, LOOPBACK)
    _ip(["link set uplink up", *(f"address add {f.node}/{f.bits - 8} dev uplink {f.at_once}" for f in site.FAMILIES)])
    hooks.attach(socket.if_nametoindex("uplink"), UPLINK)
    site.fill(maps)
    return failures


def _tried_kind(kind: Kind, part: UplinksPart, hooks: Hooks, maps: Path, tried: Tried, lost: list[str]) -> list[str]:
    with _wired(kind):
        failures = tried(f"{kind.title} is the uplink", partial(_chosen, kind, part, hooks, maps))
        _serve(NEIGHBOUR)
        for way in _ways():  # before any TCP, whose last segments come in late
            failures += tried(f"{kind.title}, {way.title}, UDP", partial(_asked_by_datagram, maps, way, lost))
        for way in _ways():
            failures += tried(f"{kind.title}, {way.title}, TCP", partial(_asked, way, socket.SOCK_STREAM))
    return failures


@dataclass(frozen=True, slots=True)
class Way:
    """Who asks, whom, and what comes of it."""

    title: str
    path: str  # of the asking one's namespace
    address: Address
    port: int
    seen: Address  # whom the other sees
    counts: tuple[int, int]  # a datagram's and its answer's, in by the uplink and out


def _ways() -> Iterator[Way]:
    for f in site.FAMILIES:
        over = f"IPv{f.node.version}"
        yield Way(f"{over}, the neighbour to a pod's node port", NEIGHBOUR, f.node, TO_POD, f.outside, (1, 0))
        yield Way(f"{over}, the neighbour to a process's node port", NEIGHBOUR, f.node, TO_NODE, f.outside, (1, 1))
        yield Way(f"{over}, a pod to the neighbour", POD, f.outside, PORT, f.node, (1, 0))


@contextmanager
def _wired(kind: Kind) -> Iterator[None]:
    """The node's devices, and a neighbour on both of its ports."""
    far = "far" if not kind.vlan else f"far.{kind.vlan}"
    lines = ["netns add beyond"]
    lines += [f"link add port{n} type veth peer name eth{n} netns beyond" for n in (0, 1)]
    _ip([*lines, *kind.made.splitlines()])
    _ip([f"address add {f.node}/{f.bits - 8} dev {kind.device} {f.at_once}" for f in site.FAMILIES])
    lines = ["link set lo up", "link add far type bridge", "link set far up"]
    lines += [f"link set eth{n} {what}" for n in (0, 1) for what in ("master far", "up")]
    if kind.vlan:
        lines += [f"link add link far name {far} type vlan id {kind.vlan}", f"link set {far} up"]
    _ip([*lines, *(f"address add {f.outside}/{f.bits - 8} dev {far} {f.at_once}" for f in site.FAMILIES)], "beyond")
    if kind.has_priority:
        _tag_priorities(kind.device)
    try:
        _wait_for_carrier(kind.device)
        yield
    finally:
        for device in ("br9", "bond9", "port0", "port1"):
            subprocess.run(["ip", "link", "del", device], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "netns", "del", "beyond"], check=True)


def _tag_priorities(device: str) -> None:
    """Have the neighbour send to the node by a VLAN device of the ID 0, and hear its answers by the one below."""
    mac = Path(f"/sys/class/net/{device}/address").read_text().strip()
    lines = ["link add link far name far.0 type vlan id 0 egress-qos-map 0:5", "link set far.0 up"]
    for f in site.FAMILIES:
        lines.append(f"neighbour add {f.node} lladdr {mac} dev far.0 nud permanent")
        lines.append(f"route add {f.node}/{f.bits} dev far.0 src {f.outside}")
    _ip(lines, "beyond")


def _wait_for_carrier(device: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while Path(f"/sys/class/net/{device}/operstate").read_text().strip() != "up":
        assert time.monotonic() < deadline, f"{device} is not up"
        time.sleep(0.05)


def _chosen(kind: Kind, part: UplinksPart, hooks: Hooks, maps: Path) -> None:
    """Have the agent's rule choose, its part attach, and its records tell the programs."""
    itself = Node("guest", internal_ips=tuple(f.node for f in site.FAMILIES))
    with Dump() as dump:
        here = local.read(dump, Path("/proc/sys/net"))
    found = uplinks((), itself, here.devices)
    for _ in part.apply(found):
        pass
    _tell(maps, itself, here, found)
    assert {device.name for device in found} == {kind.device, *kind.beside}, found
    assert hooks.attached(UPLINK) == {device.ifindex for device in found}


def _tell(maps: Path, itself: Node, here: Local, found: tuple[Device, ...]) -> None:
    """Have the programs know the uplinks, and no others."""
    records = node_records(node_context(itself, here, {}), here, Settings(itself.name), TunnelLinks(), found)
    table = Table.open(abi.UPLINKS, maps / "uplinks")
    table.delete([key for key, _ in table.items()])
    table.update_packed(*records.raw("uplinks"), len(found))


def _asked_by_datagram(maps: Path, way: Way, lost: list[str]) -> None:
    """One datagram and its answer, counted; another for the first that is *lost* in a run, which is said."""
    try:
        _counted(maps, way.counts, partial(_asked, way, socket.SOCK_DGRAM))
    except TimeoutError:
        lost.append(way.title)
        if len(lost) > LOST:
            raise
        print(f"{way.title}: a datagram had no answer in {TIMEOUT_S} s", flush=True)
        _counted(maps, way.counts, partial(_asked, way, socket.SOCK_DGRAM))


def _counted(maps: Path, expected: tuple[int, int], ask: Callable[[], None]) -> None:
    """Ask, and have the uplinks' programs count so many that came in and left."""
    before = _counts(maps)
    ask()
    now = tuple(after - then for after, then in zip(_counts(maps), before, strict=True))
    assert now == expected, f"counted {now} in and out, not {expected}"


def _counts(maps: Path) -> tuple[int, int]:
    found = site.counted(maps)
    into, out = (
        sum(n for name, n in found.items() if name.startswith(f"{PROGRAM.name} {direction.name} "))
        for direction in (abi.Direction.DIRECTION_INGRESS, abi.Direction.DIRECTION_EGRESS)
    )
    return into, out


def _inside(path: str) -> AbstractContextManager[None]:
    return netns.inside(path) if path else nullcontext()


def _asked(way: Way, kind: socket.SocketKind) -> None:
    """Ask, and have the answer say whom the other saw."""
    with _inside(way.path):
        asking = socket.socket(socket.AF_INET if way.address.version == 4 else socket.AF_INET6, kind)
    asking.settimeout(TIMEOUT_S)
    with asking:
        asking.connect((str(way.address), way.port))
        asking.send(b"who?")
        answer = asking.recv(64).decode()
    assert answer == str(way.seen), f"was seen as {answer}"


def _serve(path: str) -> None:
    """Tell whoever asks there, by TCP and UDP, what address he has."""
    with _inside(path):
        listener = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
        datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        datagrams.bind(("::", PORT))

    def connections() -> None:
        while True:
            connection, peer = listener.accept()
            with connection:
                connection.recv(64)
                connection.sendall(_plain(peer[0]))

    def questions() -> None:
        while True:
            _, peer = datagrams.recvfrom(64)
            datagrams.sendto(_plain(peer[0]), peer)

    for answers in (connections, questions):
        threading.Thread(target=answers, daemon=True).start()


def _plain(text: str) -> bytes:
    found = IPv6Address(text)
    return str(found.ipv4_mapped or found).encode()


def _ip(lines: list[str], namespace: str = "") -> None:
    inside = ["-n", namespace] if namespace else []
    subprocess.run(["ip", *inside, "-batch", "-"], input="\n".join(lines), text=True, check=True)
