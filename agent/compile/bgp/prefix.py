"""Which addresses of Services this node tells BGP's peers of: host routes, while somebody would answer.

With externalTrafficPolicy Local those of Services with a ready endpoint here; else while there is one anywhere. An
aggregate stands for the latter within it: every node serves them, so that what it draws here is served here.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

from agent.compile.bgp.configured import Unresolved, resolved
from agent.compile.bgp.reserved import Reserved
from agent.compile.bgp.router import Told
from agent.compile.bgp.settings import BgpSettings
from agent.compile.frontend import BALANCERS, Rank, served_outside
from agent.compile.public_range import PublicRanges
from agent.model.address import Address, Family, Network, family, is_within
from agent.model.bgp_configuration import Advertisement
from agent.model.cluster import Cluster
from agent.model.community import COMMUNITIES, MOST_COMMUNITIES, NO_MARKS, Community, Marks
from agent.model.name import ObjectName, Problem
from agent.model.service import EndpointSlice, Service


@dataclass(frozen=True, slots=True)
class Host:
    """An address that one Service has announced."""

    told: Told
    is_local: bool  # nodes without an endpoint do not serve it
    rank: Rank  # how the Service asks for it
    created: str  # as Service has it


@dataclass(frozen=True, slots=True)
class Rules:
    """By what is decided which addresses are announced, beside the Services themselves."""

    settings: BgpSettings
    ranges: PublicRanges | None
    node: str  # this one
    reserved: Reserved
    unserved: Collection[ObjectName] = ()  # Services that no node has a place for


@dataclass(frozen=True, slots=True)
class Known:
    """What one Service has announced."""

    service: Service
    slices: tuple[EndpointSlice, ...]
    hosts: tuple[Host, ...]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What each Service has announced, kept from one Desired to the next."""

    by_service: Mapping[ObjectName, Known] = field(default_factory=dict)
    services: tuple[Told, ...] = ()  # all of them, IPv4 first, each once
    aggregates: tuple[Told, ...] = ()  # of them
    problems: tuple[Problem, ...] = ()
    rules: Rules | None = None


def prefixes(cluster: Cluster, rules: Rules, before: Prefixes) -> Prefixes:
    """What is announced now; Services and slices that are the identical values as *before* cost a look."""
    known_before = before.by_service if before.rules is rules else {}
    found: dict[ObjectName, Known] = {}
    is_same = before.rules is rules and len(known_before) == len(cluster.services)
    for name, service in cluster.services.items():
        slices = cluster.slices.get(name, ())
        known = known_before.get(name)
        if known is None or known.service is not service or known.slices is not slices:
            made = _known(service, slices, rules)
            is_same = is_same and known is not None and (known.hosts, known.problems) == (made.hosts, made.problems)
            known = made
        found[name] = known
    if is_same:
        return replace(before, by_service=found)
    problems = tuple(problem for one in found.values() for problem in one.problems)
    services, aggregates = _aggregated((host for one in found.values() for host in one.hosts), rules.settings)
    return Prefixes(found, services, aggregates, problems, rules)


def marked(network: Network, marks: Marks, settings: BgpSettings) -> Told:
    """A prefix with what it carries: its own, and what BGPConfigurations say of its range.

    Raises:
        Unresolved: a community is not known, of the prefix's own by its place.
    """
    communities, preference = resolved(marks.communities, settings), marks.local_preference
    for one in settings.advertisements:
        if is_within(network, one.network):
            communities += _of_range(one, settings)
            preference = one.marks.local_preference if preference is None else preference
    if not communities and preference is None:
        return Told(network)
    return Told(network, Marks(tuple(dict.fromkeys(communities)), preference))


def _of_range(one: Advertisement, settings: BgpSettings) -> tuple[Community, ...]:
    try:
        if one.marks.is_known:
            return resolved(one.marks.communities, settings)
    except Unresolved as error:
        raise Unresolved(f"{error}, of spec.prefixAdvertisements for {one.network}") from error
    raise Unresolved(f"spec.prefixAdvertisements of a BGPConfiguration cannot be read for {one.network}")


