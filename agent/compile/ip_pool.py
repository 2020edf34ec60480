"""Which pools a pod has addresses of, what of them is somebody else's, and which block a node claims next; pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network

from agent.compile.network_refused import NetworkRefused
from agent.model.address import Address, Network
from agent.model.cluster import Cluster
from agent.model.ip_pool import IP_BLOCK, IP_POOL, POOLS, IpBlock, IpPool, overlap
from agent.model.lb_pool import AddressRange
from agent.model.name import ObjectName, Problem
from agent.model.node import Namespace, Node

ANNOTATION = f"metadata.annotations['{POOLS}']"


class PoolMissing(NetworkRefused):
    """There is no such pool; it may come."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The pools that one interface has addresses of, in their order, and what says so."""

    pools: tuple[IpPool, ...] = ()
    field: str = ""  # empty: nobody names them

    @property
    def versions(self) -> frozenset[int]:
        """The IP versions that they have addresses of."""
        return frozenset().union(*(pool.versions for pool in self.pools))

    def of(self, version: int) -> tuple[IpPool, ...]:
        """Those that have addresses of a version."""
        return tuple(pool for pool in self.pools if version in pool.versions)


def first_choice(cluster: Cluster, node_name: str, namespace: str, annotation: str) -> Choice:
    """The pools of a pod's first interface; none: the Node's podCIDRs. *annotation* is the Pod's.

    Raises:
        NetworkRefused: it names a pool that is not for it.
    """
    space, node = cluster.namespaces.get(namespace), cluster.nodes.get(node_name)
    if annotation.strip():
        return named_choice(cluster, node_name, namespace, annotation, ANNOTATION)
    if space is not None and space.ip_pools.strip():
        return named_choice(cluster, node_name, namespace, space.ip_pools, f"Namespace {namespace} {ANNOTATION}")
    fit = [one for one in cluster.ip_pools.values() if _is_automatic(one) and why_not(one, node, space) == ""]
    # who says more of whom it is for goes first, and is then the only one
    ranks = {pool.name: (bool(pool.namespaces.requirements), bool(pool.nodes.requirements)) for pool in fit}
    best = max(ranks.values(), default=None)
    return Choice(tuple(sorted((one for one in fit if ranks[one.name] == best), key=lambda one: one.name)))


def named_choice(  # noqa: PLR0913  what it depends on
    cluster: Cluster, node_name: str, namespace: str, text: str, where: str, *, is_beside: bool = False
) -> Choice:
    """The pools of this *text*, names with commas between, all of one network: the cluster's, or one beside it.

    Raises:
        PoolMissing: one is not there.
        NetworkRefused: one is not for this pod.
    """
    space, node = cluster.namespaces.get(namespace), cluster.nodes.get(node_name)
    found = []
    for name in filter(None, map(str.strip, text.split(","))):
        pool = cluster.ip_pools.get(name)
        if pool is None:
            raise PoolMissing(where, f"there is no IPPool {name}")
        if why := why_not(pool, node, space):
            raise NetworkRefused(where, f"IPPool {name} {why}")
        if bool(pool.network) is not is_beside:
            of = f"is of the network {pool.network}" if pool.network else "is of the cluster's network"
            raise NetworkRefused(where, f"IPPool {name} {of}, which this interface is not on")
        found.append(pool)
    if len({pool.network for pool in found}) > 1:
        raise NetworkRefused(where, "names IPPools of several networks; an interface is on one")
    return Choice(tuple(found), where)


def has_automatic(cluster: Cluster, node_name: str) -> bool:
    """Whether pods of some namespace have addresses on this node without a podCIDR."""
    node = cluster.nodes.get(node_name)
    return any(
        _is_automatic(pool) and not pool.is_disabled and node is not None and pool.nodes.selects(dict(node.labels))
        for pool in cluster.ip_pools.values()
    )


def why_not(pool: IpPool, node: Node | None, namespace: Namespace | None) -> str:
    """Why a pod in a namespace, on a node, is given nothing of a pool; empty when it is."""
    if pool.is_disabled:
        return "is disabled"
    if not pool.nodes.selects(dict(node.labels) if node else {}):
        return "is not for this node (spec.nodeSelector)"
    if pool.namespaces.requirements and (namespace is None or not pool.namespaces.selects(dict(namespace.labels))):
        return f"is not for namespace {namespace.name if namespace else '?'} (spec.namespaceSelector)"
    return ""


def _is_automatic(pool: IpPool) -> bool:
    return pool.is_automatic and not pool.network


