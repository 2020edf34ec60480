"""Numbers that must stay: which set has which id, which backend has which slot.

Flows remember (set, slot), so a number that became free is given again only after all the others. Ids go into
compile and come out; after a restart they are recovered from what the maps hold.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, count
from struct import Struct

from maps import abi

BackendName = tuple[bytes, int]  # mapped address, port
LAST_SET = 0xFFFFFFFF
LAST_SLOT = 0xFFFF  # of a remote's id too


_SLOT = Struct("=16sHH")  # address, port, slot


@dataclass(frozen=True, slots=True)
class SetIds:
    """One set's id and the slots of its backends, packed: there may be a hundred thousand backends."""

    set_id: int
    packed: bytes = b""
    next_slot: int = 0

    @classmethod
    def of(cls, set_id: int, slots: Mapping[BackendName, int], next_slot: int = 0) -> "SetIds":
        """The ids of these backends."""
        return cls(set_id, b"".join(_SLOT.pack(*name, slot) for name, slot in slots.items()), next_slot)

    @property
    def slots(self) -> dict[BackendName, int]:
        """Each backend's slot."""
        return {(address, port): slot for address, port, slot in _SLOT.iter_unpack(self.packed)}


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

    def slots(self, label: str, backends: Collection[BackendName]) -> SetIds:
        """The set's id, and a slot for each backend; those that stay keep theirs."""
        known = self._current().get(label)
        slots = known.slots if known is not None else {}
        if known is not None and slots.keys() == set(backends):
            return known
        set_id, next_slot = (known.set_id, known.next_slot) if known is not None else (self._new_set(), 0)
        found = _with_slots(set_id, slots, next_slot, backends)
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


def _with_slots(set_id: int, slots: Mapping[BackendName, int], slot: int, backends: Collection[BackendName]) -> SetIds:
    kept = {name: slots[name] for name in backends if name in slots}
    taken = set(kept.values())
    for name in backends:
        if name in kept:
            continue
        slot = _free(slot, taken)
        kept[name] = slot
        taken.add(slot)
        slot += 1
    return SetIds.of(set_id, kept, slot)


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
