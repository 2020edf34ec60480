"""Prefixes that lead elsewhere than to the node whose pods they are: nobody is believed with them.

An import filter that changes has every router tell all it has anew, by a route refresh, or by a new session where the
router has none. So of IPPools, whose blocks come and go with pods, the ranges stand in it, and of other nodes' blocks
those alone that are shorter or longer than the pool has them now.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import summarize_address_range

from agent.compile.bgp.plan import all_within, exactly
from agent.model.address import Network, is_within
from agent.model.bgp import PrefixRange
from agent.model.ip_pool import IpPool
from agent.model.node import Node


@dataclass(frozen=True, slots=True)
class PodParts:
    """What is refused of routers."""

    own: tuple[PrefixRange, ...] = ()
    others: tuple[PrefixRange, ...] = ()
    spared: tuple[PrefixRange, ...] = ()  # of others': whole ranges of a node


def pod_parts(own: Node, others: Iterable[Network], pools: Iterable[IpPool]) -> PodParts:
    """All of the node's own, and of other nodes' what is a part.

    The whole range of another node is not among them: where nodes know of each other by routers, it comes so.
    """
    routed = [pool for pool in pools if not pool.network]
    blocks = [(cidr, max(pool.length(cidr.version), cidr.prefixlen)) for pool in routed for cidr in pool.cidrs]
    refused = [_longer(cidr, length) for cidr, length in blocks]
    static = tuple(_static(routed))
    spared = [PrefixRange(one, one.max_prefixlen, one.max_prefixlen) for one in static]
    for network in others:
        lengths = (length for cidr, length in blocks if is_within(network, cidr))
        length = min(lengths, default=network.max_prefixlen + 1)
        if network.prefixlen < length:
            refused.append(_longer(network, network.prefixlen))
        elif network.prefixlen > length and not _is_one_of(network, static):
            spared += exactly((network,))
    parts = tuple(one for one in refused if one.least <= one.most)
    return PodParts(all_within(own.pod_ranges), parts, tuple(spared))


def _longer(network: Network, length: int) -> PrefixRange:
    """All within it that are longer than so; none where nothing is."""
    return PrefixRange(network, length + 1, network.max_prefixlen)


def _static(pools: Iterable[IpPool]) -> Iterator[Network]:
    """Where each address that a pod has is a block of its own, on whichever node the pod is."""
    for pool in pools:
        for one in pool.static:
            yield from summarize_address_range(one.first, one.last)


def _is_one_of(network: Network, static: Iterable[Network]) -> bool:
    is_host = network.prefixlen == network.max_prefixlen
    return is_host and any(is_within(network, one) for one in static)
