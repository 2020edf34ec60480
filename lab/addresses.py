"""Who has which address: the machines on the underlay, the nodes' pods, the services."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

UNDERLAY4 = IPv4Network("10.88.0.0/24")
UNDERLAY6 = IPv6Network("fd88::/64")
PODS4 = IPv4Network("10.244.0.0/16")
PODS6 = IPv6Network("fd00:10:244::/56")
SERVICES4 = IPv4Network("10.96.0.0/16")
SERVICES6 = IPv6Network("fd00:10:96::/112")
NODE_PORTS = (30000, 32767)

ROUTER = "underlay"
CONTROL_PLANE = "cp"
OUTSIDE = "outside"
_OTHERS = {ROUTER: 1, CONTROL_PLANE: 10, OUTSIDE: 200}
_BEFORE_NODES = 10  # n1 is .11
MAX_NODES = 100

Addresses = tuple[IPv4Address, IPv6Address]
Networks = tuple[IPv4Network, IPv6Network]


def node_names(count: int) -> tuple[str, ...]:
    """n1, n2, ..."""
    return tuple(f"n{number}" for number in range(1, count + 1))


def node_number(name: str) -> int:
    """2 for n2."""
    return int(name.removeprefix("n"))


def on_underlay(name: str) -> Addresses:
    """A machine's addresses; both families have the same host number."""
    number = _OTHERS.get(name) or _BEFORE_NODES + node_number(name)
    return UNDERLAY4[number], UNDERLAY6[number]


def pod_cidrs(node: str) -> Networks:
    """10.244.1.0/24 and fd00:10:244:1::/64 for n1."""
    number = node_number(node)
    return (
        IPv4Network((int(PODS4.network_address) + (number << 8), 24)),
        IPv6Network((int(PODS6.network_address) + (number << 64), 64)),
    )
