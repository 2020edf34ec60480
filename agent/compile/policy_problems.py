"""What policies name and nobody has: such a rule, or policy, says nothing by it, which its author may not mean.

Named ports are looked for of policies in use: one that selects no pod of this node is none of this node's business.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from agent.compile.atom import PortPeer
from agent.compile.policy import PEER_PODS
from agent.compile.policy_state import Policies
from agent.compile.range_room import range_problems, void_problems
from agent.compile.records import Owner, OwnerKind
from agent.compile.rule_set import by_name, policy_label
from agent.model.cluster import Cluster
from agent.model.name import Problem, few
from agent.model.policy import POLICY_FOR_FIELD, ContainerPort, Direction, NamedPort, Policy, Tier

NAMED_PORTS = Owner(OwnerKind.POLICY, "named ports")
NETWORKS = Owner(OwnerKind.POLICY, "networks")
CROWDED = Owner(OwnerKind.POLICY, "crowded")


def policy_problems(
    now: Policies, before: Policies, listed: frozenset[str], listed_before: frozenset[str] | None
) -> Mapping[Owner, tuple[Problem, ...]]:
    """The problems of all policies in use, where something differs from before.

    *listed* are the kinds of which all is known. *listed_before* None: before nothing was found out.
    """
    knows_pods = PEER_PODS in listed
    is_same = now.subjects is before.subjects and now.sets is before.sets and now.peers.atoms is before.peers.atoms
    if is_same and listed_before is not None and knows_pods is (PEER_PODS in listed_before):
        return {}
    return {NAMED_PORTS: few(_named_ports(now, knows_pods=knows_pods))}


def network_problems(now: Cluster, before: Cluster | None) -> Mapping[Owner, tuple[Problem, ...]]:
    """The networks that MultiNetworkPolicies are for and that are not defined, where something differs from before."""
    if before is not None and now.multi_policies is before.multi_policies and now.networks is before.networks:
        return {}
    every = (
        (policy, network)
        for _, policy in sorted(now.multi_policies.items())
        for network in sorted(policy.networks or ())
        if network not in now.networks
    )
    return {
        NETWORKS: few(
            Problem(policy.kind, policy.name, POLICY_FOR_FIELD, f"there is no NetworkAttachmentDefinition {network}")
            for policy, network in every
        )
    }


def crowd_problems(now: Policies, before: Policies | None) -> Mapping[Owner, tuple[Problem, ...]]:
    """The policies for whose ranges there is no room, or that say more than can be worked out.

    Where others are than before; *before* None: nothing was found out.
    """
    if before is not None and now.crowded is before.crowded and now.void is before.void:
        return {}
    return {
        CROWDED: (
            *range_problems(now.crowded),
            *void_problems(one for key, one in now.live().items() if key in now.void),
        )
    }


def _named_ports(now: Policies, *, knows_pods: bool) -> Iterator[Problem]:
    naming = {policy_label(policy): policy for one in now.sets.values() for policy in one.policies if _names(policy)}
    if not naming:
        return
    everybody = frozenset(meaning.port for meaning in now.peers.atoms.by_meaning if isinstance(meaning, PortPeer))
    selected: dict[int, set[ContainerPort]] = {id(policy): set() for policy in naming.values()}
    for subject in now.subjects.values():
        for policy in subject.policies if subject.pod.ports else ():
            if id(policy) in selected:
                selected[id(policy)].update(subject.pod.ports)
    for _, policy in sorted(naming.items()):
        yield from _unknown(policy, Direction.INGRESS, selected[id(policy)], "pod of this node that it selects")
        if knows_pods:
            yield from _unknown(policy, Direction.EGRESS, everybody, "pod")


def _names(policy: Policy) -> bool:
    rules = chain(policy.ingress or (), policy.egress or ())
    return any(isinstance(port, NamedPort) for rule in rules for port in rule.ports or ())


def _unknown(policy: Policy, direction: Direction, there: Iterable[ContainerPort], whose: str) -> Iterator[Problem]:
    """The named ports of a direction that none of *there* is; rules and ports that were refused do not count."""
    is_network_policy = policy.tier is Tier.NAMESPACE
    known = by_name(there)
    for index, rule in enumerate(policy.rules(direction) or ()):
        for at, port in enumerate(rule.ports or ()):
            if not isinstance(port, NamedPort) or _is_any(port, known.get(port.name, ())):
                continue
            # how ports are written differs between the versions of ClusterNetworkPolicy
            where = f"spec.{direction.lower()}[{index}]" + (f".ports[{at}].port" if is_network_policy else "")
            what = f"{port.protocol.name} port" if port.protocol is not None else "port"
            text = (
                f"no {whose} has a {what} named {port.name!r}, so the rule means none by it; name one, or give a number"
            )
            yield Problem(policy.kind, policy.name, where, text)


def _is_any(port: NamedPort, of_its_name: Iterable[ContainerPort]) -> bool:
    return any(port.protocol in {None, one.protocol} for one in of_its_name)
