"""ClusterNetworkPolicies: rules of the tiers around NetworkPolicies, in order, each with its own verdict.

Source: policy.networking.k8s.io, v1beta1 and v1alpha2, which are alike.
"""

from dataclasses import replace

import msgspec
from msgspec import Raw, Struct

from agent.model.name import ObjectName
from agent.model.policy import Direction, PodPeer, Policy, Rule, Tier, Verdict
from agent.watch.decode.cluster_policy_rule import PODS, pod_peer, rules
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader

LAST_PRIORITY = 1000
_TIERS = {"Admin": Tier.ADMIN, "Baseline": Tier.BASELINE}


class _Spec(Struct, frozen=True):
    """``spec`` of a ClusterNetworkPolicy; what is decoded alone costs no more than itself."""

    tier: object = None
    priority: object = None
    subject: Raw = Raw(b"{}")
    ingress: list[Raw] | None = None
    egress: list[Raw] | None = None


class _ClusterNetworkPolicy(Struct, frozen=True):
    """A ClusterNetworkPolicy."""

    metadata: Metadata = Metadata()
    spec: _Spec = _Spec()


_POLICY = msgspec.json.Decoder(_ClusterNetworkPolicy)


def _decode(content: Content, context: Context) -> Decoded:
    found = _POLICY.decode(content)
    read = Reader(CLUSTER_NETWORK_POLICY, found.metadata, context.shared)
    spec = found.spec
    subject = _subject(read, spec.subject)
    tier = _tier(read, spec.tier)
    priority = _priority(read, spec.priority)
    is_understood = not read.problems
    ingress = tuple(rules(read, spec.ingress, Direction.INGRESS))
    egress = tuple(rules(read, spec.egress, Direction.EGRESS))
    if not is_understood:
        # It is not known whom it means, or what goes before it. Denials alone open nothing wherever they stand.
        ingress, egress = _denials(ingress), _denials(egress)
    name = ObjectName("", read.name.name)
    return read.result(Policy(name, subject or PodPeer(), ingress or None, egress or None, tier, priority))


def _unreadable(name: ObjectName) -> Policy:
    """What a policy of a wrong shape stands for: nothing passes any pod."""
    nothing = (Rule(Verdict.DENY),)
    return Policy(ObjectName("", name.name), PodPeer(), nothing, nothing, Tier.ADMIN)


def _denials(given: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """What they let by is denied where they passed it on, and not spoken of where they accepted it."""
    return tuple(replace(rule, verdict=Verdict.DENY) for rule in given if rule.verdict is not Verdict.ACCEPT)


def _tier(read: Reader, given: object) -> Tier:
    if not isinstance(given, str) or given not in _TIERS:
        read.refuse("spec.tier", f"{given!r} is none of {', '.join(_TIERS)}; its denials hold before all others")
        return Tier.ADMIN
    return _TIERS[given]


def _priority(read: Reader, given: object) -> int:
    if type(given) is int and 0 <= given <= LAST_PRIORITY:
        return given
    read.refuse("spec.priority", f"{given!r} is no priority; give a number from 0 to {LAST_PRIORITY}")
    return 0


def _subject(read: Reader, given: Raw) -> PodPeer | None:
    found = read.part(PODS, given, "spec.subject")
    return None if found is None else pod_peer(read, found, "spec.subject")


CLUSTER_NETWORK_POLICY = Kind(
    "ClusterNetworkPolicy",
    "/apis/policy.networking.k8s.io/v1beta1/clusternetworkpolicies",
    "cluster_policies",
    _decode,
    is_namespaced=False,
    is_optional=True,
    older_paths=("/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",),
    unreadable=_unreadable,
)
