"""What Prometheus reads of network policy: what was judged, and how much there is to judge by."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agent.compile.desired import Desired
from agent.compile.policy import PEER_PODS
from agent.compile.policy_state import Policies
from agent.model.policy import Direction
from maps import abi
from maps.table import TableLike

# half of the changes are to be in force after 50 ms
PROPAGATION_BUCKETS_S = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_DIRECTIONS = {
    Direction.INGRESS: abi.Direction.DIRECTION_INGRESS,
    Direction.EGRESS: abi.Direction.DIRECTION_EGRESS,
}


@dataclass(frozen=True, slots=True)
class PolicyCount:
    """What one policy's rules of one direction have judged."""

    policy: str  # kind and name
    direction: str
    counted: abi.PolicyCounter


@dataclass(frozen=True, slots=True)
class PolicyUse:
    """Network policy on this node."""

    counts: tuple[PolicyCount, ...] = ()
    policies: int = 0
    rule_sets: int = 0
    peer_classes: int = 0
    peers: int = 0  # addresses elsewhere that are in a class for who has them
    ranges: int = 0
    subjects: int = 0  # pods that a policy selects
    unknown_pods: int = 0  # of which nobody has said yet which policies select them
    is_waiting: bool = False  # rules wait until something has been listed


def policy_use(counters: TableLike[int, abi.PolicyCounter], desired: Desired) -> PolicyUse:
    """What one scrape reads."""
    now = desired.policies
    return PolicyUse(
        tuple(_counts(counters, now)),
        policies=len(now.ids.policies.known),
        rule_sets=len(now.sets),
        peer_classes=len(now.digests),
        peers=sum(len(one.elsewhere) for one in now.every_peers),
        ranges=len(now.peers.ranges.signatures),
        subjects=len({name.pod for name, subject in now.subjects.items() if subject.keys}),
        unknown_pods=sum(abi.RULES_UNKNOWN in {pod.ingress, pod.egress} for pod in now.pods.values()),
        is_waiting=not now.is_known or (now.needs_peers and PEER_PODS not in desired.source.listed),
    )


def _counts(counters: TableLike[int, abi.PolicyCounter], now: Policies) -> Iterator[PolicyCount]:
    numbers = now.ids.policies.known
    spoken = dict.fromkeys((label, key.direction) for key in now.sets for label in key.policies)
    for label, direction in spoken:
        if label in numbers:
            counted = counters.get(numbers[label] * abi.Direction.DIRECTIONS + _DIRECTIONS[direction])
            yield PolicyCount(label, direction.lower(), counted or abi.PolicyCounter(0, 0, 0))


def policy_families(use: PolicyUse) -> Iterator[Metric]:
    """Its metrics."""
    yield from _judged(use.counts)
    gauges: Iterable[tuple[str, str, int]] = (
        ("policies", "Policies that select pods of this node.", use.policies),
        ("policy_rule_sets", "What policies say together, shared by the pods of which they say it.", use.rule_sets),
        ("policy_peer_classes", "Groups of addresses that rules tell apart.", use.peer_classes),
        ("policy_peers", "Addresses elsewhere that rules mean by who has them.", use.peers),
        ("policy_peer_ranges", "Ranges that rules name or except.", use.ranges),
        ("policy_subjects", "Pods of this node that a policy selects.", use.subjects),
        ("policy_unknown_pods", "Pods that pass nothing, for their rules are not known yet.", use.unknown_pods),
        ("policy_waiting", "Whether rules wait until policies or their peers have been listed.", int(use.is_waiting)),
    )
    for name, text, value in gauges:
        yield GaugeMetricFamily(f"sluiceway_{name}", text, value=value)


def _judged(counts: Iterable[PolicyCount]) -> Iterator[Metric]:
    labels = ["policy", "direction"]
    accepted = CounterMetricFamily("sluiceway_policy_accepted_flows", "Flows, each time accepted.", labels=labels)
    denied = CounterMetricFamily("sluiceway_policy_denied_packets", "Packets that policy dropped.", labels=labels)
    audited = CounterMetricFamily(
        "sluiceway_policy_audited_packets", "Packets that passed since their pod is audited.", labels=labels
    )
    for one in counts:
        accepted.add_metric([one.policy, one.direction], one.counted.accepted)
        denied.add_metric([one.policy, one.direction], one.counted.denied)
        audited.add_metric([one.policy, one.direction], one.counted.audited)
    yield from (accepted, denied, audited)
