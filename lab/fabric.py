"""A fabric in place of the router between two subnets: a leaf on each, of its own AS, and a spine between the leaves.

The router that there was is the first subnet's leaf. The second's, and the spine, are network namespaces of their own
beside it, which go with it.
"""

import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import bird
from lab.addresses import at_once, gateways, subnet_of
from lab.errors import LabError
from lab.machine import MACHINE_ITSELF, ExecContext, Machine

SUBNETS = 2
LEAF_ASNS, SPINE_ASN = (64601, 64602), 64700
_LINKS = (("10.99.0", "fd99:0"), ("10.99.1", "fd99:1"))  # of each leaf with the spine, which is .1 there
_ROUTER = """
log stderr all;
router id 10.99.255.{number};
protocol device {{ scan time 10; }}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}
protocol kernel {{ ipv6 {{ export where source = RTS_BGP; }}; }}
template bgp neighbour {{
  local as {asn};
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  ipv4 {{ import all; export all; next hop self; }};
  ipv6 {{ import all; export all; }};
}}
"""
_SESSION = """protocol bgp from neighbour {{
  local {own};
  neighbor {peer} as {asn};
  ipv6 {{ next hop address {six}; }};
}}
"""


@dataclass(frozen=True, slots=True)
class Session:
    """With whom a router speaks, from which address, and the next hop of IPv6 that it tells."""

    own: str
    peer: str
    asn: int
    six: str


@dataclass(frozen=True, slots=True)
class _End:
    """A device of a router's."""

    at: Path
    device: str
    addresses: Sequence[str] = ()


def build(router: Machine, nodes: Iterable[tuple[Machine, int]]) -> None:
    """Have the router, whose BIRD ends, and two more be the fabric of these nodes, each with its AS.

    Raises:
        LabError: a router did not come up.
    """
    bird.stop(router)
    second, spine = (_namespace(router, name) for name in ("leaf2", "spine"))
    at = (router.netns, second.netns or router.netns)
    between = spine.netns or router.netns
    nodes = tuple(nodes)
    _move_gateway(router, at[1], [node for node, _ in nodes if subnet_of(node.name, SUBNETS)])
    for number, (near, near6) in enumerate(_LINKS):
        leaf = _End(at[number], f"up{number}", (f"{near}.2/24", f"{near6}::2/64"))
        _wire(leaf, _End(between, f"down{number}", (f"{near}.1/24", f"{near6}::1/64")))
        own, own6 = map(str, gateways(number))
        down = [
            Session(own, str(node.addresses[0]), asn, own6)
            for node, asn in nodes
            if subnet_of(node.name, SUBNETS) == number
        ]
        up = Session(f"{near}.2", f"{near}.1", SPINE_ASN, f"{near6}::2")
        _speak(router, f"leaf{number + 1}", (MACHINE_ITSELF, second)[number], LEAF_ASNS[number], [*down, up])
    ends = zip(_LINKS, LEAF_ASNS, strict=True)
    to_leaves = [Session(f"{near}.1", f"{near}.2", asn, f"{near6}::1") for (near, near6), asn in ends]
    _speak(router, "spine", spine, SPINE_ASN, to_leaves)


def _namespace(router: Machine, name: str) -> ExecContext:
    """A network without a wire, which routes."""
    sysctls = "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"
    # when it waits it is set up, and in its own
    router.daemon(name, ["unshare", "--net", "sh", "-c", f"{sysctls} && echo made && exec sleep infinity"])
    process, log = router.daemon_process(name), router.home / f"{name}.log"
    while "made" not in log.read_text():
        if router.daemon_process(name) is None:
            raise LabError(f"no router {name}: {router.log_tail(name)}")
        time.sleep(0.01)
    return ExecContext(netns=Path(f"/proc/{process}/ns/net"))


def _move_gateway(router: Machine, leaf: Path, nodes: Iterable[Machine]) -> None:
    """The second subnet's gateway, from the bridge there to a leaf that is on the bridge."""
    four, six = gateways(1)
    addresses = (f"{four}/24", f"{six}/64")
    for address in addresses:
        _ip(router.netns, "address", "del", address, "dev", "br1")
    _wire(_End(router.netns, "leaf2"), _End(leaf, "nodes", addresses))
    _ip(router.netns, "link", "set", "leaf2", "master", "br1")
    for node in nodes:  # who knows the gateway by the bridge's hardware address
        _ip(node.netns, "neighbour", "flush", "dev", "eth0")


def _wire(*ends: _End) -> None:
    (one, other) = ends
    _ip(one.at, "link", "add", one.device, "type", "veth", "peer", "name", other.device, "netns", str(_process(other)))
    for end in ends:
        for address in end.addresses:
            _ip(end.at, "address", "add", address, "dev", end.device, *at_once(address))
        _ip(end.at, "link", "set", "dev", end.device, "up")


def _process(end: _End) -> int:
    """The process whose network it is."""
    return int(end.at.parts[2])


def _speak(router: Machine, name: str, at: ExecContext, asn: int, sessions: Iterable[Session]) -> None:
    told = [_SESSION.format(own=each.own, peer=each.peer, asn=each.asn, six=each.six) for each in sessions]
    text = _ROUTER.format(number=asn % 100, asn=asn) + "".join(told)
    router.run("sh", "-c", f"cat >/run/{name}.conf", stdin=text)
    router.daemon(f"bird-{name}", ["bird", "-f", "-c", f"/run/{name}.conf", "-s", f"/run/{name}.ctl"], context=at)


def _ip(netns: Path, *words: str) -> None:
    subprocess.run(["nsenter", f"--net={netns}", "ip", *words], check=True)
