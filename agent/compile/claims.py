"""Two services may ask for one address, port and protocol: the first by namespace and name has it, before any pod."""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.compile.changes import changed
from agent.compile.frontend import frontends
from agent.compile.host_port import NAMESPACE
from agent.compile.records import Desired, Frontends
from agent.model.name import ObjectName
from agent.model.service import Service

Owners = Mapping[bytes, tuple[ObjectName, ...]]
NOTHING: Mapping[bytes, ObjectName] = {}


@dataclass(frozen=True, slots=True)
class Claims:
    """Who wants which frontend, and what moved since before."""

    owners: Owners  # sorted; the first has it
    asked: Mapping[ObjectName, Frontends]  # of services that changed
    contended: tuple[ObjectName, ...]  # other services whose frontends those changes may touch


def claims(services: Mapping[ObjectName, Service], before: Desired) -> Claims:
    """The claims of all services, from those before and the services that changed."""
    names = changed(before.served.services, services)
    if not names:
        return Claims(before.claims, {}, ())
    owners = dict(before.claims)
    asked: dict[ObjectName, Frontends] = {}
    contended: dict[ObjectName, None] = {}
    for name in names:
        old = before.services.get(name)
        new = asked[name] = frontends(services[name]) if name in services else Frontends()
        held = {entry.key for entry in old.inputs.frontends.entries} if old else set()
        wanted = {entry.key for entry in new.entries}
        for key in held - wanted:
            others = tuple(owner for owner in owners[key] if owner != name)
            contended.update(dict.fromkeys(others))
            if others:
                owners[key] = others
            else:
                del owners[key]
        for key in wanted - held:
            others = owners.get(key, ())
            contended.update(dict.fromkeys(others))
            owners[key] = tuple(sorted((*others, name), key=_rank)) if others else (name,)
    return Claims(owners, asked, tuple(name for name in contended if name in services))


def _rank(name: ObjectName) -> tuple[bool, ObjectName]:
    """A Service was given its address; a pod with a host port may have asked for every address there is."""
    return name.namespace == NAMESPACE, name


def lost(name: ObjectName, asked: Frontends, owners: Owners) -> Mapping[bytes, ObjectName]:
    """The frontends that *name* asks for and another has."""
    found = {entry.key: owners[entry.key][0] for entry in asked.entries if owners[entry.key][0] != name}
    return found or NOTHING
