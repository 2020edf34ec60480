"""Who has which address: the machines on the underlay, the nodes' pods, the services."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

UNDERLAY4 = IPv4Network("10.88.0.0/24")  # the first subnet; the next is 10.88.1.0/24
UNDERLAY6 = IPv6Network("fd88::/64")  # and fd88:0:0:1::/64
PODS4 = IPv4Network("10.244.0.0/16")
PODS6 = IPv6Network("fd00:10:244::/56")
SERVICES4 = IPv4Network("10.96.0.0/16")
SERVICES6 = IPv6Network("fd00:10:96::/112")
NODE_PORTS = (30000, 32767)
POOL4 = IPv4Network("10.88.0.224/27")  # load balancers' addresses, on the first subnet
POOL6 = IPv6Network("fd88::1:0/120")
# whom a load balancer's clients come from: upstream's tests take what is in the nodes' /16 for a node
FAR4 = IPv4Address("203.0.113.200")
FAR6 = IPv6Address("2001:db8:203::200")

ROUTER = "underlay"
CONTROL_PLANE = "cp"
OUTSIDE = "outside"
_OTHERS = {ROUTER: 1, CONTROL_PLANE: 10, OUTSIDE: 200}
_BEFORE_NODES = 10  # n1 is .11
MAX_NODES = 100
MAX_SUBNETS = 8

Addresses = tuple[IPv4Address, IPv6Address]
Networks = tuple[IPv4Network, IPv6Network]


def at_once(address: object) -> tuple[str, ...]:
    """What ip(8) needs beside an address that is to serve at once: IPv6's is tentative for a moment, on any device."""
    return ("nodad",) if ":" in str(address) else ()


def node_names(count: int) -> tuple[str, ...]:
    """n1, n2, ..."""
    return tuple(f"n{number}" for number in range(1, count + 1))


def node_number(name: str) -> int:
    """2 for n2."""
    return int(name.removeprefix("n"))


def subnet(index: int) -> Networks:
    """A subnet of the underlay, counted from 0."""
    return (
        IPv4Network((int(UNDERLAY4.network_address) + (index << 8), UNDERLAY4.prefixlen)),
        IPv6Network((int(UNDERLAY6.network_address) + (index << 64), UNDERLAY6.prefixlen)),
    )


def gateways(index: int) -> Addresses:
    """The router's addresses on a subnet."""
    four, six = subnet(index)
    return four[_OTHERS[ROUTER]], six[_OTHERS[ROUTER]]


def subnet_of(name: str, subnets: int) -> int:
    """Which of the underlay's subnets a machine is on: nodes take turns, all others are on the first."""
    return 0 if name in _OTHERS else (node_number(name) - 1) % subnets


def on_underlay(name: str, subnets: int = 1) -> Addresses:
    """A machine's addresses; both families have the same host number."""
    number = _OTHERS.get(name) or _BEFORE_NODES + node_number(name)
    four, six = subnet(subnet_of(name, subnets))
    return four[number], six[number]


def pod_cidrs(node: str) -> Networks:
    """10.244.1.0/24 and fd00:10:244:1::/64 for n1."""
    number = node_number(node)
    return (
        IPv4Network((int(PODS4.network_address) + (number << 8), 24)),
        IPv6Network((int(PODS6.network_address) + (number << 64), 64)),
    )
