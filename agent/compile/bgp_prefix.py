"""Which addresses of Services this node tells BGP's peers of: host routes, while somebody would answer.

With externalTrafficPolicy Local those of Services with a ready endpoint here; else while there is one anywhere.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network

from agent.compile.bgp_settings import BgpSettings
from agent.compile.public_range import PublicRanges
from agent.model.address import Address, Network
from agent.model.cluster import Cluster
from agent.model.name import ObjectName
from agent.model.service import EndpointSlice, Service

Known = tuple[Service, tuple[EndpointSlice, ...], tuple[Network, ...]]


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What each Service has announced, kept from one Desired to the next."""

    by_service: Mapping[ObjectName, Known] = field(default_factory=dict)
    networks: tuple[Network, ...] = ()  # all of them, IPv4 first, each once


def prefixes(
    cluster: Cluster, settings: BgpSettings, ranges: PublicRanges | None, node: str, before: Prefixes
) -> Prefixes:
    """What is announced now; Services and slices that are the identical values as *before* cost a look."""
    found: dict[ObjectName, Known] = {}
    is_same = len(before.by_service) == len(cluster.services)
    for name, service in cluster.services.items():
        slices = cluster.slices.get(name, ())
        known = before.by_service.get(name)
        if known is None or known[0] is not service or known[1] is not slices:
            networks = tuple(_networks(service, slices, settings, ranges, node))
            is_same = is_same and known is not None and known[2] == networks
            known = (service, slices, networks)
        found[name] = known
    if is_same:
        return Prefixes(found, before.networks)
    all_of_them = {network for _, _, networks in found.values() for network in networks}
    return Prefixes(found, tuple(sorted(all_of_them, key=lambda one: (one.version, one))))


def _networks(
    service: Service, slices: Iterable[EndpointSlice], settings: BgpSettings, ranges: PublicRanges | None, node: str
) -> Iterator[Network]:
    addresses = tuple(_addresses(service, settings, ranges))
    if not addresses:
        return
    ready = {state.node for one in slices for state in one.states if state.ready and not state.terminating}
    if service.publish_not_ready:
        ready = {state.node for one in slices for state in one.states}
    for address, is_local in addresses:
        if node in ready if is_local else ready:
            yield ip_network(address)


def _addresses(service: Service, settings: BgpSettings, ranges: PublicRanges | None) -> Iterator[tuple[Address, bool]]:
    """Those that may be announced, and whether a node without an endpoint does not serve them."""
    said = dict(service.advertised)
    if said.get("clusterip", settings.cluster_ips):
        yield from ((ip, service.internal_local) for ip in service.cluster_ips)
    for what, default, ips, of_balancer in (
        ("externalip", settings.external_ips, service.external_ips, False),
        ("loadbalancerip", settings.load_balancer, service.load_balancer, True),
    ):
        if said.get(what, default):
            for ip in ips:
                if not (ranges and ranges.refusal(ip, of_balancer=of_balancer)):
                    yield ip, service.external_local
