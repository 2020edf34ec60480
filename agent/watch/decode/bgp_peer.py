"""BGPPeers: routers that some of the nodes peer with, what is told to them and what is taken of them."""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw, Struct, field

from agent.model.address import Address, Network
from agent.model.bgp import MAX_ASN, Bfd, BgpPeer, Community, PeerExport, PrefixRange, community, within
from agent.model.policy import EVERYTHING, Selector
from agent.options.values import (
    LAST_HOLD_S,
    LAST_INTERVAL_MS,
    LEAST_HOLD_S,
    MAX_HOPS,
    MAX_MULTIPLIER,
    MAX_PORT,
)
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader
from agent.watch.decode.selector import LabelSelector, selector

MAX_PREPENDS = 16


class _Bfd(Struct, rename="camel", frozen=True):
    """``spec.bfd``."""

    transmit_interval: int = 1000
    receive_interval: int = 1000
    multiplier: int = 3
    graceful: bool = False


class _Prefix(Struct, rename="camel", frozen=True):
    """``spec.import.prefixes[]``."""

    cidr: str = ""
    min_length: int | None = None
    max_length: int | None = None


class _Import(Struct, frozen=True):
    """``spec.import``."""

    prefixes: list[_Prefix] | None = None
    limit: int = 0


class _Export(Struct, rename="camel", frozen=True):
    """``spec.export``."""

    communities: list[str] | None = None
    med: int | None = None
    local_preference: int | None = None
    prepend: list[int] | None = None
    pod_cidrs: bool | None = field(name="podCIDRs", default=None)
    services: bool = True


class _Spec(Struct, rename="camel", frozen=True):
    """``spec`` of a BGPPeer."""

    address: str = ""
    asn: int = 0
    node_selector: Raw = Raw(b"null")
    port: int = 179
    source_address: str = ""
    local_asn: int = field(name="localASN", default=0)
    password_key: str = ""
    multihop: int = 0
    ttl_security: bool = False
    hold_time: int = 0
    keepalive_time: int = 0
    graceful_restart: bool | None = None
    bfd: _Bfd | None = None
    both_families: bool = False
    next_hop_self: bool = True
    imports: _Import | None = field(name="import", default=None)
    export: _Export = _Export()


class _Peer(Struct, frozen=True):
    """A BGPPeer."""

    metadata: Metadata = Metadata()
    spec: _Spec = _Spec()


_PEER = msgspec.json.Decoder(_Peer)
_SELECTOR = msgspec.json.Decoder(LabelSelector)


def _decode(content: Content, context: Context) -> Decoded:
    found = _PEER.decode(content)
    read, spec = Reader(BGP_PEER, found.metadata, context.shared), found.spec
    nodes = _nodes(read, spec.node_selector)
    address = _address(read, spec.address, "spec.address")
    asn = _within(read, spec.asn, "spec.asn", 1, MAX_ASN)
    hold_s = _hold(read, spec)
    source = _address(read, spec.source_address, "spec.sourceAddress") if spec.source_address else None
    if source is not None and address is not None and source.version != address.version:
        read.refuse("spec.sourceAddress", f"{source} is not of the family of {address}")
    port = _within(read, spec.port, "spec.port", 1, MAX_PORT)
    local_asn = _within(read, spec.local_asn, "spec.localASN", 0, MAX_ASN)
    password_key = _key(read, spec.password_key)
    imports = spec.imports
    # a peer of which something decides whom it is, or what it may do, cannot be read, is none
    export = _export(read, spec.export)
    is_usable = not read.problems  # so far
    return read.result(
        BgpPeer(
            name=read.name.name,
            address=address if is_usable else None,
            asn=asn,
            nodes=nodes or EVERYTHING,
            port=port,
            source=source,
            local_asn=local_asn,
            password_key=password_key,
            multihop=_within(read, spec.multihop, "spec.multihop", 0, MAX_HOPS),
            ttl_security=spec.ttl_security,
            hold_s=hold_s,
            keepalive_s=_within(read, spec.keepalive_time, "spec.keepaliveTime", 0, LAST_HOLD_S),
            graceful_restart=spec.graceful_restart,
            bfd=_bfd(read, spec.bfd) if spec.bfd else None,
            both_families=spec.both_families,
            next_hop_self=spec.next_hop_self,
            imports=tuple(_prefixes(read, imports.prefixes or ())) if imports is not None else None,
            import_limit=_within(read, imports.limit, "spec.import.limit", 0, 1 << 24) if imports else 0,
            export=export,
        )
    )


