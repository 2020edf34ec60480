"""Who has which address on this node: an attachment's records, and the node's own addresses."""

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv6Address

from agent.compile.changes import changed
from agent.compile.limit import limit_record
from agent.compile.pod_policy import PodPolicy, Pods
from agent.compile.records import NOTHING, Owner, OwnerKind, Records
from agent.model.address import Address, mapped
from agent.model.attachment import Attachment, AttachmentKey
from agent.model.local import Device
from maps import abi
from maps.record import Packed

NO_ADDRESS = IPv6Address(0)
Attachments = Mapping[AttachmentKey, Attachment]


def node_addresses(devices: Iterable[Device], internal_ips: Iterable[Address]) -> frozenset[Address]:
    """The node's own addresses, without loopback ones: the programs know those."""
    every = [*internal_ips, *(address for device in devices for address in device.addresses)]
    return frozenset(address for address in every if not (address.is_loopback or address.is_unspecified))


def node_endpoints(
    own: Iterable[Address], attached: Iterable[Address], devices: Iterable[Device], with_ports: Collection[Address]
) -> Packed:
    """The node's own addresses, without those that an attachment has: it has them even if the node claims them too.

    *with_ports* are those at which node ports are.
    """
    held = {address for device in devices for address in device.addresses}
    return {
        mapped(address).packed: abi.Endpoint(
            0,
            abi.EndpointFlag.ENDPOINT_NODE
            | (abi.EndpointFlag.ENDPOINT_HELD if address in held else 0)
            | (0 if address in with_ports else abi.EndpointFlag.ENDPOINT_NO_PORTS),
        ).pack()
        for address in frozenset(own) - frozenset(attached)
    }


def attachment_owner(attachment: Attachment) -> Owner:
    """An attachment as an owner of records."""
    return Owner(OwnerKind.ATTACHMENT, attachment.key)


def attachment_records(
    now: Attachments, before: Attachments, policies: Pods, policies_before: Pods
) -> dict[Owner, Records]:
    """The records of the attachments that differ from before, or of which policy says something else.

    One that left has none. Where a VF's addresses are, its own programs know, and nobody on the node.
    Of several interfaces in one network namespace the first stands for the pod in pod_netns.
    """
    names = dict.fromkeys((*changed(before, now), *changed(policies_before, policies)))
    if not names:
        return {}
    cookies = {found[name].netns_cookie for found in (before, now) for name in names if name in found}
    first: dict[int, AttachmentKey] = {}
    for name, one in now.items():
        if one.netns_cookie in cookies:
            first.setdefault(one.netns_cookie, name)
    beside = (name for name, one in now.items() if one.netns_cookie in cookies)
    return {
        Owner(OwnerKind.ATTACHMENT, name): _records(
            now[name], policies[name], is_first=first[now[name].netns_cookie] == name
        )
        if name in now
        else NOTHING
        for name in dict.fromkeys((*names, *beside))
    }


def _records(attachment: Attachment, policy: PodPolicy, *, is_first: bool) -> Records:
    mac = bytes.fromhex(attachment.mac.replace(":", ""))
    slot, value = abi.ATTACHMENTS.key.pack(attachment.slot), abi.Endpoint(attachment.slot, abi.EndpointFlag(0)).pack()
    flags = abi.AttachmentFlag.ATTACHMENT_CHAINED if attachment.link.is_chained else abi.AttachmentFlag(0)
    if attachment.link.afxdp:
        flags |= abi.AttachmentFlag.ATTACHMENT_AF_XDP
    place = abi.Attachment(
        attachment.link.ifindex, policy.revision, attachment.endpoint_id, mac, flags, attachment.netns_cookie
    )
    rules, classes = policy.packed()
    return Records.of(
        {
            "limits": limit_record(attachment),
            "attachments": {slot: place.pack()},
            "chained_devices": _chained_device(attachment),
            "pod_classes": {slot: classes},
            "pod_policies": {slot: rules},
            "endpoints": {} if attachment.is_in_pod else dict.fromkeys(_keys(attachment, mac), value),
            "pod_netns": _pod_netns(attachment) if is_first else {},
        }
    )


def _keys(attachment: Attachment, mac: bytes) -> tuple[bytes, ...]:
    return tuple(mapped(address).packed for address in (*attachment.addresses, link_local(mac)))


def _chained_device(attachment: Attachment) -> Packed:
    """The pod by its device, where what another plugin's network brings need not be under an address of the pod."""
    link, devices = attachment.link, abi.CHAINED_DEVICES
    return {devices.key.pack(link.ifindex): devices.value.pack(attachment.slot)} if link.is_chained else {}


def link_local(mac: bytes) -> IPv6Address:
    """The address that an interface with a MAC has on its link: a pod's neighbour discovery comes from there.

    Source: RFC 4862, section 5.3, and RFC 4291, appendix A.
    """
    interface = bytes([mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:]])
    return IPv6Address(b"\xfe\x80" + bytes(6) + interface)


def _pod_netns(attachment: Attachment) -> Packed:
    """The pod's addresses by its network namespace: the client that affinity knows at the socket hooks."""
    if not attachment.netns_cookie:
        return {}
    ipv4 = mapped(attachment.ipv4) if attachment.ipv4 is not None else NO_ADDRESS
    value = abi.PodAddresses(ipv4, attachment.ipv6 or NO_ADDRESS)
    return {abi.POD_NETNS.key.pack(attachment.netns_cookie): value.pack()}
