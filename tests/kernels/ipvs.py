"""What kube-proxy's IPVS mode leaves, on a kernel with IPVS, which the machines of the other tests lack: it goes whole.

All is in a network namespace of its own, of which the node of the other steps sees nothing. What there is of virtual
servers the kernel's own list says.
"""

import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pyroute2 import IPVS, IPVSDest, IPVSService
from pyroute2.ipset import IPSet

from agent.kernel.kube_proxy import leftovers
from tests.agent.kernel.nets import in_new_netns

Tried = Callable[[str, Callable[[], None]], list[str]]

RULES = Path(__file__).parents[1] / "agent/kernel/kube_proxy/written/ipvs.rules"
SERVICES = ("10.96.0.10", "fd00:96::10")
NODES = ("192.0.2.1", "2001:db8::1")
NODE_PORT, NODE_PORTS = 30080, (30000, 32767)
PORT, SERVER_PORT = 80, 8080
OTHER = "192.0.2.100"  # keepalived's address, on a device of the node
MARK = 7  # of keepalived's: a virtual server without an address
WHOLE6 = "128.0.0.0"  # of IPv6 a prefix's length, written as the four octets that pyroute2 takes
MASQUERADED = 0  # linux/ip_vs.h: IP_VS_CONN_F_MASQ
TIMEOUT_S = 60
SETS = (
    ("KUBE-CLUSTER-IP", socket.AF_INET, "hash:ip,port"),
    ("KUBE-6-CLUSTER-IP", socket.AF_INET6, "hash:ip,port"),
    ("KUBE-IPVS-IPS", socket.AF_INET, "hash:ip"),
)
OTHER_SET = "KUBE-DST-ERIFXISQEP7F7OF4"  # kube-router's


@dataclass(frozen=True, slots=True)
class Listed:
    """What there is of IPVS in a namespace, and of what belongs to it."""

    servers: frozenset[str]
    sets: frozenset[str]
    devices: frozenset[str]
    rules: tuple[str, ...]


def tried_removal(tried: Tried) -> list[str]:
    """Have it go, and come back, and go; what failed."""
    return tried("IPVS, what kube-proxy left goes and can come back", partial(in_new_netns, _gone_twice))


def _gone_twice() -> None:
    _ip("link set lo up")
    _ip("link add u0 type dummy")
    _ip("link set u0 up")
    for address in (*NODES, OTHER):
        _ip(f"address add {_whole(address)} dev u0")
    listener = socket.create_server(("::", SERVER_PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    with listener, IPVS() as kernel, IPSet() as sets:
        sets.create(OTHER_SET, stype="hash:ip")
        kernel.service("add", service=_service(OTHER, PORT))
        by_mark = {"af": socket.AF_INET, "netmask": "255.255.255.255"}
        kernel.service("add", service=IPVSService(fwmark=MARK, sched_name="rr", **by_mark))
        before = _listed()
        assert len(before.servers) == 2, before
        for _ in range(2):
            _written(kernel, sets)
            assert len(_listed().servers) == len(before.servers) + 3 * len(NODES), _listed()
            for address in SERVICES:
                _connected(address, listener)
            assert [*leftovers.look().kinds()] == ["iptables chains", "IPVS device"]
            leftovers.remove(NODE_PORTS)
            assert _listed() == before, (_listed(), before)
            assert not [*leftovers.look().kinds()]


def _written(kernel: IPVS, sets: IPSet) -> None:
    """Have all that kube-proxy writes in that mode, in both families."""
    _ip("link add kube-ipvs0 type dummy")
    for name, family, kind in SETS:
        sets.create(name, stype=kind, family=family)
    subprocess.run(["iptables-nft-restore", "--noflush"], input=RULES.read_text(), text=True, check=True)
    for service, node in zip(SERVICES, NODES, strict=True):
        _ip(f"address add {_whole(service)} dev kube-ipvs0")
        of_cluster_ip = (_service(service, PORT), _service(service, PORT, socket.IPPROTO_UDP))
        for virtual in (*of_cluster_ip, _service(node, NODE_PORT)):
            kernel.service("add", service=virtual)
            kernel.dest("add", service=virtual, dest=IPVSDest(addr=node, port=SERVER_PORT, fwd_method=MASQUERADED))


def _service(address: str, port: int, protocol: int = socket.IPPROTO_TCP) -> IPVSService:
    more = {"netmask": WHOLE6} if ":" in address else {}
    return IPVSService(addr=address, port=port, protocol=protocol, sched_name="rr", **more)


def _connected(address: str, listener: socket.socket) -> None:
    """A process of the node reaches the service's endpoint, by IPVS."""
    with socket.create_connection((address, PORT), TIMEOUT_S):
        listener.settimeout(TIMEOUT_S)
        listener.accept()[0].close()


def _listed() -> Listed:
    with IPSet() as sets:
        names = frozenset(str(message.get_attr("IPSET_ATTR_SETNAME")) for message in sets.list())
    rules = subprocess.run(["iptables-nft-save"], capture_output=True, text=True, check=True).stdout.splitlines()
    devices = frozenset(name for _, name in socket.if_nameindex())
    chains = tuple(line for line in rules if line.startswith(("-A", ":KUBE")))
    return Listed(frozenset(_servers()), names, devices, chains)


def _servers() -> Iterator[str]:
    for line in Path("/proc/thread-self/net/ip_vs").read_text().splitlines():
        kind, _, more = line.partition(" ")
        if kind in {"TCP", "UDP", "FWM"}:
            yield f"{kind} {more.split()[0]}"


def _whole(address: str) -> str:
    return f"{address}/128 nodad" if ":" in address else f"{address}/32"


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)
