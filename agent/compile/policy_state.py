"""What follows from all policies, as it is kept from one Desired to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.compile.atom import Signature
from agent.compile.peer import Peers
from agent.compile.pod_policy import Pods
from agent.compile.policy_ids import PolicyIds
from agent.compile.rule_set import EVERYBODY, Reader, RuleSet, SetKey
from agent.compile.subject import SubjectInputs, Subjects
from agent.model.attachment import Attachment, AttachmentKey
from agent.model.name import ObjectName
from agent.model.node import Pod
from agent.model.policy import Policy

Attachments = Mapping[AttachmentKey, Attachment]
NOBODY_THERE = Peers()


@dataclass(frozen=True, slots=True)
class Policies:
    """What follows from all policies, kept from one Desired to the next."""

    here: Mapping[ObjectName, Pod] = field(default_factory=dict)  # the pods of *attachments*
    inputs: SubjectInputs = field(default_factory=SubjectInputs)
    subjects: Subjects = field(default_factory=dict)
    sets: Mapping[SetKey, RuleSet] = field(default_factory=dict)
    left: Mapping[bytes, int] = field(default_factory=dict)  # by digest: pods may have them until all is written
    retired: Mapping[bytes, RuleSet] = field(default_factory=dict)  # of these, that no pod is to have
    epoch: int = 0  # how often pods have changed their rule sets
    readers: Mapping[bytes, Reader] = field(default_factory=dict)  # by the digest of each rule set, retired ones too
    peers: Peers = field(default_factory=Peers)  # of the cluster's network
    apart: Mapping[ObjectName, Peers] = field(default_factory=dict)  # of each network of its own
    void: frozenset[bytes] = frozenset()  # rule sets that say more than can be worked out: who has one passes nothing
    crowded: tuple[Policy, ...] = ()  # for whose ranges there is no room
    digests: Mapping[Signature, bytes] = field(default_factory=dict)  # of all signatures in use
    ids: PolicyIds = field(default_factory=PolicyIds)
    pods: Pods = field(default_factory=dict)
    attachments: Attachments = field(default_factory=dict)  # that *pods* were made of
    needs_peers: bool = False  # pods of the whole cluster are to be watched
    is_known: bool = False  # all that they rest on had been listed
    has_room: bool = True  # the maps have room for all peers

    @property
    def is_settled(self) -> bool:
        """Whether nothing is there that was only for the way."""
        return not self.left and not any(one.leaving for one in self.every_peers)

    @property
    def every_peers(self) -> tuple[Peers, ...]:
        """The peers of each network."""
        return (self.peers, *self.apart.values())

    def live(self) -> dict[bytes, RuleSet]:
        """All rule sets, by their digests."""
        return {**self.retired, **{one.digest: one for one in self.sets.values()}}

    def is_same(self, other: "Policies") -> bool:
        """Whether the same follows for an attachment and a subject that are as before."""
        pairs = (
            (self.sets, other.sets),
            (self.inputs.namespaces, other.inputs.namespaces),
            (self.peers.groups, other.peers.groups),
            (self.peers.ranges, other.peers.ranges),
            (self.peers.changing, other.peers.changing),
        )
        is_same = all(one is another for one, another in pairs) and self.apart.keys() == other.apart.keys()
        is_same = is_same and self.void == other.void
        return is_same and (self.is_known, self.has_room) == (other.is_known, other.has_room)

    def class_of(self, signature: Signature) -> int:
        """The number of a signature's class."""
        return self.ids.classes.known[self.digests[signature]] if signature else EVERYBODY
