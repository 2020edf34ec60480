"""Network policy of this node: its rule sets, the classes of peers that they mean, and what each pod has of them.

What a policy's, a label's or an address's change does not concern stays the identical value. An attachment's revision
grows with each change of what is so for its pod, and its flows are judged anew; those of other pods are not.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from operator import itemgetter

from agent.compile.atom import NOBODY, Atom, Atoms, Past, Signature, signature_digest
from agent.compile.changes import changed, same
from agent.compile.identity import identity
from agent.compile.network_peer import apart_inputs, cluster_inputs, networks_apart, within_cluster
from agent.compile.past import Given, atoms_named, left_sets, remembering
from agent.compile.peer import PeerInputs, Peers, moved, named_ports, needs_pods, peers
from agent.compile.pod_policy import PodPolicy, Pods, begun, revised
from agent.compile.policy_records import Update, policy_records
from agent.compile.policy_state import NOBODY_THERE, Attachments, Policies
from agent.compile.range_room import RangeRoom, cidr_peers, crowded_out
from agent.compile.rule_set import EVERYBODY, Named, Reader, RuleSet, SetKey, policy_label
from agent.compile.settings import Settings
from agent.compile.subject import (
    Subject,
    SubjectInputs,
    attached_pods,
    interfaces,
    is_pod_of,
    subject_name,
    subjects,
)
from agent.model.address import Address
from agent.model.attachment import Attachment, AttachmentKey
from agent.model.cluster import Cluster
from agent.model.name import ObjectName
from agent.model.policy import CLUSTER_NETWORK_POLICY, MULTI_NETWORK_POLICY, NETWORK_POLICY
from maps import abi

PEER_PODS = "PeerPod"  # kind of a watch


def policies(  # noqa: PLR0913  two of them are the node's
    cluster: Cluster,
    settings: Settings,
    own: frozenset[Address],
    attachments: Attachments,
    before: Policies,
    *,
    settle: bool = False,
) -> tuple[Policies, Update]:
    """The policies of a Cluster, and the records of the owners that differ from *before*, without attachments' own.

    *own* are the node's addresses. While policies, or the pods that they mean, have not been listed, all stays as it
    was, and pods that come pass nothing.

    Rule sets that no pod has any more are retired: they stay, and so do the atoms that they name, until the maps hold
    all that is asked for. So each write on the way leaves every pod with rules that know every class: a class that
    tells more apart first, then other rule sets, then the classes that are left. For the rule sets that pods leave,
    addresses are who they were. *settle*: the maps do, and the retired ones go.
    """
    if not settings.network_policy:
        return _with_pods(before, _without_rules(attachments, before), attachments, is_known=True), {}
    if not _is_known(cluster, settings):
        return waiting(attachments, before), {}
    now = _selected(cluster, settings, attachments, before)
    atoms = now.peers.atoms
    now = _with_left(now, before, settle=settle)
    live = now.live()
    knows = not settings.pods_from_api
    common = PeerInputs({}, {}, cluster.namespaces, cluster.nodes, own, settings.node_name, attachments, knows)
    every = (policy for one in live.values() for policy in one.policies) if settings.multi_network_policy else ()
    within = within_cluster(every, cluster.networks)
    inputs = cluster_inputs(common, now.here, cluster.peers, within, before.peers.inputs)
    names: Named = frozenset().union(*(one.named for one in live.values()))
    if now.sets is not before.sets or now.retired is not before.retired or names:
        meanings = chain.from_iterable(one.peers for one in live.values())
        atoms = atoms.of(chain(meanings, named_ports(names, inputs)))
    needs = needs_pods(atoms) or bool(names)  # a named port may be one of pods of other nodes alone
    if needs and PEER_PODS not in cluster.listed and settings.pods_from_api:
        return replace(waiting(attachments, before), needs_peers=True), {}  # listed as soon as somebody watches them
    named = atoms_named((live[key] for key in now.left), atoms)
    now, without = _with_room(now, before, atoms, settings)
    made = peers(inputs, atoms, before.peers, settle=settle, without=without)
    met = remembering(made, before.peers, named, now.epoch)
    apart: dict[ObjectName, Peers] = {}
    for network in networks_apart(attachments.values()):
        old = before.apart.get(network, NOBODY_THERE)
        inputs = apart_inputs(common, network, now.here, cluster.peers, old.inputs)
        made = peers(inputs, atoms, old, settle=settle, without=without)
        apart[network] = remembering(made, old, named, now.epoch)
    now = replace(now, peers=met, apart=_same_peers(before.apart, apart), needs_peers=needs, is_known=True)
    now = replace(now, digests=_digests(now, before))
    now = _numbered(now, before)
    readers = _readers(now, before)
    now = replace(now, readers=readers)
    concerned = _concerned(now, before)
    now, update = policy_records(now, before)
    void = frozenset(key for key, reader in now.readers.items() if reader.is_void)
    now = replace(now, void=same(before.void, void), has_room=_has_room(now, settings))
    return _with_pods(now, _pods(now, cluster, attachments, concerned, before), attachments, is_known=True), update


def _with_left(now: Policies, before: Policies, *, settle: bool) -> Policies:
    """With the rule sets that pods have in the maps, maybe, and are to have no more."""
    if settle:
        return replace(now, left={}, retired=before.retired and {})
    given, epoch = Given(before.subjects, before.sets), before.epoch + 1
    left = left_sets(given, Given(now.subjects, now.sets), before.left, epoch)
    if left is before.left and now.sets is before.sets:
        return now
    current, live = {one.digest for one in now.sets.values()}, before.live()
    return replace(now, left=left, retired={key: live[key] for key in left if key not in current}, epoch=epoch)


def _with_room(now: Policies, before: Policies, atoms: Atoms, settings: Settings) -> tuple[Policies, Signature]:
    """With the policies for whose ranges there is no room, and the ranges that are theirs alone."""
    crowded = before.crowded
    if now.sets is not before.sets or now.retired is not before.retired:
        crowded = crowded_out(now.live().values(), RangeRoom(settings.range_room, settings.rule_room))
    if not crowded:
        return replace(now, crowded=()) if now.crowded else now, NOBODY
    if crowded is before.crowded and atoms is before.peers.atoms:
        return now, before.peers.without
    theirs = {id(policy) for policy in crowded}
    every = (policy for one in now.live().values() for policy in one.policies)
    kept = {peer for policy in every if id(policy) not in theirs for peer in cidr_peers(policy)}
    alone = {peer for policy in crowded for peer in cidr_peers(policy)} - kept
    found = frozenset(atoms.by_meaning[peer] for peer in alone if peer in atoms.by_meaning)
    return replace(now, crowded=crowded), found


def _same_peers(old: Mapping[ObjectName, Peers], new: Mapping[ObjectName, Peers]) -> Mapping[ObjectName, Peers]:
    """Compared with `is`, network by network."""
    return old if not changed(old, new) else new


def _has_room(now: Policies, settings: Settings) -> bool:
    peer_room, range_room = settings.peer_room, settings.range_room
    return not (
        (peer_room and sum(len(one.elsewhere) for one in now.every_peers) > peer_room)
        or (range_room and len(now.peers.ranges.signatures) > range_room)
    )


def _is_known(cluster: Cluster, settings: Settings) -> bool:
    """Whether all policies there are have been listed."""
    multi = {MULTI_NETWORK_POLICY} if settings.multi_network_policy else set()
    return {NETWORK_POLICY, CLUSTER_NETWORK_POLICY, *multi} <= cluster.listed


def waiting(attachments: Attachments, before: Policies) -> Policies:
    """As before; who comes meanwhile passes nothing."""
    found = {key: _held(before, key, one) or begun(PodPolicy(), one) for key, one in attachments.items()}
    return _with_pods(before, found, attachments, is_known=before.is_known)


def _with_pods(now: Policies, pods: Pods, attachments: Attachments, *, is_known: bool) -> Policies:
    return replace(now, pods=same(now.pods, pods), attachments=attachments, is_known=is_known)


def _held(before: Policies, key: AttachmentKey, attachment: Attachment) -> PodPolicy | None:
    """What an attachment had, if it is the one that had it."""
    found = before.pods.get(key)
    if found is None or before.attachments.get(key) is attachment:
        return found
    return found if found.holder == identity(attachment) else None


def _without_rules(attachments: Attachments, before: Policies) -> Pods:
    """Nobody has rules. Revisions stay, for they must go on from where they are when rules come back."""
    none = PodPolicy(abi.RULES_NONE, abi.RULES_NONE)
    return {
        key: same(old, replace(none, revision=old.revision, holder=old.holder)) if old else begun(none, one)
        for key, one in attachments.items()
        for old in (_held(before, key, one),)
    }


def _selected(cluster: Cluster, settings: Settings, attachments: Attachments, before: Policies) -> Policies:
    """With the subjects and rule sets of now."""
    knows_all = not settings.pods_from_api
    pods = attached_pods(attachments.values(), cluster.pods, knows_all=knows_all)
    old, here = before.inputs, same(before.here, pods)
    inputs = SubjectInputs(
        same(old.pods, interfaces(attachments.values(), here)),
        cluster.namespaces,
        cluster.policies,
        cluster.cluster_policies,
        cluster.multi_policies,
        knows_all,
    )
    if here is before.here and inputs.is_same(old):
        return before
    found = subjects(inputs, old, before.subjects)
    now = replace(before, here=here, inputs=inputs, subjects=found)
    if found is before.subjects:
        return now
    sets: dict[SetKey, RuleSet] = {}
    for subject in found.values():
        for key in subject.keys:
            if key not in sets:
                by_label = {policy_label(policy): policy for policy in subject.policies}
                made = RuleSet(key, tuple(by_label[label] for label in key.policies))
                known = before.sets.get(key)
                sets[key] = known if known is not None and _says_the_same(made, known) else made
    is_same = sets.keys() == before.sets.keys() and all(sets[key] is before.sets[key] for key in sets)
    return now if is_same else replace(now, sets=sets)


def _says_the_same(made: RuleSet, known: RuleSet) -> bool:
    """Of two of one key; the same policies are not read again, which may be long."""
    are_same = all(one is other for one, other in zip(made.policies, known.policies, strict=True))
    return are_same or made.digest == known.digest


def _digests(now: Policies, before: Policies) -> Mapping[Signature, bytes]:
    if now.peers is before.peers and now.apart is before.apart:
        return before.digests
    signatures = set[Signature]().union(*(one.signatures() for one in now.every_peers))
    if signatures == before.digests.keys():
        return before.digests
    found = {one: before.digests.get(one) or signature_digest(one) for one in signatures}
    return dict(sorted(found.items(), key=itemgetter(1)))  # so that numbers do not depend on the process


def _numbered(now: Policies, before: Policies) -> Policies:
    """With the numbers of all that has one."""
    ids = now.ids
    if now.sets is not before.sets or now.retired is not before.retired or not now.sets:
        live = now.live()
        labels = dict.fromkeys(label for one in live.values() for label in one.key.policies)
        named = [*islice(labels, ids.policies.last)]
        ids = replace(ids, policies=ids.policies.of(named), sets=ids.sets.of(live.keys()))
    if now.digests is not before.digests or not now.digests:
        ids = replace(ids, classes=ids.classes.of([*now.digests.values()]))
    if now.apart is not before.apart or not before.is_known:
        ids = replace(ids, networks=ids.networks.of([*map(str, now.apart)]))
    return replace(now, ids=ids)


def _readers(now: Policies, before: Policies) -> Mapping[bytes, Reader]:
    """What reads each rule set; one that would read the same is the identical one."""
    is_changing, was_changing = (any(one.changing for one in of.every_peers) for of in (now, before))
    atoms, left = now.peers.atoms, now.left if is_changing else {}
    is_same = now.sets is before.sets and now.retired is before.retired
    if is_same and atoms is before.peers.atoms and not left and not was_changing:
        return before.readers
    found: dict[bytes, Reader] = {}
    for key, one in now.live().items():
        old, left_at = before.readers.get(key), left.get(key)
        is_kept = old is not None and old.left_at == left_at and (not one.named or atoms is before.peers.atoms)
        found[key] = old if old is not None and is_kept else Reader(one, atoms, now.ids.policies.known, left_at)
    return found


def _concerned(now: Policies, before: Policies) -> set[bytes]:
    """The rule sets that say something else than before of some address, since that is another peer."""
    found: set[bytes] = set()
    if now.peers is before.peers and now.apart is before.apart:
        return found
    by_atom: dict[Atom, list[bytes]] = {}
    for key, reader in now.readers.items():
        for atom in reader.atoms:
            by_atom.setdefault(atom, []).append(key)
    told: set[tuple[Signature, Signature]] = set()
    for _, was, is_now in _moved(now, before):
        if (was, is_now) in told:
            continue
        told.add((was, is_now))
        for key in {key for atom in _all_of(was ^ is_now) for key in by_atom.get(atom, ())}:
            old = before.readers.get(key, now.readers[key])
            if key not in found and old.table(was) != now.readers[key].table(is_now):
                found.add(key)
    return found


def _moved(now: Policies, before: Policies) -> Iterator[tuple[Address, Signature, Signature]]:
    """As ``peer.moved``, in every network."""
    yield from moved(before.peers, now.peers)
    for network, of in now.apart.items():
        yield from moved(before.apart.get(network, NOBODY_THERE), of)


def _all_of(signature: Signature) -> Signature:
    """With the atoms of pasts."""
    return signature.union(*(atom.meaning.signature for atom in signature if isinstance(atom.meaning, Past)))


def _pods(now: Policies, cluster: Cluster, attachments: Attachments, concerned: set[bytes], before: Policies) -> Pods:
    """What each attachment has, at the cost of those of which something else may be so."""
    touched: Iterable[AttachmentKey] = (*attachments, *before.pods)
    if not concerned and now.is_same(before):
        subjects_changed = set(changed(before.subjects, now.subjects))
        of_subjects = (key for key, one in attachments.items() if subject_name(one) in subjects_changed)
        touched = (*changed(before.attachments, attachments), *(of_subjects if subjects_changed else ()))
    found = dict(before.pods)
    for key in touched:
        if key not in attachments:
            found.pop(key, None)
            continue
        one = attachments[key]
        old = _held(before, key, one)
        made = _pod(now, cluster, one)
        subject = _subject(now, one)
        is_concerned = subject is not None and any(now.sets[of].digest in concerned for of in subject.keys)
        found[key] = revised(made, old, one, is_concerned=is_concerned)
    return found


def _subject(now: Policies, attachment: Attachment) -> Subject | None:
    name = subject_name(attachment)
    return now.subjects.get(name) if name is not None else None


def _pod(now: Policies, cluster: Cluster, attachment: Attachment) -> PodPolicy:
    made = _rules(now, cluster, attachment)
    if attachment.network is None or not attachment.is_apart:
        return made
    return replace(made, network=now.ids.networks.known[str(attachment.network)])


def _rules(now: Policies, cluster: Cluster, attachment: Attachment) -> PodPolicy:
    addresses = (attachment.ipv4, attachment.ipv6) if not attachment.is_in_pod else ()  # no slot says whose a VF's are
    classes = (*(now.class_of(now.peers.of(address)) if address else EVERYBODY for address in addresses),)
    if attachment.pod is None:
        return PodPolicy(abi.RULES_NONE, abi.RULES_NONE, False, *classes)  # noqa: FBT003
    subject = _subject(now, attachment)
    if subject is None or not is_pod_of(subject.pod, attachment):
        return PodPolicy(abi.RULES_UNKNOWN, abi.RULES_UNKNOWN, False, *classes)  # noqa: FBT003
    namespace = cluster.namespaces.get(attachment.pod.namespace)
    return PodPolicy(
        _number(now, subject.ingress),
        _number(now, subject.egress),
        namespace is not None and namespace.audits,
        *classes,
    )


def _number(now: Policies, key: SetKey | None) -> int:
    """The number of a rule set that is not void. One that does not only accept would open where peers have no class."""
    if key is None:
        return abi.RULES_NONE
    rules = now.sets[key].digest
    is_void = rules in now.void or (not now.has_room and not now.readers[rules].only_accepts)
    return abi.RULES_UNKNOWN if is_void else now.ids.sets.known[rules]
