"""The order in which maps are written, stated once: what is referred to stands before what refers to it.

A service names a set, the set's tables name slots, slots are backends. So a packet that finds a service finds all of
it, after every single write; and what was removed is named by nobody when it goes. The node's record, whose
generation tells flows to look at their backends and endpoints again, comes after all of this (see local.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agent.compile.changes import changed
from agent.compile.records import Desired, ServiceRecords
from agent.model.name import ObjectName
from agent.reconcile import packed
from agent.reconcile.kernel import Tables
from maps.errors import MapFull

WRITES = ("backends", "maglevs", "backend_sets", "services")
REMOVALS = ("services", "maglevs", "backends", "backend_sets")
PIECE = 512  # records of one call: under a millisecond, so a pod that waits does not wait long
FLAGS = {
    "services": "--max-services",
    "backend_sets": "--max-services",
    "maglevs": "--max-services",
    "backends": "--max-backends",
    "endpoints": "--max-endpoints",
    "pod_netns": "--max-endpoints",
}
Contents = Mapping[str, Mapping[bytes, bytes]]  # by map


@dataclass(frozen=True, slots=True)
class Plan:
    """What makes the maps of services equal to what is desired."""

    writes: Contents
    removals: Mapping[str, tuple[bytes, ...]]
    new: Mapping[str, int]  # writes under keys that are not there yet

    @property
    def size(self) -> int:
        """Records to write or remove."""
        return sum(map(len, self.writes.values())) + sum(map(len, self.removals.values()))


def contents(services: Mapping[ObjectName, ServiceRecords]) -> dict[str, dict[bytes, bytes]]:
    """All records of all services, by map."""
    found: dict[str, dict[bytes, bytes]] = {name: {} for name in WRITES}
    backends, maglevs, names, frontends = (found[name] for name in WRITES)
    for records in services.values():
        frontends.update(records.services)
        for part in records.sets:
            backends.update(part.backends)
            maglevs.update(part.maglevs)
            names.update(part.names)
    return found


def whole(held: Contents, wanted: Desired) -> Plan:
    """The plan from what was read back; what nobody wants goes."""
    target = contents(wanted.services)
    writes = {name: {k: v for k, v in target[name].items() if held[name].get(k) != v} for name in WRITES}
    removals = {name: tuple(held[name].keys() - target[name].keys()) for name in REMOVALS}
    return Plan(writes, removals, {name: len(writes[name].keys() - held[name].keys()) for name in WRITES})


def step(actual: Desired, wanted: Desired) -> Plan:
    """The plan from what was written before: only services with other records are looked at."""
    names = changed(actual.services, wanted.services)
    old = contents({name: actual.services[name] for name in names if name in actual.services})
    new = contents({name: wanted.services[name] for name in names if name in wanted.services})
    writes = {name: {k: v for k, v in new[name].items() if old[name].get(k) != v} for name in WRITES}
    removals = {name: tuple(old[name].keys() - new[name].keys()) for name in REMOVALS}
    # a frontend can pass from one service to another, of which only one may be among the changed
    removals["services"] = tuple(key for key in removals["services"] if key not in wanted.claims)
    added = {name: len(writes[name].keys() - old[name].keys()) for name in WRITES}
    added["services"] = sum(key not in actual.claims for key in writes["services"])
    return Plan(writes, removals, added)


def check_room(plan: Plan, counts: Mapping[str, int], tables: Tables) -> None:
    """Refuse a plan that does not fit, before its first write; new records come before old ones go.

    Raises:
        MapFull: which map, and the flag that makes it larger.
    """
    for name in WRITES:
        room, wanted = getattr(tables, name).max_entries, counts[name] + plan.new[name]
        if plan.new[name] and wanted > room:
            raise MapFull(name, room, wanted, FLAGS[name])


def apply(plan: Plan, tables: Tables) -> Iterator[None]:
    """Write the plan, with a pause after each piece."""
    for name in WRITES:
        for piece in packed.pieces(plan.writes[name], PIECE):
            packed.write(getattr(tables, name), piece)
            yield
    for name in REMOVALS:
        keys = plan.removals[name]
        for at in range(0, len(keys), PIECE):
            packed.remove(getattr(tables, name), keys[at : at + PIECE])
            yield
