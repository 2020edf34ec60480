"""Which policies select which interfaces of this node's pods, and so which rule sets each has.

NetworkPolicies and ClusterNetworkPolicies are for the interfaces on the cluster's network, a MultiNetworkPolicy for
those of the further networks that it names.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from agent.compile.changes import changed
from agent.compile.rule_set import SetKey, set_key
from agent.model.attachment import Attachment
from agent.model.name import ObjectName
from agent.model.node import Namespace, Pod
from agent.model.policy import Direction, Policy

K = TypeVar("K")


class SubjectName(NamedTuple):
    """Interfaces of a pod that the same policies select."""

    pod: ObjectName
    network: ObjectName | None = None  # the definition of their further network
    is_apart: bool = False  # it is none of the cluster's


@dataclass(frozen=True, slots=True)
class Subject:
    """A pod of this node, with the policies that select some interface of it."""

    pod: Pod
    policies: tuple[Policy, ...] = ()
    ingress: SetKey | None = None
    egress: SetKey | None = None

    @property
    def keys(self) -> tuple[SetKey, ...]:
        """Its rule sets."""
        return tuple(key for key in (self.ingress, self.egress) if key is not None)


@dataclass(frozen=True, slots=True)
class SubjectInputs:
    """What subjects follow from; *pods* are those of this node's attachments.

    *knows_all*: a namespace that is none of *namespaces* has no labels; else nothing is known of it yet.
    """

    pods: Mapping[SubjectName, Pod] = field(default_factory=dict)
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    policies: Mapping[ObjectName, Policy] = field(default_factory=dict)
    cluster_policies: Mapping[str, Policy] = field(default_factory=dict)
    multi_policies: Mapping[ObjectName, Policy] = field(default_factory=dict)
    knows_all: bool = True

    def is_same(self, other: "SubjectInputs") -> bool:
        """Whether the same follows from both, compared part by part with `is`."""
        return all(getattr(self, part) is getattr(other, part) for part in self.__slots__)


Subjects = Mapping[SubjectName, Subject]


def subjects(now: SubjectInputs, old: SubjectInputs, before: Subjects) -> Subjects:
    """The subjects of now; one that is as before is the identical value, and so are all where nothing differs.

    A pod that some policy selects or not by the labels of a namespace of which nothing is known is none of them.
    """
    pods = dict.fromkeys(changed(old.pods, now.pods))
    if now.namespaces is not old.namespaces:
        moved = set(changed(old.namespaces, now.namespaces))
        pods |= {name: None for name in now.pods if name.pod.namespace in moved}
    policies = (
        *_differing(old.policies, now.policies),
        *_differing(old.cluster_policies, now.cluster_policies),
        *_differing(old.multi_policies, now.multi_policies),
    )
    if not pods and not policies:
        return before
    if policies and not now.knows_all:
        pods |= {name: None for name in now.pods if name.pod.namespace not in now.namespaces}
    found = dict(before)
    by_namespace = _by_namespace((*now.policies.values(), *now.multi_policies.values())) if pods else {}
    for name in pods:
        found.pop(name, None)
        if name in now.pods and not _is_undecided(name, now):
            candidates = (*by_namespace.get(name.pod.namespace, ()), *now.cluster_policies.values())
            selecting = _selecting(name, now.pods[name], candidates, now)
            found[name] = _subject(now.pods[name], selecting, before.get(name))
    for name in found.keys() - pods.keys() if policies else ():
        one = found[name]
        kept = tuple(policy for policy in one.policies if not any(policy is old for old, _ in policies))
        new = _selecting(name, one.pod, (policy for _, policy in policies if policy is not None), now)
        if new or len(kept) < len(one.policies):
            found[name] = _subject(one.pod, (*kept, *new), one)
    return found


def _differing(old: Mapping[K, Policy], new: Mapping[K, Policy]) -> Iterator[tuple[Policy | None, Policy | None]]:
    return ((old.get(name), new.get(name)) for name in changed(old, new))


def _by_namespace(policies: Iterable[Policy]) -> dict[str, list[Policy]]:
    found: dict[str, list[Policy]] = {}
    for policy in policies:
        found.setdefault(policy.subject.namespace, []).append(policy)
    return found


def _is_undecided(name: SubjectName, now: SubjectInputs) -> bool:
    """Whether a policy selects interfaces of a pod or not by the labels of its namespace, which nobody knows yet."""
    if now.knows_all or name.pod.namespace in now.namespaces:
        return False
    labels = dict(now.pods[name].labels)
    ours = (policy.subject for policy in now.cluster_policies.values() if _is_for(policy, name))
    return any(subject.namespaces.requirements and subject.pods.selects(labels) for subject in ours)


def _selecting(name: SubjectName, pod: Pod, policies: Iterable[Policy], now: SubjectInputs) -> tuple[Policy, ...]:
    """Those of some policies that select interfaces of a pod."""
    labels = dict(pod.labels)
    namespace = now.namespaces.get(pod.name.namespace)
    of_namespace = dict(namespace.labels) if namespace is not None else {}
    ours = (policy for policy in policies if _is_for(policy, name))
    return tuple(policy for policy in ours if _selects(policy, pod.name.namespace, labels, of_namespace))


def _is_for(policy: Policy, name: SubjectName) -> bool:
    """Whether a policy is for the network that these interfaces are on."""
    return not name.is_apart if policy.networks is None else name.network in policy.networks


def _selects(policy: Policy, namespace: str, labels: Mapping[str, str], of_namespace: Mapping[str, str]) -> bool:
    subject = policy.subject
    if subject.namespace and subject.namespace != namespace:
        return False
    return subject.pods.selects(labels) and (bool(subject.namespace) or subject.namespaces.selects(of_namespace))


def _subject(pod: Pod, policies: Collection[Policy], old: Subject | None) -> Subject:
    made = Subject(
        pod,
        tuple(policies),
        set_key(Direction.INGRESS, policies, pod.ports),
        set_key(Direction.EGRESS, policies, ()),
    )
    return old if old is not None and old == made and old.pod is pod else made


def attached_pods(
    attachments: Iterable[Attachment], pods: Mapping[ObjectName, Pod], *, knows_all: bool
) -> dict[ObjectName, Pod]:
    """The Pods of attachments. *knows_all*: who has none in *pods* has no labels; else nothing is known of it yet."""
    found: dict[ObjectName, Pod] = {}
    for one in attachments:
        if one.pod is None:
            continue
        pod = pods.get(one.pod)
        if pod is not None and is_pod_of(pod, one):
            found[one.pod] = pod
        elif knows_all:
            found[one.pod] = Pod(one.pod)
    return found


def interfaces(attachments: Iterable[Attachment], pods: Mapping[ObjectName, Pod]) -> dict[SubjectName, Pod]:
    """The Pods by the interfaces that attachments are."""
    names = map(subject_name, attachments)
    return {name: pods[name.pod] for name in names if name is not None and name.pod in pods}


def subject_name(attachment: Attachment) -> SubjectName | None:
    """Which subject an attachment is; None: it is no pod's."""
    if attachment.pod is None:
        return None
    return SubjectName(attachment.pod, attachment.network, attachment.is_apart)


def is_pod_of(pod: Pod, attachment: Attachment) -> bool:
    """Whether an attachment is of this Pod, and not of one that had its name before or has it now."""
    return pod.is_of(attachment.pod_uid)
