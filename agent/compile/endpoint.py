"""Who has which address on this node: the pods' attachments, and the node itself."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv6Address

from agent.model.address import Address, mapped
from agent.model.attachment import Attachment
from agent.model.local import Device
from maps import abi
from maps.record import Packed

NO_MAC = bytes(6)
NO_ADDRESS = IPv6Address(0)
KEPT = 1024  # attachments whose records are remembered: a pod that comes costs its own, not those of all


def node_addresses(devices: Iterable[Device], internal_ips: Iterable[Address]) -> frozenset[Address]:
    """The node's own addresses, without loopback ones: the programs know those."""
    every = [*internal_ips, *(address for device in devices for address in device.addresses)]
    return frozenset(address for address in every if not (address.is_loopback or address.is_unspecified))


def endpoints(attachments: Iterable[Attachment], own: Iterable[Address]) -> Packed:
    """Every address by its endpoint; an attachment has its address even if the node claims it too."""
    node = abi.Endpoint(0, 0, NO_MAC, abi.EndpointFlag.ENDPOINT_NODE).pack()
    found = {mapped(address).packed: node for address in own}
    for attachment in attachments:
        found.update(_endpoints(attachment))
    return found


def pods(attachments: Iterable[Attachment]) -> Packed:
    """Every pod's addresses by its network namespace: the client that affinity knows at the socket hooks."""
    return {key: value for attachment in attachments for key, value in _pods(attachment)}


@lru_cache(KEPT)
def _endpoints(attachment: Attachment) -> tuple[tuple[bytes, bytes], ...]:
    mac = bytes.fromhex(attachment.mac.replace(":", ""))
    value = abi.Endpoint(attachment.endpoint_id, attachment.link.ifindex, mac, abi.EndpointFlag(0)).pack()
    return tuple((mapped(address).packed, value) for address in attachment.addresses)


@lru_cache(KEPT)
def _pods(attachment: Attachment) -> tuple[tuple[bytes, bytes], ...]:
    if not attachment.netns_cookie:
        return ()
    ipv4 = mapped(attachment.ipv4) if attachment.ipv4 is not None else NO_ADDRESS
    value = abi.PodAddresses(ipv4, attachment.ipv6 or NO_ADDRESS)
    return ((abi.POD_NETNS.key.pack(attachment.netns_cookie), value.pack()),)
