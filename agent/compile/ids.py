"""Numbers that must stay: which set has which id, which backend has which slot.

Flows remember (set, slot), so a number that became free is given again only after all the others. Ids go into
compile and come out; after a restart they are recovered from what the maps hold.
"""

from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from struct import Struct

from agent.model.address import ADDRESS_BYTES
from maps import abi
from maps.record import cut

BackendName = tuple[bytes, int]  # mapped address, port
LAST_SET = 0xFFFFFFFF
LAST_SLOT = 0xFFFF  # of a remote's id too


_NUMBER = Struct(">H")  # as packets have ports


@dataclass(frozen=True, slots=True)
class SetIds:
    """One set's id and the slots of its backends, in columns end to end: there may be a hundred thousand backends.

    Sets whose backends have the same addresses, or slots, may have one object for both.
    """

    set_id: int
    addresses: bytes = b""  # ADDRESS_BYTES each
    ports: bytes = b""  # two octets each, as packets have them
    places: bytes = b""  # the slots, u16 in the machine's order
    next_slot: int = 0

    @classmethod
    def of(cls, set_id: int, slots: Mapping[BackendName, int], next_slot: int = 0) -> "SetIds":
        """The ids of these backends."""
        return cls(set_id, *columns(slots), array("H", slots.values()).tobytes(), next_slot)

    @property
    def slots(self) -> dict[BackendName, int]:
        """Each backend's slot."""
        return dict(zip(names(self.addresses, self.ports), array("H", self.places), strict=True))


def columns(backends: Iterable[BackendName]) -> tuple[bytes, bytes]:
    """The addresses and the ports of backends."""
    every = tuple(backends)
    return b"".join(address for address, _ in every), b"".join(_NUMBER.pack(port) for _, port in every)


def names(addresses: bytes, ports: bytes) -> list[BackendName]:
    """The backends that such columns are of."""
    return list(zip(cut(addresses, ADDRESS_BYTES), (port for (port,) in _NUMBER.iter_unpack(ports)), strict=True))


@dataclass(frozen=True, slots=True)
class RemoteIds:
    """The id of every node behind the tunnel, by its mapped outer address; 0, and from REMOTE_SELF on, are nobody's."""

    ids: Mapping[bytes, int] = field(default_factory=dict)
    next_id: int = 1

    def of(self, addresses: Collection[bytes]) -> "RemoteIds":
        """The ids of these nodes; those that stay keep theirs, and one that became free is the last to be given."""
        if self.ids.keys() == set(addresses):
            return self
        kept = {address: self.ids[address] for address in addresses if address in self.ids}
        taken, following = {0, *range(abi.REMOTE_EXTERNAL_IP, LAST_SLOT + 1), *kept.values()}, self.next_id
        for address in addresses:
            if address not in kept:
                kept[address] = _free(following, taken)
                taken.add(kept[address])
                following = kept[address] + 1
        return RemoteIds(kept, following)


@dataclass(frozen=True, slots=True)
class Ids:
    """Every set in use by its label, and every node behind the tunnel."""

    sets: Mapping[str, SetIds] = field(default_factory=dict)
    next_set: int = 1
    remotes: RemoteIds = field(default_factory=RemoteIds)


