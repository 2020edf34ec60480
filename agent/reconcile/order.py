"""The order in which maps are written, stated once: what is referred to stands before what refers to it.

A service names a set, the set's tables name slots, slots are backends. So a packet that finds a service finds all of
it, after every single write; and what was removed is named by nobody when it goes. The node's record, whose
generation tells flows to look at their backends and endpoints again, comes after all of this (see local.py).
"""

from collections.abc import Iterator, Mapping

from agent.compile.changes import changed
from agent.compile.records import Desired, ServiceRecords
from agent.model.name import ObjectName
from agent.reconcile.kernel import Tables
from maps.apply import removing, writing
from maps.plan import Changes, difference
from maps.record import Packed

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
    "limits": "--max-endpoints",
    "prefixes": "--max-prefixes",
    "remotes": "--max-prefixes",
}
Contents = Mapping[str, Packed]  # of the maps of services, by map
Plan = Mapping[str, Changes]  # the same


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


def moved(actual: Desired, wanted: Desired) -> tuple[Contents, Contents]:
    """What services with other records than before had and have; the rest is not looked at.

    Where a frontend passes from one service to another both are among them: compile makes the records of whoever
    loses or gets one anew.
    """
    names = changed(actual.services, wanted.services)
    old = contents({name: actual.services[name] for name in names if name in actual.services})
    new = contents({name: wanted.services[name] for name in names if name in wanted.services})
    return old, new


def plan(old: Contents, new: Contents) -> Plan:
    """What turns *old* into *new*."""
    return {name: difference(new[name], old[name]) for name in WRITES}


def apply(changes: Plan, tables: Tables) -> Iterator[int]:
    """Do a plan with a pause after each piece; yields the piece's records."""
    for name in WRITES:
        yield from writing(getattr(tables, name), changes[name].write, PIECE)
    for name in REMOVALS:
        yield from removing(getattr(tables, name), changes[name].remove, PIECE)
