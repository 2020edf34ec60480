"""Owners and their records: what compile makes of each thing that has entries in maps, packed as the maps hold them.

No two owners of one Desired have a record under the same key of the same map: compile decides who has it. So the
records of the owners that changed tell all that is to be written and removed, whatever the others have.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from agent.model.name import ObjectName
from maps.abi import MAPS
from maps.record import Packed, cut


class OwnerKind(StrEnum):
    """What has records in maps."""

    SERVICE = "Service"  # an object, or a pod's host ports as one
    ATTACHMENT = "attachment"  # a pod's interface
    NODE = "node"  # this one
    REMOTE = "remote"  # another node
    ROUTER = "router"  # a pod that routes for others
    ANNOUNCED = "announced"  # what this node announces on its subnets
    RULE_SET = "rule set"  # what policies say together of the pods that they select
    PEER = "peer"  # an address that rules mean by who has it
    DENIED = "denied ranges"  # of the node
    POLICY = "policy"  # what all rule sets refer to: policies' names, classes, ranges of addresses


class Owner(NamedTuple):
    """One of them; *name* is an ObjectName, an AttachmentKey, or a node's name."""

    kind: OwnerKind
    name: ObjectName | tuple[str, str] | str

    def __str__(self) -> str:
        return f"{self.kind} {'/'.join(self.name) if isinstance(self.name, tuple) else self.name}"


class Records:
    """One owner's records: for each map its keys and its values, end to end.

    So they take a fraction of the memory of an object a record, and the garbage collector does not walk them.
    """

    __slots__ = ("_by_map",)

    def __init__(self, by_map: Iterable[tuple[str, bytes, bytes]] = ()) -> None:
        """*by_map* has a map's name once at most."""
        self._by_map = tuple(part for part in by_map if part[1])

    @classmethod
    def of(cls, contents: Mapping[str, Packed]) -> "Records":
        """Records given one by one."""
        return cls((name, b"".join(packed), b"".join(packed.values())) for name, packed in contents.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Records) and self._by_map == other._by_map

    def __hash__(self) -> int:
        return hash(self._by_map)

    def counts(self) -> Iterator[tuple[str, int]]:
        """How many there are in each map."""
        return ((name, len(keys) // MAPS[name].key.SIZE) for name, keys, _ in self._by_map)

    def raw(self, name: str) -> tuple[bytes, bytes]:
        """One map's keys and values, end to end."""
        return next(((keys, values) for found, keys, values in self._by_map if found == name), (b"", b""))

    def of_map(self, name: str) -> dict[bytes, bytes]:
        """One map's records, one by one."""
        spec, (keys, values) = MAPS[name], self.raw(name)
        return dict(zip(cut(keys, spec.key.SIZE), cut(values, spec.value.SIZE), strict=True))

    def items(self) -> Iterator[tuple[str, dict[bytes, bytes]]]:
        """Every map's records, one by one."""
        return ((name, self.of_map(name)) for name, _, _ in self._by_map)


NOTHING = Records()
