"""Whose ranges there is room for, where policies of this node's pods name more than maps have.

A range that rules name is an entry of the map of ranges, and one of the map of rules for each rule set that names it.
Who may write policies of one namespace could else have a node know no range, and no rule, of anybody's. So what a
namespace may not have is its own: of those that name the most the largest policies give way, and their ipBlocks mean
nobody, which opens nothing. Rules of ClusterNetworkPolicies, which may deny, come first.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from agent.compile.rule_set import RuleSet, policy_label
from agent.model.address import Network
from agent.model.name import Problem
from agent.model.policy import CidrPeer, Direction, Policy, Rule, Tier


@dataclass(frozen=True, slots=True)
class RangeRoom:
    """Entries that there are for ranges; 0: for all."""

    ranges: int = 0
    rules: int = 0


@dataclass(slots=True)
class _Asking:
    """What a policy names, in all directions and rule sets."""

    policy: Policy
    networks: set[Network] = field(default_factory=set)
    rules: int = 0


def crowded_out(rule_sets: Iterable[RuleSet], room: RangeRoom) -> tuple[Policy, ...]:
    """The policies whose ranges are left out."""
    asking = _asking(rule_sets)
    ranges, rules = room.ranges, room.rules
    has_ranges = not ranges or sum(len(one.networks) for one in asking) <= ranges
    if has_ranges and (not rules or sum(one.rules for one in asking) <= rules):
        return ()
    fixed = [one for one in asking if one.policy.tier is not Tier.NAMESPACE]
    taken, used = set(chain.from_iterable(one.networks for one in fixed)), sum(one.rules for one in fixed)
    found = []
    for one in _in_turn(one for one in asking if one.policy.tier is Tier.NAMESPACE and one.networks):
        fits = not ranges or len(taken) + len(one.networks - taken) <= ranges
        if fits and (not rules or used + one.rules <= rules):
            taken |= one.networks
            used += one.rules
        else:
            found.append(one.policy)
    return tuple(found)


def cidr_peers(policy: Policy) -> Iterator[CidrPeer]:
    """The ranges that a policy's rules name."""
    return _named((*(policy.ingress or ()), *(policy.egress or ())))


def range_problems(policies: Iterable[Policy]) -> Iterator[Problem]:
    """What is said of those that are left out."""
    by_label: Mapping[str, Policy] = {policy_label(policy): policy for policy in policies}
    for policy in map(by_label.__getitem__, sorted(by_label)):
        text = (
            f"names {len(_networks(cidr_peers(policy)))} ranges, for which there is no room beside those of other"
            " policies for pods of this node: its ipBlocks mean nobody; give fewer and larger ones, or raise"
            " --max-prefixes and --max-rules"
        )
        yield Problem(policy.kind, policy.name, "spec", text)


def void_problems(rule_sets: Iterable[RuleSet]) -> Iterator[Problem]:
    """What is said of those that say more than can be worked out: of each, of the policy that names the most ports."""
    worst = {policy_label(one): one for one in (max(rules.policies, key=_ports) for rules in rule_sets)}
    for policy in map(worst.__getitem__, sorted(worst)):
        text = (
            f"names {_ports(policy)} ranges of ports for more peers than can be worked out: its pods pass nothing;"
            " give fewer and larger ones, or the same to all peers"
        )
        yield Problem(policy.kind, policy.name, "spec", text)


def _ports(policy: Policy) -> int:
    return sum(len(rule.ports or ()) for rule in (*(policy.ingress or ()), *(policy.egress or ())))


def _asking(rule_sets: Iterable[RuleSet]) -> list[_Asking]:
    """The policies of rule sets, each once, also where two are of one name."""
    found: dict[int, _Asking] = {}
    known: dict[tuple[int, Direction], frozenset[Network]] = {}
    for one in rule_sets:
        for policy in one.policies:
            at = id(policy), one.key.direction
            if at not in known:
                known[at] = _networks(_named(policy.rules(one.key.direction) or ()))
            asking = found.setdefault(id(policy), _Asking(policy))
            asking.networks |= known[at]
            asking.rules += len(known[at])
    return [*found.values()]


def _in_turn(asking: Iterable[_Asking]) -> list[_Asking]:
    """Those who ask, of the namespaces that ask for least first."""
    every = [*asking]
    totals: dict[str, int] = {}
    for one in every:
        totals[one.policy.name.namespace] = totals.get(one.policy.name.namespace, 0) + one.rules
    return sorted(every, key=lambda one: (totals[one.policy.name.namespace], one.rules, policy_label(one.policy)))


def _named(rules: Iterable[Rule]) -> Iterator[CidrPeer]:
    return (peer for rule in rules for peer in rule.peers or () if isinstance(peer, CidrPeer))


def _networks(peers: Iterable[CidrPeer]) -> frozenset[Network]:
    return frozenset(chain.from_iterable((peer.cidr, *peer.excepts) for peer in peers))
