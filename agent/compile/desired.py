"""The whole of compile in one function: what every map of this node holds for a Cluster.

Owners whose inputs are the identical objects keep their identical records, so a change costs what changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from agent.compile.changes import changed
from agent.compile.claims import Claims, claims, lost
from agent.compile.host_port import with_host_ports
from agent.compile.ids import IdBook, Ids, RemoteIds
from agent.compile.local import NODE_PORTS, NOTHING_BETWEEN, local_records
from agent.compile.node import Ports, node_problems
from agent.compile.records import BetweenRecords, Desired, Inputs, LocalRecords, Place, ServiceRecords
from agent.compile.service import service_records
from agent.compile.tunnel import Between, between_records
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem

LocalOrPlace = TypeVar("LocalOrPlace", LocalRecords, Place)


def desired(  # noqa: PLR0913, PLR0917  all that records follow from
    cluster: Cluster,
    node_name: str,
    ids: Ids,
    previous: Desired | None = None,
    node_ports: Ports = NODE_PORTS,
    between: Between = NOTHING_BETWEEN,
) -> Desired:
    """What this node's maps hold for *cluster*; *previous* is what an earlier call made, *ids* its ids."""
    before = previous or Desired()
    given, cluster = cluster, with_host_ports(cluster, node_name, before.served)
    node = cluster.nodes.get(node_name)
    local = _same(before.local, local_records(cluster.local, node, node_ports, between))
    place = _same(before.place, Place(node_name, node.zone if node else "", local.addresses))
    claimed = claims(cluster.services, before)
    book = IdBook(ids)
    services = _services(cluster, before, place, claimed, book)
    if previous is None:
        book.keep(part.label for records in services.values() for part in records.sets)
    ways, remotes = _between(cluster, node_name, before, between, ids.remotes)
    return Desired(
        given,
        cluster,
        place,
        services,
        claimed.owners,
        local,
        ways,
        replace(book.ids(), remotes=remotes),
        (*_problems(cluster, services), *node_problems(node_name, local.node)),
    )


def _services(
    cluster: Cluster, before: Desired, place: Place, claimed: Claims, book: IdBook
) -> Mapping[ObjectName, ServiceRecords]:
    """Every service's records; those of services that nothing touched are the identical ones."""
    touched = _touched(cluster, before, place, claimed)
    if not touched:
        return before.services
    services = dict(before.services)
    for name in touched:
        old = services.get(name)
        service = cluster.services.get(name)
        labels = [part.label for part in old.sets] if old else []
        if service is None:
            services.pop(name, None)
        else:
            asked = claimed.asked[name] if name in claimed.asked else services[name].inputs.frontends
            inputs = Inputs(service, cluster.slices.get(name, ()), asked, lost(name, asked, claimed.owners))
            made = service_records(inputs, place, book)
            kept = {part.label for part in made.sets}
            labels = [label for label in labels if label not in kept]
            services[name] = made
        book.drop(labels)
    return services


def _touched(cluster: Cluster, before: Desired, place: Place, claimed: Claims) -> Iterable[ObjectName]:
    """The services whose records may differ from before, each once."""
    if (place.name, place.zone) != (before.place.name, before.place.zone):
        return dict.fromkeys((*before.services, *cluster.services))
    found = dict.fromkeys(changed(before.served.services, cluster.services))
    found |= dict.fromkeys(name for name in changed(before.served.slices, cluster.slices) if name in cluster.services)
    found |= dict.fromkeys(claimed.contended)
    moved = place.addresses ^ before.place.addresses
    if moved:
        found |= {name: None for name, old in before.services.items() if not moved.isdisjoint(old.unplaced)}
    return found


def _between(
    cluster: Cluster, node_name: str, before: Desired, between: Between, known: RemoteIds
) -> tuple[BetweenRecords, RemoteIds]:
    """What lies between nodes; the identical value while nodes and subnets are as they were."""
    was, now = before.source.local, cluster.local
    is_same = cluster.nodes is before.source.nodes and before.place.name == node_name
    if is_same and was.devices == now.devices and was.not_masqueraded == now.not_masqueraded:
        return before.between, known
    found, ids = between_records(cluster.nodes, node_name, now, between, known)
    return (before.between if found == before.between else found), ids


def _problems(cluster: Cluster, services: Mapping[ObjectName, ServiceRecords]) -> tuple[Problem, ...]:
    found = (problem for records in services.values() if records.problems for problem in records.problems)
    return (*cluster.problems, *found)


def _same(old: LocalOrPlace, new: LocalOrPlace) -> LocalOrPlace:
    """The old value, where the new one says the same."""
    return old if old == new else new