class IdBook:
    """Ids of sets while a Desired is being made: what is asked for is given, what is not can be dropped."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._sets: dict[str, SetIds] | None = None
        self._next = ids.next_set
        self._changes: dict[tuple[object, ...], tuple[bytes, int]] = {}  # of sets, where several change alike

    def slots(self, label: str, addresses: bytes, ports: bytes) -> SetIds:
        """The set's id, and a slot for each backend in such columns; those that stay keep theirs."""
        known = self._current().get(label)
        if known is not None and (known.addresses, known.ports) == (addresses, ports):
            return known
        before = known or SetIds(self._new_set())
        found = SetIds(before.set_id, addresses, ports, *self._given(before, addresses, ports))
        self._writable()[label] = found
        return found

    def drop(self, labels: Iterable[str]) -> None:
        """Forget sets that no longer exist."""
        for label in labels:
            self._writable().pop(label, None)

    def keep(self, labels: Iterable[str]) -> None:
        """Forget every set but these."""
        self.drop(self._current().keys() - set(labels))

    def ids(self) -> Ids:
        """What to hand to the next round."""
        return self._ids if self._sets is None else Ids(self._sets, self._next, self._ids.remotes)

    def _given(self, before: SetIds, addresses: bytes, ports: bytes) -> tuple[bytes, int]:
        """The slots, and where to look for the next free one; which number a port has is nothing to them."""
        size = len(before.ports)
        ranks = _alike(before.ports + ports)
        change = before.addresses, before.places, before.next_slot, addresses, ranks
        if change not in self._changes:
            slots = dict(zip(names(before.addresses, ranks[:size]), array("H", before.places), strict=True))
            self._changes[change] = _with_slots(slots, before.next_slot, names(addresses, ranks[size:]))
        return self._changes[change]

    def _current(self) -> Mapping[str, SetIds]:
        return self._ids.sets if self._sets is None else self._sets

    def _writable(self) -> dict[str, SetIds]:
        if self._sets is None:
            self._sets = dict(self._ids.sets)
        return self._sets

    def _new_set(self) -> int:
        if self._next <= LAST_SET:
            self._next += 1
            return self._next - 1
        taken = {known.set_id for known in self._current().values()}
        return next(set_id for set_id in count(1) if set_id not in taken)


def _alike(ports: bytes) -> bytes:
    """The same column with numbers from 0 on as they come: alike where ports differ in their numbers alone."""
    if ports == ports[:2] * (len(ports) // 2):
        return bytes(len(ports))
    every = array("H", ports)
    number = {port: _NUMBER.pack(at) for at, port in enumerate(dict.fromkeys(every))}
    return b"".join(map(number.__getitem__, every))


def _with_slots(slots: Mapping[BackendName, int], slot: int, backends: Sequence[BackendName]) -> tuple[bytes, int]:
    """The slots of *backends*, as before where they had any, and where to look for the next free one."""
    kept = {name: slots[name] for name in backends if name in slots}
    taken = set(kept.values())
    for name in backends:
        if name in kept:
            continue
        slot = _free(slot, taken)
        kept[name] = slot
        taken.add(slot)
        slot += 1
    return array("H", map(kept.__getitem__, backends)).tobytes(), slot


def _free(slot: int, taken: Collection[int]) -> int:
    """The first free slot from *slot* on, round the end."""
    return first_free(slot, taken, 0, LAST_SLOT)


def first_free(number: int, taken: Collection[int], first: int, last: int) -> int:
    """The first number from *number* on that is not taken, round the end from *last* to *first*; there must be one."""
    if number <= last and number not in taken:
        return number
    candidates = chain(range(number + 1, last + 1), range(first, min(number, last + 1)))
    return next(candidate for candidate in candidates if candidate not in taken)


def recovered(
    backend_sets: Mapping[bytes, bytes], backends: Mapping[bytes, bytes], remotes: Mapping[bytes, bytes]
) -> Ids:
    """The ids that maps hold from an earlier life; of two sets with one label the older stays."""
    slots: dict[int, dict[BackendName, int]] = {}
    keys = abi.BackendKey.unpack_many(b"".join(backends))
    values = abi.Backend.unpack_many(b"".join(backends.values()))
    for key, backend in zip(keys, values, strict=True):
        slots.setdefault(key.set_id, {})[backend.addr.packed, backend.port] = key.slot
    set_ids = abi.BACKEND_SETS.key.unpack_many(b"".join(backend_sets))
    names = abi.BackendSet.unpack_many(b"".join(backend_sets.values()))
    labels: dict[str, SetIds] = {}
    for set_id, label in sorted(zip(set_ids, (name.label for name in names), strict=True)):
        held = slots.get(set_id, {})
        labels.setdefault(label, SetIds.of(set_id, held, max(held.values(), default=-1) + 1))
    return Ids(labels, max((*set_ids, *slots), default=0) + 1, _recovered_remotes(remotes))


def _recovered_remotes(remotes: Mapping[bytes, bytes]) -> RemoteIds:
    ids = abi.REMOTES.key.unpack_many(b"".join(remotes))
    addresses = (remote.addr.packed for remote in abi.Remote.unpack_many(b"".join(remotes.values())))
    return RemoteIds(dict(zip(addresses, ids, strict=True)), max(ids, default=0) + 1)
