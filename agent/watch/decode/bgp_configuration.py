"""BGPConfigurations: what all nodes, or some of them, do in place of what the options say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import msgspec
from msgspec import Raw, Struct, field

from agent.model.address import Network
from agent.model.bgp_configuration import Advertisement, BgpConfiguration
from agent.model.community import WELL_KNOWN, Community, Marks, community, is_community_name
from agent.options.values import LAST_RESTART_S, MAX_PORT
from agent.watch.decode import bgp_fields
from agent.watch.decode.bgp_fields import BfdFields, ImportFields, Prefix, number_within
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader
from agent.watch.decode.standing import Status, standing


class _Advertise(Struct, frozen=True):
    """``spec.advertise``."""

    pods: bool | None = field(name="podCIDRs", default=None)
    cluster_ips: bool | None = field(name="clusterIPs", default=None)
    external_ips: bool | None = field(name="externalIPs", default=None)
    load_balancer: bool | None = field(name="loadBalancerIPs", default=None)


class _Relay(Struct, frozen=True):
    """``spec.relay``."""

    prefixes: list[Prefix] | None = None


class _Community(Struct, frozen=True):
    """``spec.communities[]``."""

    name: str = ""
    value: str = ""


class _Advertisement(Struct, rename="camel", frozen=True):
    """``spec.prefixAdvertisements[]``."""

    cidr: str = ""
    communities: list[str] | None = None
    local_preference: int | None = None


class _Spec(Struct, rename="camel", frozen=True):
    """``spec`` of a BGPConfiguration."""

    node_selector: Raw = Raw(b"null")
    asn: int | None = None
    listen_port: int | None = None
    node_mesh: bool | None = None
    mesh_across_asns: bool | None = field(name="meshAcrossASNs", default=None)
    hold_time: int | None = None
    graceful_restart: bool | None = None
    graceful_restart_time: int | None = None
    bfd: BfdFields | None = None
    next_hop_self: bool | None = None
    imports: ImportFields | None = field(name="import", default=None)
    relay: _Relay | None = None
    advertise: _Advertise = _Advertise()
    communities: list[_Community] | None = None
    prefix_advertisements: list[_Advertisement] | None = None
    aggregates: list[str] | None = None
    withdraw_when_cordoned: bool | None = None


class _Configuration(Struct, frozen=True):
    """A BGPConfiguration."""

    metadata: Metadata = Metadata()
    spec: _Spec = _Spec()
    status: Status = Status()


_CONFIGURATION = msgspec.json.Decoder(_Configuration)


def _decode(content: Content, context: Context) -> Decoded:
    found = _CONFIGURATION.decode(content)
    read, spec = Reader(BGP_CONFIGURATION, found.metadata, context.shared), found.spec
    selects = bgp_fields.is_given(spec.node_selector)
    nodes = bgp_fields.nodes(read, spec.node_selector) if selects else None
    told = spec.advertise
    imports = spec.imports
    made = BgpConfiguration(
        name=read.name.name,
        nodes=nodes,
        is_usable=nodes is not None or not selects,
        asn=_asn(read, spec.asn),
        port=_within(read, spec.listen_port, "spec.listenPort", 1, MAX_PORT),
        peers_nodes=spec.node_mesh,
        full_mesh=spec.mesh_across_asns,
        hold_s=None if spec.hold_time is None else bgp_fields.hold(read, spec.hold_time),
        restarts=spec.graceful_restart,
        restart_time_s=_within(read, spec.graceful_restart_time, "spec.gracefulRestartTime", 1, LAST_RESTART_S),
        bfd=bgp_fields.bfd(read, spec.bfd, "spec.bfd") if spec.bfd else None,
        next_hop_self=spec.next_hop_self,
        imports=None
        if imports is None
        else tuple(bgp_fields.prefixes(read, imports.prefixes or (), "spec.import.prefixes")),
        relayed=None
        if spec.relay is None
        else tuple(bgp_fields.prefixes(read, spec.relay.prefixes or (), "spec.relay.prefixes")),
        pods=told.pods,
        cluster_ips=told.cluster_ips,
        external_ips=told.external_ips,
        load_balancer=told.load_balancer,
        communities=_names(read, spec.communities or ()),
        advertisements=tuple(_advertisements(read, spec.prefix_advertisements or ())),
        aggregates=tuple(_aggregates(read, spec.aggregates or ())),
        leaves_when_cordoned=spec.withdraw_when_cordoned,
    )
    return read.result(replace(made, standing=standing(read, found.metadata, found.status)))


def _within(read: Reader, number: int | None, where: str, least: int, most: int) -> int | None:
    """The number; one out of its bounds says nothing."""
    before = len(read.problems)
    found = None if number is None else number_within(read, number, where, least, most)
    return found if len(read.problems) == before else None


def _asn(read: Reader, number: int | None) -> int | None:
    """As _within()."""
    before = len(read.problems)
    found = None if number is None else bgp_fields.asn(read, number, "spec.asn")
    return found if len(read.problems) == before else None


def _names(read: Reader, given: Sequence[_Community]) -> Mapping[str, Community]:
    found: dict[str, Community] = {}
    for index, one in enumerate(given):
        where = f"spec.communities[{index}]"
        if one.name in WELL_KNOWN or not is_community_name(one.name):
            read.refuse(f"{where}.name", f"{one.name[:64]!r} cannot be a name; give lower-case letters, digits and -")
        elif one.name in found:
            read.refuse(f"{where}.name", f"{one.name} is there twice; the first holds")
        else:
            try:
                found[one.name] = community(one.value)
            except ValueError as error:
                read.refuse(f"{where}.value", str(error))
    return found


def _advertisements(read: Reader, given: Sequence[_Advertisement]) -> Iterator[Advertisement]:
    for index, one in enumerate(given):
        where = f"spec.prefixAdvertisements[{index}]"
        network = read.network(one.cidr, f"{where}.cidr")
        before = len(read.problems)
        communities = bgp_fields.communities(read, one.communities, f"{where}.communities")
        preference = bgp_fields.attribute(read, one.local_preference, f"{where}.localPreference")
        if network is not None:
            yield Advertisement(network, Marks(communities, preference, len(read.problems) == before))


def _aggregates(read: Reader, given: Sequence[str]) -> Iterator[Network]:
    found: list[Network] = []
    for index, text in enumerate(given):
        where = f"spec.aggregates[{index}]"
        network = read.network(text, where)
        if network is None:
            continue
        if not network.prefixlen:
            read.refuse(where, f"{network} is all there is; give a range of the cluster's")
        elif any(network.version == other.version and network.overlaps(other) for other in found):
            read.refuse(where, f"{network} overlaps one before it")
        else:
            found.append(network)
    return iter(found)


BGP_CONFIGURATION = Kind(
    "BGPConfiguration",
    "/apis/sluiceway.io/v1alpha1/bgpconfigurations",
    "bgp_configurations",
    _decode,
    is_namespaced=False,
    is_optional=True,
)
