"""LoadBalancerPools: ranges of addresses, and which Services are given one of them."""

from collections.abc import Iterator
from ipaddress import IPv4Network

import msgspec
from msgspec import Raw, Struct

from agent.model.address import Network, is_reachable
from agent.model.lb_pool import AddressRange, LoadBalancerPool, PoolStatus
from agent.model.policy import EVERYTHING
from agent.watch.decode.address_range import address_range
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader
from agent.watch.decode.selector import optional_selector

POINT_TO_POINT = 2  # addresses of a network that has none of its own (RFC 3021, RFC 6164)


class _Spec(Struct, rename="camel", frozen=True):
    """``spec`` of a LoadBalancerPool."""

    cidrs: list[str] | None = None
    ranges: list[str] | None = None
    service_selector: Raw = Raw(b"null")
    namespace_selector: Raw = Raw(b"null")
    disabled: bool = False


class _Status(Struct, frozen=True):
    """Its ``status``."""

    total: int = 0
    used: int = 0
    conflicts: list[str] | None = None


class _Pool(Struct, frozen=True):
    """A LoadBalancerPool."""

    metadata: Metadata = Metadata()
    spec: _Spec = _Spec()
    status: _Status | None = None


_POOL = msgspec.json.Decoder(_Pool)


def _decode(content: Content, context: Context) -> Decoded:
    found = _POOL.decode(content)
    read = Reader(LOAD_BALANCER_POOL, found.metadata, context.shared)
    spec = found.spec
    services = optional_selector(read, spec.service_selector, "spec.serviceSelector")
    namespaces = optional_selector(read, spec.namespace_selector, "spec.namespaceSelector")
    # whom a selector means that cannot be read nobody knows: no Service is given anything, and what was given stays
    is_understood = services is not None and namespaces is not None
    status = found.status
    return read.result(
        LoadBalancerPool(
            name=read.name.name,
            ranges=(*_cidrs(read, spec.cidrs or ()), *_ranges(read, spec.ranges or ())),
            services=services or EVERYTHING,
            namespaces=namespaces or EVERYTHING,
            is_disabled=spec.disabled or not is_understood,
            status=PoolStatus(status.total, status.used, tuple(status.conflicts or ())) if status else None,
        )
    )


def _cidrs(read: Reader, cidrs: "list[str] | tuple[str, ...]") -> Iterator[AddressRange]:
    for index, text in enumerate(cidrs):
        where = f"spec.cidrs[{index}]"
        network = read.network(text, where)
        if network is not None:
            yield from _usable(read, addresses_of(network), where)


def addresses_of(network: Network) -> AddressRange:
    """The addresses of a network but its own and IPv4's broadcast: routers of the subnet would take these."""
    first, last = network.network_address, network.broadcast_address
    if network.num_addresses > POINT_TO_POINT:
        first += 1
        if isinstance(network, IPv4Network):
            last -= 1
    return AddressRange(first, last)


def _ranges(read: Reader, ranges: "list[str] | tuple[str, ...]") -> Iterator[AddressRange]:
    for index, text in enumerate(ranges):
        where = f"spec.ranges[{index}]"
        found = address_range(read, text, where)
        if found is not None:
            yield from _usable(read, found, where)


def _usable(read: Reader, found: AddressRange, where: str) -> Iterator[AddressRange]:
    if is_reachable(found.first) and is_reachable(found.last):
        yield found
    else:
        read.refuse(where, f"{found} has addresses that other hosts cannot reach; give unicast ones")


LOAD_BALANCER_POOL = Kind(
    "LoadBalancerPool",
    "/apis/sluiceway.io/v1alpha1/loadbalancerpools",
    "lb_pools",
    _decode,
    is_namespaced=False,
    is_optional=True,
    is_exact=True,
)