def _nodes(read: Reader, given: Raw) -> Selector | None:
    if bytes(given) == b"null":
        return EVERYTHING
    found = read.part(_SELECTOR, given, "spec.nodeSelector")
    return selector(read, found, "spec.nodeSelector") if found is not None else None


def _address(read: Reader, text: str, where: str) -> Address | None:
    if not text:
        read.refuse(where, "is missing; give the peer's address")
        return None
    return read.reachable(text, where)


def _within(read: Reader, number: int, where: str, least: int, most: int) -> int:
    """The number; one out of its bounds is a problem, and the nearest bound."""
    if least <= number <= most:
        return number
    said = "is missing; give" if number == 0 else f"{number} is out of range; give"
    read.refuse(where, f"{said} {least} to {most}")
    return min(max(number, least), most)


def _hold(read: Reader, spec: _Spec) -> int:
    if spec.hold_time == 0:
        return 0
    found = _within(read, spec.hold_time, "spec.holdTime", LEAST_HOLD_S, LAST_HOLD_S)
    if spec.keepalive_time > found:
        read.refuse("spec.keepaliveTime", f"{spec.keepalive_time} is longer than spec.holdTime, {found}")
    return found


def _key(read: Reader, key: str) -> str:
    """A file's name within one folder."""
    if "/" in key or key.startswith("."):
        read.refuse("spec.passwordKey", "is no key of a Secret; give its name alone")
        return ""
    return key


def _bfd(read: Reader, given: _Bfd) -> Bfd:
    where = "spec.bfd"
    return Bfd(
        _within(read, given.transmit_interval, f"{where}.transmitInterval", 10, LAST_INTERVAL_MS),
        _within(read, given.receive_interval, f"{where}.receiveInterval", 10, LAST_INTERVAL_MS),
        _within(read, given.multiplier, f"{where}.multiplier", 1, MAX_MULTIPLIER),
        given.graceful,
    )


def _prefixes(read: Reader, given: Sequence[_Prefix]) -> Iterator[PrefixRange]:
    """Those that can be read: a mistake takes less, never more."""
    for index, one in enumerate(given):
        where = f"spec.import.prefixes[{index}]"
        network: Network | None = read.network(one.cidr, f"{where}.cidr")
        if network is None:
            continue
        bits = network.max_prefixlen
        alone = within(network)
        least = one.min_length if one.min_length is not None else network.prefixlen
        most = one.max_length if one.max_length is not None else max(alone.most, least)
        if not network.prefixlen <= least <= most <= bits:
            read.refuse(where, f"lengths from {least} to {most} are none of {network}; give {network.prefixlen}-{bits}")
            continue
        yield PrefixRange(network, least, most)


def _export(read: Reader, given: _Export) -> PeerExport:
    prepends = tuple(given.prepend or ())
    if len(prepends) > MAX_PREPENDS or not all(1 <= asn <= MAX_ASN for asn in prepends):
        read.refuse("spec.export.prepend", f"give {MAX_PREPENDS} AS numbers at most")
        prepends = ()
    for name, number in (("med", given.med), ("localPreference", given.local_preference)):
        if number is not None and not 0 <= number <= MAX_ASN:
            read.refuse(f"spec.export.{name}", f"{number} is out of range; give 0 to {MAX_ASN}")
    return PeerExport(
        communities=tuple(_communities(read, given.communities or ())),
        med=given.med,
        local_preference=given.local_preference,
        prepends=prepends,
        pods=given.pod_cidrs,
        services=given.services,
    )


def _communities(read: Reader, given: Sequence[str]) -> Iterator[Community]:
    for index, text in enumerate(given):
        try:
            yield community(text)
        except ValueError as error:
            read.refuse(f"spec.export.communities[{index}]", str(error))


BGP_PEER = Kind(
    "BGPPeer",
    "/apis/sluiceway.io/v1alpha1/bgppeers",
    "bgp_peers",
    _decode,
    is_namespaced=False,
    is_optional=True,
)
