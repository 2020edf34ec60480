"""``dpctl endpoint list``: who has an address on this node, or routes for a range of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address

from agent.compile.prefix import IPV4, KEY_BITS, MAPPED_BITS
from agent.model.address import unmapped
from dpctl.format import bit_rate
from dpctl.netns import DeviceName, names_of
from dpctl.output import Column, Table
from dpctl.pinned import opened
from maps import abi
from maps.pins import Generation


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One address of a pod or of the node itself, or a range that a pod routes for."""

    address: str  # a range has a slash
    owner: str  # "pod" or "node"; "router", the pod that routes for the range
    ifindex: int  # the node's end of the pod's veth; 0 for the node
    device: str  # its name; empty seen from another network namespace
    mac: str  # the pod's
    endpoint_id: int  # the attachment's; 0 for the node
    netns_cookie: int  # of the pod's network namespace; 0 when not known
    ingress_rate: int = 0  # bits per second to the pod; 0: no limit
    egress_rate: int = 0  # and from it


NO_LIMITS = abi.AttachmentLimits(abi.Limit(0, 0, 0), abi.Limit(0, 0, 0))
NOWHERE = abi.Attachment(0, 0, 0, bytes(6), 0, 0)

COLUMNS: tuple[Column[EndpointRow], ...] = (
    Column("ADDRESS", lambda r: r.address),
    Column("OWNER", lambda r: r.owner),
    Column("DEVICE", lambda r: r.device or (f"device {r.ifindex}" if r.ifindex else "")),
    Column("MAC", lambda r: r.mac if r.ifindex else ""),
    Column("ID", lambda r: str(r.endpoint_id or ""), right=True),
    Column("NETNS COOKIE", lambda r: str(r.netns_cookie or ""), right=True),
    Column("INGRESS LIMIT", lambda r: bit_rate(r.ingress_rate) if r.ingress_rate else "", right=True),
    Column("EGRESS LIMIT", lambda r: bit_rate(r.egress_rate) if r.egress_rate else "", right=True),
)


def endpoint_rows(
    entries: Iterable[tuple[IPv6Address, abi.Endpoint]],
    attachments: Iterable[tuple[int, abi.Attachment]],
    netns: Iterable[tuple[int, abi.PodAddresses]],
    device: DeviceName,
    limits: Iterable[tuple[int, abi.AttachmentLimits]] = (),
) -> list[EndpointRow]:
    """Rows from the entries of ``endpoints`` and what other maps add: the node first, then pods by address."""
    places, limited = dict(attachments), dict(limits)
    cookies = {address: cookie for cookie, pod in netns for address in (pod.addr4, pod.addr6) if int(address)}
    ordered = sorted(entries, key=lambda e: (not _is_node(e[1]), e[0].ipv4_mapped is None, e[0]))
    return [
        _row(
            str(unmapped(address)),
            None if _is_node(endpoint) else places.get(endpoint.slot, NOWHERE),
            cookies.get(address, 0),
            device,
            limited.get(endpoint.slot, NO_LIMITS),
            owner="node" if _is_node(endpoint) else "pod",
        )
        for address, endpoint in ordered
    ]


def range_rows(
    entries: Iterable[tuple[abi.PrefixKey, abi.RoutedRange]],
    attachments: Iterable[tuple[int, abi.Attachment]],
    device: DeviceName,
) -> list[EndpointRow]:
    """Rows from the entries of ``routed_ranges``, by address."""
    places = dict(attachments)
    ordered = sorted(entries, key=lambda e: (e[0].family, e[0].addr, e[0].prefix_bits))
    return [
        _row(network_text(key), places.get(found.slot, NOWHERE), 0, device, NO_LIMITS, owner="router")
        for key, found in ordered
    ]


def network_text(key: abi.PrefixKey) -> str:
    """A range as people write it."""
    address = unmapped(key.addr)
    return f"{address}/{key.prefix_bits - KEY_BITS - (MAPPED_BITS if address.version == IPV4 else 0)}"


def endpoint_table(generation: Generation) -> Table[EndpointRow]:
    """The endpoints of a generation."""
    with (
        opened(generation, abi.ENDPOINTS) as endpoints,
        opened(generation, abi.ATTACHMENTS) as attachments,
        opened(generation, abi.POD_NETNS) as netns,
        opened(generation, abi.LIMITS) as limits,
        opened(generation, abi.ROUTED_RANGES) as ranges,
        opened(generation, abi.NODE) as nodes,
    ):
        node = nodes.get(0)
        device = names_of(node.netns_cookie if node else 0)
        rows = endpoint_rows(endpoints.items(), attachments.items(), netns.items(), device, limits.items())
        rows += range_rows(ranges.items(), attachments.items(), device)
        return Table(COLUMNS, rows)


def _is_node(endpoint: abi.Endpoint) -> bool:
    return bool(endpoint.flags & abi.EndpointFlag.ENDPOINT_NODE)


def _row(  # noqa: PLR0913  what several maps say of one
    address: str,
    of_pod: abi.Attachment | None,
    netns: int,
    device: DeviceName,
    limits: abi.AttachmentLimits,
    *,
    owner: str,
) -> EndpointRow:
    attachment = of_pod or NOWHERE
    return EndpointRow(
        address=address,
        owner=owner,
        ifindex=attachment.ifindex,
        device=device(attachment.ifindex) if attachment.ifindex else "",
        mac=attachment.mac.hex(":"),
        endpoint_id=attachment.endpoint_id,
        netns_cookie=netns,
        ingress_rate=limits.ingress.rate,
        egress_rate=limits.egress.rate,
    )
