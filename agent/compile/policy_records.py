"""The records of policies: their names, rule sets, classes, and who has which on each network.

Those that differ from before alone; an owner of which nothing differs keeps what it has.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from agent.compile.atom import NOBODY, Atom, Past, Signature
from agent.compile.peer import Peers
from agent.compile.policy_state import NOBODY_THERE, Policies
from agent.compile.prefix import prefix_key
from agent.compile.records import NOTHING, Owner, OwnerKind, Records
from agent.compile.rule_set import EVERYBODY, Packer, Reader, RuleSet
from agent.model.address import Address, mapped
from agent.model.name import ObjectName
from maps import abi
from maps.record import Packed

NAMES = Owner(OwnerKind.POLICY, "names")
CLASSES = Owner(OwnerKind.POLICY, "classes")
RANGES = Owner(OwnerKind.POLICY, "ranges")
Update = dict[Owner, Records]


def policy_records(now: Policies, before: Policies) -> tuple[Policies, Update]:
    """The records of the owners that differ, with the numbers of new lists of ports taken."""
    made: Update = {}
    is_first = not before.is_known  # what an earlier agent left is nobody's until it is said again
    if is_first or now.ids.policies is not before.ids.policies:
        made[NAMES] = _names(now.ids.policies.known)
    if is_first or now.ids.classes is not before.ids.classes:
        made[CLASSES] = _classes(now.ids.classes.known)
    if now.peers.ranges is not before.peers.ranges or now.ids.classes is not before.ids.classes:
        ranges = _ranges(now)
        if ranges != _ranges(before):
            made[RANGES] = ranges
    made |= _peer_records(now, now.peers, before.peers, None)
    for network, of in now.apart.items():
        made |= _peer_records(now, of, before.apart.get(network, NOBODY_THERE), network)
    gone = ((network, of) for network, of in before.apart.items() if network not in now.apart)
    made |= {_peer_owner(network, address): NOTHING for network, of in gone for address in of.elsewhere}
    differing = before.digests.keys() ^ now.digests.keys() if now.digests is not before.digests else frozenset()
    came_or_went, every = _Signatures(differing), _Signatures(now.digests)
    ids, live = now.ids, now.live()
    for key, reader in now.readers.items():
        if before.readers.get(key) is reader and not any(map(reader.meant, came_or_went.of(reader))):
            continue
        packer = Packer(ids.sets.known[key], ids.next_list)
        everybody = reader.table(NOBODY)
        for signature in every.of(reader):
            if reader.meant(signature):
                said = reader.table(signature)
                if said != everybody:
                    packer.add(now.class_of(signature), said)
        if reader.is_void:
            made[set_owner(live[key])] = NOTHING
            continue
        packer.add(EVERYBODY, everybody)  # written last: a class that it was of until now has a rule of its own by then
        _, ids = ids.lists(packer.lists)
        made[set_owner(live[key])] = packer.records(key)
    made |= {set_owner(one): NOTHING for key, one in before.live().items() if key not in live}
    return replace(now, ids=ids), made


class _Signatures:
    """Signatures by their atoms: of a namespace's many ranges other namespaces' rule sets need not look at each."""

    def __init__(self, those: Iterable[Signature]) -> None:
        self._all = tuple(those)
        self._places: dict[Atom, list[int]] = {}
        for at, signature in enumerate(self._all):
            for atom in signature:
                self._places.setdefault(atom, []).append(at)
        # what they were stands in these, of which a rule set that pods leave may mean another part
        self._pasts = [at for atom, places in self._places.items() if isinstance(atom.meaning, Past) for at in places]

    def of(self, reader: Reader) -> Iterator[Signature]:
        """Those that may have an atom of a rule set's, in their order."""
        places = {at for atom in reader.atoms for at in self._places.get(atom, ())}
        if reader.left_at is not None:
            places.update(self._pasts)
        return map(self._all.__getitem__, sorted(places))


def set_owner(rules: RuleSet) -> Owner:
    """A rule set as an owner of records."""
    return Owner(OwnerKind.RULE_SET, f"{rules.key.direction} {' '.join(rules.key.policies)} {rules.digest.hex()}")


def _names(numbers: Mapping[str, int]) -> Records:
    pack = abi.POLICIES.key.pack
    return Records.of({"policies": {pack(number): abi.PolicyName(label).pack() for label, number in numbers.items()}})


def _classes(numbers: Mapping[bytes, int]) -> Records:
    pack = abi.PEER_CLASSES.key.pack
    return Records.of(
        {"peer_classes": {pack(number): abi.PolicyDigest(label).pack() for label, number in numbers.items()}}
    )


def _ranges(now: Policies) -> Records:
    found: Packed = {
        prefix_key(network): abi.PeerClass(now.class_of(signature)).pack()
        for network, signature in now.peers.ranges.signatures.items()
    }
    return Records.of({"peer_ranges": found})


def _peer_records(now: Policies, of: Peers, old: Peers, network: ObjectName | None) -> Update:
    """The records of a network's peers that differ; *network* None: the cluster's."""
    number = now.ids.networks.known[str(network)] if network is not None else 0
    made: Update = {}
    for address, _, signature in _moved_elsewhere(of, old):
        record = {abi.PeerKey(mapped(address), number).pack(): abi.PeerClass(now.class_of(signature)).pack()}
        is_there = address in of.elsewhere
        made[_peer_owner(network, address)] = Records.of({"peers": record}) if is_there else NOTHING
    return made


def _peer_owner(network: ObjectName | None, address: Address) -> Owner:
    return Owner(OwnerKind.PEER, str(address) if network is None else f"{network} {address}")


def _moved_elsewhere(of: Peers, before: Peers) -> Iterator[tuple[Address, Signature, Signature]]:
    """Addresses of other nodes' pods, and of nodes, that are other peers than before, or are in another class."""
    new, old = of.elsewhere, before.elsewhere
    if new is old:
        return
    for address in of.touched:
        was, is_now = old.get(address), new.get(address)
        if was is not is_now and was != is_now:
            yield address, was or NOBODY, is_now or NOBODY
