"""IPPools: ranges of addresses for pods, how nodes share them, and which pods are given one."""

import re
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Raw, Struct

from agent.model.address import Network, is_reachable
from agent.model.ip_pool import BLOCK_LENGTHS, BLOCK_LENGTHS_MAX, IP_POOL, RANGE_LENGTHS, IpPool
from agent.model.lb_pool import AddressRange
from agent.model.policy import EVERYTHING
from agent.watch.decode.address_range import range_or_network
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader
from agent.watch.decode.selector import optional_selector

AUTOMATIC, BY_NAME = "Automatic", "ByName"
_NETWORK = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # a DNS label


class CreatedMetadata(Metadata, rename="camel", frozen=True):
    """``metadata``, with what says which of two came first."""

    creation_timestamp: str = ""


class _Lengths(Struct, frozen=True):
    """``spec.blockSize``: prefix lengths."""

    ipv4: int = BLOCK_LENGTHS[4]
    ipv6: int = BLOCK_LENGTHS[6]


class _Spec(Struct, rename="camel", frozen=True):
    """``spec`` of an IPPool."""

    cidrs: list[str] | None = None
    block_size: _Lengths | None = None
    exclude: list[str] | None = None
    static: list[str] | None = None
    gateways: list[str] | None = None
    network: str = ""
    assignment: str = BY_NAME
    node_selector: Raw = Raw(b"null")
    namespace_selector: Raw = Raw(b"null")
    disabled: bool = False


class _Pool(Struct, frozen=True):
    """An IPPool."""

    metadata: CreatedMetadata = CreatedMetadata()
    spec: _Spec = _Spec()


_POOL = msgspec.json.Decoder(_Pool)


def _decode(content: Content, context: Context) -> Decoded:
    found = _POOL.decode(content)
    read = Reader(IP_POOL_KIND, found.metadata, context.shared)
    spec = found.spec
    cidrs = tuple(_cidrs(read, spec.cidrs or ()))
    nodes = optional_selector(read, spec.node_selector, "spec.nodeSelector")
    namespaces = optional_selector(read, spec.namespace_selector, "spec.namespaceSelector")
    excluded, static = (
        tuple(_ranges(read, texts or (), f"spec.{name}"))
        for name, texts in (("exclude", spec.exclude), ("static", spec.static))
    )
    gateways = (read.address(text, f"spec.gateways[{at}]") for at, text in enumerate(spec.gateways or ()))
    pool = IpPool(
        name=read.name.name,
        cidrs=tuple(cidr for cidr, _ in cidrs),
        lengths=_lengths(read, spec.block_size or _Lengths()),
        excluded=excluded,
        static=static,
        gateways=tuple(gateway for gateway in gateways if gateway is not None),
        network=_network(read, spec.network),
        nodes=nodes or EVERYTHING,
        namespaces=namespaces or EVERYTHING,
        is_automatic=_is_automatic(read, spec.assignment),
        created=found.metadata.creation_timestamp,
        uid=found.metadata.uid,
        fields=tuple(field for _, field in cidrs),
        # whom it is for, and what nobody is to have of it, is not known: nothing more is given of it
        is_disabled=spec.disabled or not cidrs or any(not one.field.startswith("spec.cidrs") for one in read.problems),
    )
    return read.result(pool)


def _cidrs(read: Reader, texts: Iterable[str]) -> Iterator[tuple[Network, str]]:
    found: list[Network] = []
    for index, text in enumerate(texts):
        where = f"spec.cidrs[{index}]"
        network = read.network(text, where)
        if network is None:
            continue
        if not (is_reachable(network.network_address) and is_reachable(network.broadcast_address)):
            read.refuse(where, f"{network} has addresses that other hosts cannot reach; give unicast ones")
        elif network.prefixlen < RANGE_LENGTHS[network.version] - 8:
            read.refuse(where, f"{network} is too wide; give a /{RANGE_LENGTHS[network.version] - 8} at most")
        elif any(other.version == network.version and other.overlaps(network) for other in found):
            read.refuse(where, f"{network} overlaps another of this pool; leave it out")
        else:
            found.append(network)
            yield network, where


def _ranges(read: Reader, texts: Iterable[str], field: str) -> Iterator[AddressRange]:
    for index, text in enumerate(texts):
        found = range_or_network(read, text, f"{field}[{index}]")
        if found is not None:
            yield found


def _lengths(read: Reader, given: _Lengths) -> tuple[tuple[int, int], ...]:
    found = {4: given.ipv4, 6: given.ipv6}
    for version, length in found.items():
        least, most = RANGE_LENGTHS[version], BLOCK_LENGTHS_MAX[version]
        if not least <= length <= most:
            where = f"spec.blockSize.ipv{version}"
            read.refuse(where, f"{length} is no prefix length of a block; give one from {least} to {most}")
            found[version] = BLOCK_LENGTHS[version]
    return tuple(found.items())


def _network(read: Reader, text: str) -> str:
    if text and not _NETWORK.fullmatch(text):
        read.refuse("spec.network", f"{text!r} is no name of a network; use small letters, digits and '-'")
    return text


def _is_automatic(read: Reader, text: str) -> bool:
    if text not in {AUTOMATIC, BY_NAME}:
        read.refuse("spec.assignment", f"{text!r} is neither {AUTOMATIC} nor {BY_NAME}")
    return text == AUTOMATIC


IP_POOL_KIND = Kind(
    IP_POOL,
    "/apis/sluiceway.io/v1alpha1/ippools",
    "ip_pools",
    _decode,
    is_namespaced=False,
    is_optional=True,
)
