"""Numbers of policies, rule sets, peer classes, networks and lists of ports: they stay while what they stand for does.

A number that became free is given again only after all the others, so none gets another sense while a packet is under
way.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from agent.compile.ids import first_free
from maps import abi

LAST_CLASS = LAST_LIST = 0xFFFFFFFF
LAST_SET = LAST_NETWORK = 0xFFFF

N = TypeVar("N", bytes, str)


@dataclass(frozen=True, slots=True)
class Numbers(Generic[N]):
    """The numbers of things by what names them; from *next_number* on the next is looked for, up to *last*."""

    first: int
    last: int
    known: Mapping[N, int] = field(default_factory=dict)
    next_number: int = 0

    def of(self, names: Collection[N]) -> "Numbers[N]":
        """The numbers of these; those that stay keep theirs.

        Raises:
            OverflowError: there are not so many numbers.
        """
        if self.known.keys() == set(names):
            return self
        if len(names) > self.last - self.first + 1:
            raise OverflowError(f"{len(names)} numbers wanted, {self.last - self.first + 1} there are")
        kept: dict[N, int] = {name: self.known[name] for name in names if name in self.known}
        taken, following = {*self.known.values()}, max(self.next_number, self.first)
        if len(taken) + len(names) - len(kept) > self.last - self.first + 1:
            taken = {*kept.values()}  # else one that leaves now would not be given before the next change
        for name in names:
            if name not in kept:
                kept[name] = first_free(following, taken, self.first, self.last)
                taken.add(kept[name])
                following = kept[name] + 1
        return replace(self, known=kept, next_number=following)


@dataclass(frozen=True, slots=True)
class PolicyIds:
    """All of them. Lists have no names: each new one gets a new number."""

    policies: Numbers[str] = Numbers(1, abi.MAX_POLICIES - 1)
    sets: Numbers[bytes] = Numbers(abi.RULES_FIRST, LAST_SET)
    classes: Numbers[bytes] = Numbers(1, LAST_CLASS)
    networks: Numbers[str] = Numbers(1, LAST_NETWORK)  # 0 is the cluster's
    next_list: int = 1

    def lists(self, count: int) -> tuple[int, "PolicyIds"]:
        """The first of so many list numbers that nobody has, and what there is to give afterwards."""
        first = self.next_list if self.next_list + count <= LAST_LIST else 1
        return first, replace(self, next_list=first + count)


def recovered(
    policies: Mapping[bytes, bytes],
    rule_sets: Mapping[bytes, bytes],
    peer_classes: Mapping[bytes, bytes],
    port_verdicts: Iterable[bytes],
) -> PolicyIds:
    """The numbers that maps hold from an earlier life; *port_verdicts* are keys."""
    none = PolicyIds()
    labels = (one.label for one in abi.PolicyName.unpack_many(b"".join(policies.values())))
    lists = (key.port_list for key in abi.PortVerdictKey.unpack_many(b"".join(port_verdicts)))
    return PolicyIds(
        _recovered(none.policies, abi.POLICIES.key.unpack_many(b"".join(policies)), labels),
        _recovered(none.sets, abi.RULE_SETS.key.unpack_many(b"".join(rule_sets)), _digests(rule_sets)),
        _recovered(none.classes, abi.PEER_CLASSES.key.unpack_many(b"".join(peer_classes)), _digests(peer_classes)),
        next_list=max(lists, default=0) + 1,
    )


def with_networks(ids: PolicyIds, known: Mapping[str, int]) -> PolicyIds:
    """With the numbers that networks have from an earlier life."""
    return replace(ids, networks=_recovered(ids.networks, known.values(), known.keys()))


def _digests(records: Mapping[bytes, bytes]) -> Iterable[bytes]:
    return (one.octets for one in abi.PolicyDigest.unpack_many(b"".join(records.values())))


def _recovered(none: Numbers[N], numbers: Iterable[int], names: Iterable[N]) -> Numbers[N]:
    known = dict(zip(names, numbers, strict=True))
    return replace(none, known=known, next_number=max(known.values(), default=0) + 1)
