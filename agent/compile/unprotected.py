"""Interfaces of pods whose packets no program of ours sees, where a policy selects the pod: it does nothing there.

The pod's owner can say that it is meant so, by an annotation that names the interfaces.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from agent.compile.rule_set import policy_label
from agent.compile.subject import SubjectInputs, subjects
from agent.model.name import ObjectName, Problem
from agent.model.node import UNPROTECTED, Pod

ALL = "*"
NAMED_MOST = 3  # policies in one sentence


@dataclass(frozen=True, slots=True)
class Bypass:
    """An interface that goes past the kernel, or past our programs in it."""

    pod: ObjectName
    interface: str
    device: str  # as people know it


def unprotected(those: Iterable[Bypass], inputs: SubjectInputs) -> tuple[Problem, ...]:
    """A problem for each that a policy cannot guard and nobody has said to be so; *inputs* have the pods concerned."""
    selected = subjects(inputs, SubjectInputs(), {})
    found = []
    for one in those:
        subject = selected.get(one.pod)
        if subject is None or not subject.policies or _is_meant(subject.pod, one.interface):
            continue
        labels = sorted(map(policy_label, subject.policies))
        named = ", ".join(labels[:NAMED_MOST]) + (
            f" and {len(labels) - NAMED_MOST} more" if labels[NAMED_MOST:] else ""
        )
        text = (
            f"{one.interface} ({one.device}) is a VF, whose packets no policy sees, and {named} selects the pod; "
            "name the interface in this annotation if that is meant, or take the VF away"
        )
        found.append(Problem("Pod", one.pod, f"metadata.annotations['{UNPROTECTED}']", text))
    return tuple(found)


def _is_meant(pod: Pod, interface: str) -> bool:
    return bool({ALL, interface} & pod.unprotected)
