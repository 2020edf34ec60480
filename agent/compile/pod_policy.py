"""What policy says of each pod of this node, and by which revision its flows know."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from agent.compile.changes import same
from agent.compile.identity import identity
from agent.compile.rule_set import EVERYBODY
from agent.model.attachment import Attachment, AttachmentKey
from maps import abi

REVISIONS = 1 << 32


@dataclass(frozen=True, slots=True)
class PodPolicy:
    """What policy says of an attachment: the numbers of its rule sets and network, its classes, and its revision."""

    ingress: int = abi.RULES_UNKNOWN
    egress: int = abi.RULES_UNKNOWN
    is_audited: bool = False
    class4: int = EVERYBODY
    class6: int = EVERYBODY
    revision: int = 0
    holder: int = 0  # the attachment's identity
    network: int = 0  # its number where the interface is on one of its own

    def packed(self) -> tuple[bytes, bytes]:
        """As the maps of pods' policies and of their classes have it."""
        flags = abi.PodPolicyFlag.POLICY_SAID
        if self.is_audited:
            flags |= abi.PodPolicyFlag.POLICY_AUDITED
        classes = abi.PodClass(self.class4, self.class6, 1)
        return abi.PodPolicy(self.ingress, self.egress, flags, self.network).pack(), classes.pack()


Pods = Mapping[AttachmentKey, PodPolicy]


def begun(made: PodPolicy, attachment: Attachment) -> PodPolicy:
    """With the first of an attachment's revisions. One without a pod's name is no pod, and has no rules."""
    if attachment.pod is None:
        made = replace(made, ingress=abi.RULES_NONE, egress=abi.RULES_NONE)
    return replace(made, revision=identity(attachment), holder=identity(attachment))


def revised(made: PodPolicy, old: PodPolicy | None, attachment: Attachment, *, is_concerned: bool) -> PodPolicy:
    """With a revision of its own where something else is so for the pod than before."""
    if old is None:
        return begun(made, attachment)
    said, was = ((one.ingress, one.egress, one.is_audited, one.network) for one in (made, old))
    is_moved = said != was
    revision = _next(old.revision) if is_moved or is_concerned else old.revision
    return same(old, replace(made, revision=revision, holder=old.holder))


def held_back(before: Pods, target: Pods) -> Pods:
    """What pods have until all is written that they are to have, of those that have rule sets which are no more.

    An earlier agent gave them those, and nobody knows what they would say of the classes that come: so nothing passes.
    """
    found: dict[AttachmentKey, PodPolicy] = {}
    for key, old in before.items():
        new = target.get(key)
        if new is None or new.holder != old.holder:
            continue
        ingress, egress = _until(old.ingress, new.ingress), _until(old.egress, new.egress)
        if (ingress, egress) != (old.ingress, old.egress):
            found[key] = replace(old, ingress=ingress, egress=egress, revision=_next(old.revision))
    return found


def has_rule_sets(pods: Pods) -> bool:
    """Whether one of them has a rule set of its own in some direction."""
    return any(max(pod.ingress, pod.egress) >= abi.RULES_FIRST for pod in pods.values())


def _until(old: int, new: int) -> int:
    if old < abi.RULES_FIRST or old == new:
        return old
    return new if new == abi.RULES_NONE else abi.RULES_UNKNOWN


def _next(revision: int) -> int:
    return (revision + 1) % REVISIONS or 1


def recovered_pods(
    attachments: Iterable[Attachment],
    places: Mapping[bytes, bytes],
    pod_policies: Mapping[bytes, bytes],
    pod_classes: Mapping[bytes, bytes],
) -> Pods:
    """What the maps say of attachments that an earlier agent served; *places* are of the map of attachments."""
    found: dict[AttachmentKey, PodPolicy] = {}
    for one in attachments:
        key = abi.ATTACHMENTS.key.pack(one.slot)
        if key not in places or key not in pod_policies or key not in pod_classes:
            continue
        place, policy = abi.Attachment.unpack(places[key]), abi.PodPolicy.unpack(pod_policies[key])
        classes = abi.PodClass.unpack(pod_classes[key])
        if (place.endpoint_id, place.ifindex) == (one.endpoint_id, one.link.ifindex):
            is_audited = bool(policy.flags & abi.PodPolicyFlag.POLICY_AUDITED)
            found[one.key] = PodPolicy(
                policy.ingress,
                policy.egress,
                is_audited,
                classes.class4,
                classes.class6,
                place.revision,
                identity(one),
                policy.network,
            )
    return found


def recovered_networks(attachments: Mapping[AttachmentKey, Attachment], pods: Pods) -> Mapping[str, int]:
    """The numbers of networks by which programs know their VFs' peers, as pods have them."""
    found = ((attachments[key], one.network) for key, one in pods.items())
    return {str(one.network): number for one, number in found if one.network is not None and number}
