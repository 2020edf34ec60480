"""Interfaces of pods whose packets our programs do not see, or not all, where a policy is for them or for others.

It does nothing there. The pod's owner can say that it is meant so, by an annotation that names the interfaces.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from agent.compile.rule_set import policy_label
from agent.compile.subject import Subject, SubjectInputs, SubjectName, subjects
from agent.model.name import ObjectName, Problem
from agent.model.node import UNPROTECTED, Pod
from agent.model.policy import Policy

ALL = "*"
NAMED_MOST = 3  # policies in one sentence


@dataclass(frozen=True, slots=True)
class Bypass:
    """An interface that goes past the kernel, or past our programs in it."""

    subject: SubjectName  # as which policies select it
    interface: str
    device: str  # as people know it
    what: str  # it is, as words: "a VF on vfio-pci"
    is_guarded: bool = False  # programs are on it, which raw packets may go past
    below: str = ""  # the device of the node that others like it can be made above; empty: there is none
    is_ipvlan: bool = False  # its mode and its addresses are those of all others above the same device


def unprotected(those: Iterable[Bypass], pods: Mapping[ObjectName, Pod], inputs: SubjectInputs) -> tuple[Problem, ...]:
    """A problem for each that a policy cannot guard and nobody has said to be so; *inputs* have all policies."""
    every = tuple(those)
    named = {one.subject: pods[one.subject.pod] for one in every if one.subject.pod in pods}
    selected = subjects(replace(inputs, pods=named), SubjectInputs(), {})
    found = []
    for one in every:
        subject = selected.get(one.subject)
        if subject is None or _is_meant(subject.pod, one.interface):
            continue
        texts = [_raw(one, subject), _beside(one, subject)] if one.is_guarded else [_unseen(one, subject)]
        texts.append(_for_all(one, subject))
        field = f"metadata.annotations['{UNPROTECTED}']"
        found += [Problem("Pod", one.subject.pod, field, text) for text in texts if text]
    return tuple(found)


def _unseen(one: Bypass, subject: Subject) -> str:
    """What is said where no policy acts; empty: nothing."""
    if not subject.policies:
        return ""
    return (
        f"{one.interface} ({one.device}) is {one.what}, whose packets no policy sees, and "
        f"{_named(subject.policies)} selects the pod; "
        "name the interface in this annotation if that is meant, or take it away"
    )


def _raw(one: Bypass, subject: Subject) -> str:
    """What is said where raw packets go past rules: they are sent past the queue, and heard before programs judge."""
    egress = tuple(policy for policy in subject.policies if policy.egress is not None)
    ingress = tuple(policy for policy in subject.policies if policy.ingress is not None)
    ways = [f"send past the egress rules of {_named(egress)}"] if egress else []
    ways += [f"receive what the ingress rules of {_named(ingress)} deny"] if ingress else []
    if not ways or subject.pod.drops_raw:
        return ""
    may = " and ".join(ways)
    return (
        f"{one.interface} ({one.device}) is {one.what}, by which a container that has NET_RAW may {may}; "
        "drop it in each container, or name the interface in this annotation if that is meant"
    )


def _beside(one: Bypass, subject: Subject) -> str:
    """What is said where a pod can make another device above the same: the kernel asks for NET_ADMIN alone."""
    if not (one.below and subject.policies and subject.pod.has_net_admin):
        return ""
    return (
        f"{one.interface} is {one.what}, beside which a container that has NET_ADMIN may make another above "
        f"{one.below} that {_named(subject.policies)} does not see; take it from each container, or name the interface "
        "in this annotation if that is meant"
    )


def _for_all(one: Bypass, subject: Subject) -> str:
    """What is said where a pod can do harm to others by what all ipvlan devices above one device have in common.

    Whatever policies there are of its own: the mode l3s has others' packets pass no program, and an address that the
    node has is then the pod's.
    """
    if not (one.is_ipvlan and subject.pod.has_net_admin):
        return ""
    return (
        f"{one.interface} is {one.what}, by which a container that has NET_ADMIN may switch the mode of all above "
        f"{one.below}, past other pods' policies, and take the node's own addresses there; take it from each "
        "container, or name the interface in this annotation if that is meant"
    )


def _named(policies: Iterable[Policy]) -> str:
    labels = sorted(map(policy_label, policies))
    more = f" and {len(labels) - NAMED_MOST} more" if labels[NAMED_MOST:] else ""
    return ", ".join(labels[:NAMED_MOST]) + more


def _is_meant(pod: Pod, interface: str) -> bool:
    return bool({ALL, interface} & pod.unprotected)
