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

Part = tuple[str, bytes, bytes]  # map, keys, values


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
    """One owner's records: for each map its keys and its values, end to end, in one part or several.

    So they take a fraction of the memory of an object a record, and the garbage collector does not walk them. Parts
    that are alike may be one object.
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        """A key is in one of a map's *parts* at most."""
        self._parts = tuple(part for part in parts if part[1])

    @classmethod
    def of(cls, contents: Mapping[str, Packed]) -> "Records":
        """Records given one by one."""
        return cls((name, b"".join(packed), b"".join(packed.values())) for name, packed in contents.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Records) and (self._parts == other._parts or dict(self.items()) == dict(other.items()))

    def __hash__(self) -> int:
        return hash(frozenset(self.counts()))

    def counts(self) -> Iterator[tuple[str, int]]:
        """How many there are in each map."""
        found: dict[str, int] = {}
        for name, keys, _ in self._parts:
            found[name] = found.get(name, 0) + len(keys) // MAPS[name].key.SIZE
        yield from found.items()

    def raw(self, name: str) -> tuple[bytes, bytes]:
        """One map's keys and values, end to end."""
        parts = [(keys, values) for found, keys, values in self._parts if found == name]
        return parts[0] if len(parts) == 1 else (b"".join(keys for keys, _ in parts), b"".join(v for _, v in parts))

    def of_map(self, name: str) -> dict[bytes, bytes]:
        """One map's records, one by one; of values that are one object each is one too."""
        spec, found = MAPS[name], dict[bytes, bytes]()
        held: dict[int, list[bytes]] = {}
        for of, keys, values in self._parts:
            if of == name:
                if id(values) not in held:
                    held[id(values)] = cut(values, spec.value.SIZE)
                found.update(zip(cut(keys, spec.key.SIZE), held[id(values)], strict=True))
        return found

    def items(self) -> Iterator[tuple[str, dict[bytes, bytes]]]:
        """Every map's records, one by one."""
        return ((name, self.of_map(name)) for name in dict.fromkeys(name for name, _, _ in self._parts))

    def but(self, other: "Records") -> "Records":
        """These without the parts that *other* has as they are."""
        held = {(name, keys): values for name, keys, values in other._parts}  # noqa: SLF001  of its own class
        return Records(part for part in self._parts if held.get(part[:2]) != part[2])


NOTHING = Records()
