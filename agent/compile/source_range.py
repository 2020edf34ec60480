"""Whom a load balancer's address serves: spec.loadBalancerSourceRanges as keys of the map that programs ask."""

from collections.abc import Iterable, Iterator

from agent.compile.prefix import IPV4, MAPPED_BITS
from agent.model.address import Network, mapped
from maps import abi

SET_BITS = 32  # of a key before the address
IPV6 = 6


def source_range_keys(ranges: Iterable[Network], set_id: int, *, ipv6: bool) -> Iterator[bytes]:
    """The keys of the ranges of a set's family: nobody of a family without a range is served."""
    for network in ranges:
        if network.version == (IPV6 if ipv6 else IPV4):
            bits = SET_BITS + network.prefixlen + (0 if ipv6 else MAPPED_BITS)
            yield abi.SourceRangeKey(bits, set_id, mapped(network.network_address)).pack()