def _known(service: Service, slices: tuple[EndpointSlice, ...], rules: Rules) -> Known:
    hosts: list[Host] = []
    problems: list[Problem] = []
    if service.name in rules.unserved:
        return Known(service, slices, ())
    for network, is_local, rank in _networks(service, slices, rules, problems):
        try:
            told = marked(network, service.marks, rules.settings)
            hosts.append(Host(replace(told, service=service.name), is_local, rank, service.created))
        except Unresolved as error:
            where = f"metadata.annotations['{COMMUNITIES}'][{error.index}]" if error.index is not None else "--router"
            problems.append(Problem("Service", service.name, where, f"{error}; BGP does not tell of it until then"))
    return Known(service, slices, tuple(hosts), tuple(dict.fromkeys(problems)))


def _aggregated(hosts: Iterable[Host], settings: BgpSettings) -> tuple[tuple[Told, ...], tuple[Told, ...]]:
    """What is told host by host, and the aggregates of the rest."""
    alone: dict[Network, Host] = {}
    together: dict[Network, Told] = {}
    for host in hosts:
        network = host.told.network
        wide = next((one for one in settings.aggregates if is_within(network, one)), None)
        if wide is None or host.is_local:
            alone[network] = _both(alone.get(network), host)
        elif wide not in together:
            together[wide] = marked(wide, NO_MARKS, settings)
    return _sorted(host.told for host in alone.values()), _sorted(together.values())


def _both(first: Host | None, second: Host) -> Host:
    """Two Services' one address: with the marks of who was given it or had it first, of one namespace's with both.

    It is preferred as the one that is preferred more. Together they carry no more communities than one Service may:
    what is behind those is left out, for BIRD withdraws a route whose attributes fill a message.
    """
    if first is None:
        return second
    if first.rank != second.rank or _owner(first) != _owner(second):
        return min(first, second, key=lambda host: (host.rank, host.created, host.told.service))
    one, two = first.told.marks, second.told.marks
    given = [number for number in (one.local_preference, two.local_preference) if number is not None]
    every = tuple(dict.fromkeys((*one.communities, *two.communities)))
    most = max(MOST_COMMUNITIES, len(one.communities))
    marks = Marks(every[:most], max(given, default=None))
    service = first.told.service if one.communities else second.told.service
    return replace(first, told=replace(first.told, marks=marks, service=service))


def _owner(host: Host) -> str:
    """The namespace whose Service it is."""
    return host.told.service.namespace if host.told.service else ""


def _sorted(found: Iterable[Told]) -> tuple[Told, ...]:
    return tuple(sorted(found, key=lambda one: (one.network.version, one.network)))


def _networks(
    service: Service, slices: tuple[EndpointSlice, ...], rules: Rules, problems: list[Problem]
) -> Iterator[tuple[Network, bool, Rank]]:
    addresses = tuple(_addresses(service, rules, problems)) if service.marks.is_known else ()
    if not addresses:
        return
    serving = {of: _serving(service, (one for one in slices if one.family is of)) for of in Family}
    for address, is_local, rank in addresses:
        nodes = serving[family(address)]
        if rules.node in nodes if is_local else nodes:
            yield ip_network(address), is_local, rank


def _serving(service: Service, slices: Iterable[EndpointSlice]) -> set[str]:
    """The nodes of the endpoints that answer."""
    states = tuple(state for one in slices for state in one.states)
    if service.publish_not_ready:
        return {state.node for state in states}
    ready = {state.node for state in states if state.ready and not state.terminating}
    # without a ready one those that end stand in, in the maps too: their connections go on
    return ready or {state.node for state in states if state.serving and state.terminating}


def _addresses(service: Service, rules: Rules, problems: list[Problem]) -> Iterator[tuple[Address, bool, Rank]]:
    """Those that may be announced, whether nodes without an endpoint do not serve them, and how they are asked for."""
    said, settings = dict(service.advertised), rules.settings
    if said.get("clusterip", settings.cluster_ips):
        yield from ((ip, service.internal_local, Rank.GIVEN) for ip in service.cluster_ips)
    tells_external = said.get("externalip", settings.external_ips)
    tells_balancers = said.get("loadbalancerip", settings.load_balancer)
    for where, ip in served_outside(service, rules.ranges):
        of_balancer = where.startswith(BALANCERS)
        if not (tells_balancers if of_balancer else tells_external):
            continue
        if why := rules.reserved.why(ip, of_balancer=of_balancer):
            problems.append(Problem("Service", service.name, where, f"{why}; BGP does not tell of it"))
            continue
        yield ip, service.external_local, Rank.BALANCER if of_balancer else Rank.EXTERNAL
