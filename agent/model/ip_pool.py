"""Pools of addresses for pods, and the blocks of them that nodes have claimed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from agent.model.address import Address, Network
from agent.model.lb_pool import AddressRange
from agent.model.node import Node
from agent.model.policy import EVERYTHING, Selector

IP_POOL, IP_BLOCK = "IPPool", "IPBlock"  # the kinds
POOLS = "sluiceway.io/ip-pool"  # annotation of a Pod or of its Namespace: the pools of its first interface, by name
# label of an IPBlock: the range that it is within, so that those that could overlap it are found together
RANGE_LABEL = "sluiceway.io/ip-range"
RANGE_LENGTHS = {4: 16, 6: 64}  # of that range; no block is shorter
BLOCK_LENGTHS = {4: 26, 6: 122}  # of blocks where a pool does not say
BLOCK_LENGTHS_MAX = {4: 32, 6: 128}


@dataclass(frozen=True, slots=True)
class IpPool:
    """An IPPool (sluiceway.io/v1alpha1)."""

    name: str
    cidrs: tuple[Network, ...] = ()
    lengths: tuple[tuple[int, int], ...] = tuple(BLOCK_LENGTHS.items())  # prefix lengths of blocks, by IP version
    excluded: tuple[AddressRange, ...] = ()  # given to nobody
    static: tuple[AddressRange, ...] = ()  # given to who asks for this very address, on whichever node
    gateways: tuple[Address, ...] = ()
    network: str = ""  # a network beside the cluster's, on which the addresses mean something; empty: the cluster's
    nodes: Selector = EVERYTHING
    namespaces: Selector = EVERYTHING
    is_automatic: bool = False  # first interfaces of the pods that the selectors mean are given addresses of it
    is_disabled: bool = False  # no address is given of it any more
    created: str = ""  # RFC 3339 in UTC, which sorts as it is
    uid: str = ""
    fields: tuple[str, ...] = ()  # of the CIDRs, for problems

    @property
    def versions(self) -> frozenset[int]:
        """The IP versions that it has addresses of."""
        return frozenset(cidr.version for cidr in self.cidrs)

    def length(self, version: int) -> int:
        """The prefix length of its blocks."""
        return dict(self.lengths)[version]

    def cidr_of(self, address: Address) -> Network | None:
        """The range of it that has an address."""
        return next((cidr for cidr in self.cidrs if address in cidr), None)

    def has(self, network: Network) -> bool:
        """Whether all addresses of a network are of it."""
        return any(overlap(network, cidr) and network.prefixlen >= cidr.prefixlen for cidr in self.cidrs)

    def is_static(self, address: Address) -> bool:
        """Whether it is given to nobody who does not ask for it."""
        return any(one.contains(address) for one in self.static)

    def why_never(self, address: Address) -> str:
        """Why nobody can have this address of it; empty when somebody can."""
        if any(one.contains(address) for one in self.excluded):
            return "is excluded"
        if address in self.gateways:
            return "is the gateway's"
        cidr = self.cidr_of(address)
        if cidr is None:
            return "is in no range"
        is_end = address in {cidr.network_address, cidr.broadcast_address} and cidr.num_addresses > 2  # noqa: PLR2004
        return "is the range's own first or last" if is_end else ""


@dataclass(frozen=True, slots=True)
class IpBlock:
    """An IPBlock (sluiceway.io/v1alpha1): addresses of a pool that one node alone gives to its pods.

    Its name follows from network and range: who makes the object first has the block.
    """

    name: str
    cidr: Network
    pool: str = ""
    node: str = ""
    network: str = ""
    uid: str = ""
    revision: str = ""

    @property
    def is_routed(self) -> bool:
        """Whether its addresses are reached by way of its node."""
        return not self.network

    def clashes(self, other: "IpBlock") -> bool:
        """Whether two blocks have an address in common, on the same network."""
        return self.network == other.network and self.uid != other.uid and overlap(self.cidr, other.cidr)


def block_name(network: str, cidr: Network) -> str:
    """The name of a block's object, a DNS subdomain: of two with one name the API server makes one."""
    address = cidr.network_address.exploded.replace(":", "-")
    return ".".join(filter(None, (f"{address}-{cidr.prefixlen}", network)))


def overlap(one: Network, other: Network) -> bool:
    """Whether two networks have an address in common."""
    return one.version == other.version and one.overlaps(other)


def routed(
    blocks: Mapping[str, IpBlock], pools: Mapping[str, IpPool], before: Mapping[str, IpBlock]
) -> Mapping[str, IpBlock]:
    """The blocks that are believed and routed: within a pool of the cluster's network, which is the administrator's.

    Who may write blocks, as every node may, could draw any address to itself otherwise. One that was believed *before*
    still is, for its pods are there when somebody takes its pool away.
    """
    ranges = [_span(cidr) for pool in pools.values() if not pool.network for cidr in pool.cidrs]
    return {
        name: block
        for name, block in blocks.items()
        if block.is_routed and (before.get(name) == block or _is_within(_span(block.cidr), ranges))
    }


def _span(cidr: Network) -> tuple[int, int, int]:
    return cidr.version, int(cidr.network_address), int(cidr.broadcast_address)


def _is_within(span: tuple[int, int, int], ranges: Iterable[tuple[int, int, int]]) -> bool:
    return any(span[0] == one[0] and one[1] <= span[1] and span[2] <= one[2] for one in ranges)


def with_blocks(
    nodes: Mapping[str, Node], blocks: Mapping[str, IpBlock], before: Mapping[str, Node]
) -> Mapping[str, Node]:
    """The Nodes, each with its own of these *blocks*; one that is as *before* is the identical value."""
    owned: dict[str, list[IpBlock]] = {}
    for block in blocks.values():
        if block.node in nodes:
            owned.setdefault(block.node, []).append(block)
    found = dict(nodes)
    for name, those in owned.items():
        ordered = sorted(those, key=lambda one: (one.cidr.version, one.cidr))
        made = replace(nodes[name], blocks=tuple((one.cidr, one.name) for one in ordered))
        known = before.get(name)
        found[name] = known if known == made else made
    return found
