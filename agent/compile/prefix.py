"""Ranges of addresses as the keys of maps that find the longest prefix."""

from agent.model.address import Network, mapped
from maps import abi

IPV4 = 4
KEY_BITS = 32  # of a prefix's key before the address: family and padding
MAPPED_BITS = 96  # of ::ffff:0:0


def prefix_key(network: Network) -> bytes:
    """The key of a range."""
    bits = network.prefixlen + (MAPPED_BITS if network.version == IPV4 else 0)
    return abi.PrefixKey(KEY_BITS + bits, network.version, mapped(network.network_address)).pack()
