"""Peers that change while pods change their rule sets: what they were goes with them until all is written.

A pod that leaves a rule set is judged by it until its own record is written, and peers' records are written before. One
label may do both: it makes one pod another peer and gives another pod other rules. What such a peer was stays in its
signature as an atom of its own, a Past, and the rule sets that pods leave go by that. So each pod is judged by its old
rules of its old peers, or by its new rules of its new peers.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from agent.compile.atom import Atom, Atoms, Past, PortPeer, Signature, meaning_digest
from agent.compile.changes import changed
from agent.compile.identity import identity
from agent.compile.peer import PeerName, Peers, holder
from agent.compile.rule_set import Named, RuleSet, SetKey
from agent.compile.subject import Subjects
from agent.model.address import Address


@dataclass(frozen=True, slots=True)
class Given:
    """Which pods have which rule sets."""

    subjects: Subjects = field(default_factory=dict)
    sets: Mapping[SetKey, RuleSet] = field(default_factory=dict)

    def digests(self) -> Mapping[object, set[bytes]]:
        """The rule sets of each pod by their digests."""
        return {name: {self.sets[key].digest for key in one.keys} for name, one in self.subjects.items()}


def left_sets(old: Given, new: Given, left: Mapping[bytes, int], epoch: int) -> Mapping[bytes, int]:
    """The rule sets that pods leave, or left before, by digest, with the change of the first of them; this is *epoch*.

    One that a pod had which is no more counts where nobody has it now: it goes, too, when all is written.
    """
    if new.subjects is old.subjects and new.sets is old.sets:
        return left
    found, current = dict(left), {one.digest for one in new.sets.values()}
    now = new.digests()
    for name, digests in old.digests().items():
        gone = digests - now[name] if name in now else digests - current
        for one in gone:
            found.setdefault(one, epoch)
    return found if found != left else left


def atoms_named(rule_sets: Iterable[RuleSet], atoms: Atoms) -> Signature:
    """The atoms of all peers that these name."""
    wanted = [*rule_sets]
    names: Named = frozenset().union(*(one.named for one in wanted))
    ports = (atom for meaning, atom in atoms.by_meaning.items() if _is_port(meaning, names)) if names else ()
    return frozenset(atoms.by_meaning[peer] for one in wanted for peer in one.peers).union(ports)


def _is_port(meaning: object, names: Named) -> bool:
    return isinstance(meaning, PortPeer) and (meaning.port.name, meaning.networks) in names


def remembering(now: Peers, before: Peers, named: Signature, epoch: int) -> Peers:
    """*now*, where addresses that change as to *named*, the atoms of rule sets that pods leave, have their pasts.

    An address that another pod has now has none: that one inherits nothing.
    """
    if not named or now is before:
        return now
    old, new = _Holders(before), _Holders(now)
    elsewhere, here = dict(now.elsewhere), dict(now.here)
    pasts, changing = dict(now.pasts), set(now.changing)
    for address in {*now.touched, *changed(before.here, now.here)}:
        changing.discard(address)
        table = here if address in here else elsewhere
        holder_now = new.of(address)
        if address not in table or (holder_now is not None and holder_now != old.of(address)):
            continue
        was = before.of(address)
        known = frozenset(atom for atom in was if isinstance(atom.meaning, Past))
        is_told = any(past.epoch == epoch for past in _pasts(known))
        if not is_told and ((was - known) ^ table[address]) & named:
            past = Past(epoch, was - known)
            known |= {pasts.setdefault(past, Atom(past, meaning_digest(past)))}
        if known:
            table[address] |= known
            changing.add(address)
    return replace(
        now,
        elsewhere=elsewhere,
        here=here if here != before.here else before.here,
        pasts=pasts,
        changing=before.changing if changing == before.changing else frozenset(changing),
    )


def _pasts(signature: Signature) -> Iterator[Past]:
    return (atom.meaning for atom in signature if isinstance(atom.meaning, Past))


class _Holders:
    """Which pod has an address."""

    def __init__(self, of: Peers) -> None:
        self._peers = of
        self._attached = {
            address: one
            for one in of.inputs.attachments.values()
            for address in (() if one.is_in_pod else one.addresses)
        }

    def of(self, address: Address) -> PeerName | int | None:
        """The name of another node's, or what tells an attachment of this node; None: no pod has it."""
        attached = self._attached.get(address)
        return holder(self._peers, address) if attached is None else identity(attached)
