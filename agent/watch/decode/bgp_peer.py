"""BGPPeers: routers that some of the nodes peer with, what is told to them and what is taken of them."""

import re
from dataclasses import replace

import msgspec
from msgspec import Raw, Struct, field

from agent.model.address import Address
from agent.model.bgp import AddPath, BgpPeer, PeerExport
from agent.model.policy import EVERYTHING
from agent.options.values import LAST_HOLD_S, LAST_RESTART_S, MAX_HOPS, MAX_PORT
from agent.watch.decode import bgp_fields
from agent.watch.decode.bgp_fields import BfdFields, ImportFields, number_within
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader
from agent.watch.decode.standing import Status, standing

IPV4 = 4
_DEVICE = re.compile(r"[a-zA-Z0-9_.@-]{1,15}")  # of the names that the kernel takes, those that BIRD takes in quotes
MOST_LOCAL_AS = 10
INTERNAL_IP = "InternalIP"  # in place of a source address
LAST_STALE_S = (1 << 24) - 1  # RFC 9494
ADD_PATHS = {"": AddPath.OFF, "Receive": AddPath.RECEIVE, "Send": AddPath.SEND, "Both": AddPath.BOTH}


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
    interface: str = ""
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
    graceful_restart_time: int = 0
    allow_local_as: int = field(name="allowLocalAS", default=0)
    long_lived_stale_time: int = 0
    bfd: BfdFields | None = None
    both_families: bool = False
    extended_next_hop: bool = False
    add_path: str = ""
    next_hop_self: bool = True
    filters: list[str] | None = None
    imports: ImportFields | None = field(name="import", default=None)
    export: _Export = _Export()


class _Peer(Struct, frozen=True):
    """A BGPPeer."""

    metadata: Metadata = Metadata()
    spec: _Spec = _Spec()
    status: Status = Status()


_PEER = msgspec.json.Decoder(_Peer)


def _decode(content: Content, context: Context) -> Decoded:
    found = _PEER.decode(content)
    read, spec = Reader(BGP_PEER, found.metadata, context.shared), found.spec
    nodes = bgp_fields.nodes(read, spec.node_selector) if bgp_fields.is_given(spec.node_selector) else EVERYTHING
    interface = _interface(read, spec)
    address = None if spec.interface else _address(read, spec.address, "spec.address")
    asn = bgp_fields.asn(read, spec.asn, "spec.asn")
    hold_s = _hold(read, spec)
    from_internal = spec.source_address == INTERNAL_IP
    named = "" if from_internal else spec.source_address
    source = _address(read, named, "spec.sourceAddress") if named else None
    if source is not None and address is not None and source.version != address.version:
        read.refuse("spec.sourceAddress", f"{source} is not of the family of {address}")
    port = number_within(read, spec.port, "spec.port", 1, MAX_PORT)
    local_asn = bgp_fields.asn(read, spec.local_asn, "spec.localASN") if spec.local_asn else 0
    password_key = _key(read, spec.password_key)
    add_path = _add_path(read, spec.add_path)
    if spec.extended_next_hop and address is not None and address.version == IPV4:
        read.refuse("spec.extendedNextHop", f"{address} is none of IPv6, over which IPv4's routes would be told")
    imports, where = spec.imports, "spec.import"
    # a peer of which something decides whom it is, or what it may do, cannot be read, is none
    export = _export(read, spec.export)
    is_usable = not read.problems  # so far
    made = BgpPeer(
        name=read.name.name,
        address=address if is_usable else None,
        interface=interface if is_usable else "",
        asn=asn,
        nodes=nodes or EVERYTHING,
        port=port,
        source=source,
        from_internal=from_internal,
        local_asn=local_asn,
        password_key=password_key,
        multihop=number_within(read, spec.multihop, "spec.multihop", 0, MAX_HOPS),
        ttl_security=spec.ttl_security,
        hold_s=hold_s,
        keepalive_s=number_within(read, spec.keepalive_time, "spec.keepaliveTime", 0, LAST_HOLD_S),
        graceful_restart=spec.graceful_restart,
        restart_time_s=number_within(read, spec.graceful_restart_time, "spec.gracefulRestartTime", 0, LAST_RESTART_S),
        local_as_most=number_within(read, spec.allow_local_as, "spec.allowLocalAS", 0, MOST_LOCAL_AS),
        stale_s=number_within(read, spec.long_lived_stale_time, "spec.longLivedStaleTime", 0, LAST_STALE_S),
        bfd=bgp_fields.bfd(read, spec.bfd, "spec.bfd") if spec.bfd else None,
        both_families=spec.both_families or spec.extended_next_hop or bool(interface),
        extended_next_hop=spec.extended_next_hop or bool(interface),
        add_path=add_path,
        next_hop_self=spec.next_hop_self,
        filters=tuple(spec.filters or ()),
        imports=None
        if imports is None
        else tuple(bgp_fields.prefixes(read, imports.prefixes or (), f"{where}.prefixes")),
        import_limit=number_within(read, imports.limit, f"{where}.limit", 0, 1 << 24) if imports else 0,
        export=export,
    )
    return read.result(replace(made, standing=standing(read, found.metadata, found.status)))


def _address(read: Reader, text: str, where: str) -> Address | None:
    if not text:
        read.refuse(where, "is missing; give the peer's address")
        return None
    return read.peers(text, where)


def _interface(read: Reader, spec: _Spec) -> str:
    """A device's name, in place of an address; the session is to its other end."""
    if not spec.interface:
        return ""
    if not _DEVICE.fullmatch(spec.interface):
        read.refuse("spec.interface", f"{spec.interface[:64]!r} is no device's name")
    for where, given in (
        ("address", spec.address),
        ("sourceAddress", spec.source_address),
        ("multihop", spec.multihop),
    ):
        if given:
            read.refuse(f"spec.{where}", "is of a peer that has an address; leave it out with spec.interface")
    return spec.interface


def _hold(read: Reader, spec: _Spec) -> int:
    if spec.hold_time == 0:
        return 0
    found = bgp_fields.hold(read, spec.hold_time)
    if spec.keepalive_time > found:
        read.refuse("spec.keepaliveTime", f"{spec.keepalive_time} is longer than spec.holdTime, {found}")
    return found


def _key(read: Reader, key: str) -> str:
    """A file's name within one folder."""
    if "/" in key or key.startswith("."):
        read.refuse("spec.passwordKey", "is no key of a Secret; give its name alone")
        return ""
    return key


def _add_path(read: Reader, given: str) -> AddPath:
    if given not in ADD_PATHS:
        read.refuse("spec.addPath", f"{given[:64]!r} is none of Receive, Send and Both")
        return AddPath.OFF
    return ADD_PATHS[given]


def _export(read: Reader, given: _Export) -> PeerExport:
    where = "spec.export"
    return PeerExport(
        communities=bgp_fields.communities(read, given.communities, f"{where}.communities"),
        med=bgp_fields.attribute(read, given.med, f"{where}.med"),
        local_preference=bgp_fields.attribute(read, given.local_preference, f"{where}.localPreference"),
        prepends=bgp_fields.prepends(read, given.prepend, f"{where}.prepend"),
        pods=given.pod_cidrs,
        services=given.services,
    )


BGP_PEER = Kind(
    "BGPPeer",
    "/apis/sluiceway.io/v1alpha1/bgppeers",
    "bgp_peers",
    _decode,
    is_namespaced=False,
    is_optional=True,
)