@dataclass(frozen=True, slots=True)
class Taken:
    """What of pools is somebody else's, by the pool's name: ranges of which no block is claimed."""

    ranges: Mapping[str, tuple[Network, ...]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def taken(cluster: Cluster, services: Iterable[Network] = ()) -> Taken:
    """Overlaps of pools: with those that were there before, with Nodes, with services.

    The older pool keeps the range that two have, every node says so alike, and the younger is the problem.
    """
    ordered = sorted(cluster.ip_pools.values(), key=lambda one: (one.created, one.name))
    others = [(cidr, f"of --service-cidrs ({cidr})") for cidr in services]
    for name, node in sorted(cluster.nodes.items()):
        others += [(cidr, f"of Node {name}'s podCIDR {cidr}") for cidr in node.pod_cidrs]
        others += [(ip_network(ip), f"of Node {name} ({ip})") for ip in node.internal_ips]
    ranges: dict[str, tuple[Network, ...]] = {}
    problems: list[Problem] = []
    before: list[IpPool] = []
    for pool in ordered:
        lost: list[Network] = []
        older = (one for one in before if one.network == pool.network)
        rivals = [(cidr, f"of IPPool {one.name} ({cidr})") for one in older for cidr in one.cidrs]
        rivals += [] if pool.network else others
        for cidr, where in zip(pool.cidrs, pool.fields, strict=True):
            found = [(rival, whose) for rival, whose in rivals if overlap(cidr, rival)]
            lost += [rival for rival, _ in found]
            if found:
                text = f"{cidr} has addresses {found[0][1]}, which keeps them; give each its own"
                problems.append(Problem(IP_POOL, ObjectName("", pool.name), where, text))
        problems += _unused(pool)
        if lost:
            ranges[pool.name] = tuple(lost)
        before.append(pool)
    return Taken(ranges, tuple(problems))


def strays(cluster: Cluster) -> Iterator[Problem]:
    """Blocks that are in no pool of their network: nobody is to believe them."""
    for name, block in sorted(cluster.ip_blocks.items()):
        pools = (pool for pool in cluster.ip_pools.values() if pool.network == block.network)
        if not any(pool.has(block.cidr) for pool in pools):
            text = f"{block.cidr} is in no IPPool, and no node routes to it that starts now; make the pool again"
            yield Problem(IP_BLOCK, ObjectName("", name), "spec.cidr", text)


def _unused(pool: IpPool) -> Iterator[Problem]:
    """Gateways, static ranges and exclusions that are not of the pool: a slip in one of the two."""
    fields = [("exclude", one) for one in pool.excluded] + [("static", one) for one in pool.static]
    fields += [("gateways", AddressRange(one, one)) for one in pool.gateways]
    for name, one in fields:
        if not any(_meets(one, cidr) for cidr in pool.cidrs):
            yield Problem(IP_POOL, ObjectName("", pool.name), f"spec.{name}", f"{one} is in no range of the pool")


def next_block(
    pool: IpPool, version: int, blocks: Iterable[IpBlock], lost: Iterable[Network], start: int
) -> Network | None:
    """The first block of a pool, from place *start* on and round, that nobody has; None when there is none.

    *blocks* are those of its network, *lost* what :func:`taken` says. What touches a static range is no node's. It
    takes as many steps as there are blocks and ranges in the way, however many places a range has.
    """
    held = {one.cidr for one in blocks if one.network == pool.network and one.cidr.version == version}
    held |= {one for one in lost if one.version == version}
    ranges = [cidr for cidr in pool.cidrs if cidr.version == version]
    counts = [1 << max(0, pool.length(version) - cidr.prefixlen) for cidr in ranges]
    total = sum(counts)
    lengths = {max(cidr.prefixlen, pool.length(version)) for cidr in ranges}
    odd = [one for one in held if one.prefixlen not in lengths]  # the others are equal to a block, or apart from it
    kept = [AddressRange(one.network_address, one.broadcast_address) for one in odd]
    kept += [one for one in pool.static if one.first.version == version]
    closed = [one for one in pool.excluded if one.first.version == version]
    step = 0
    while step < total:
        cidr, left = _block_at(pool, ranges, counts, (start + step) % total)
        passed = 1 if cidr in held else _passed(cidr, kept, closed)
        if not passed:
            return cidr
        step += min(passed, left)
    return None


def _passed(cidr: Network, kept: Iterable[AddressRange], closed: Iterable[AddressRange]) -> int:
    """How many blocks, from this one on, one range is in the way of; 0: none is.

    What is *kept* is in the way of each block that it touches, what is *closed* of those that it covers.
    """
    first, size = int(cidr.network_address), cidr.num_addresses
    for one in kept:
        if _meets(one, cidr):
            return (int(one.last) - first) // size + 1
    for one in closed:
        if _covers(one, cidr):
            return (int(one.last) + 1 - first) // size
    return 0


def block_of(pool: IpPool, address: Address) -> Network | None:
    """The block of a pool that has an address: one of its own where it is static."""
    cidr = pool.cidr_of(address)
    if cidr is None:
        return None
    length = address.max_prefixlen if pool.is_static(address) else max(cidr.prefixlen, pool.length(address.version))
    return ip_network((address, length), strict=False)


def _block_at(pool: IpPool, ranges: list[Network], counts: list[int], at: int) -> tuple[Network, int]:
    """The block at a place, and how many its range has from there on."""
    for cidr, count in zip(ranges, counts, strict=True):
        if at < count:
            length = max(cidr.prefixlen, pool.length(cidr.version))
            first = int(cidr.network_address) + (at << (cidr.max_prefixlen - length))
            return ip_network((type(cidr.network_address)(first), length)), count - at
        at -= count
    raise AssertionError


def _meets(one: AddressRange, cidr: Network) -> bool:
    return one.overlaps(AddressRange(cidr.network_address, cidr.broadcast_address))


def _covers(one: AddressRange, cidr: Network) -> bool:
    return one.contains(cidr.network_address) and one.contains(cidr.broadcast_address)
