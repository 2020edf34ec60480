"""Pods with network policies, as many as are asked for: among their rule sets the policies' rules are spread."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from bench.plane import Plane
from maps import abi

PODS = 200  # that have rules of their own, at most
SENDERS_CLASS, FIRST_CLASS = 1, 2
EGRESS, FIRST_INGRESS = abi.RULES_FIRST, abi.RULES_FIRST + 1
_NO_RANGE = abi.PortRange(0, 0, 0, 0, 0)


def govern(plane: Plane, policies: int, protocol: int, port: int) -> None:
    """Give a plane's pods rules that accept a port: the first one what it may ask, those behind it who may ask them.

    With one policy it is that of the first pod that is sent to, and of the sender.
    """
    tables = plane.tables
    node = tables["node"].get(0) or abi.Node.unpack(bytes(abi.Node.SIZE))
    tables["node"].update([(0, replace(node, flags=node.flags | abi.NodeFlag.NODE_POLICY))])
    governed = min(policies, PODS)
    tables["pod_policies"].update([(1, _pod(abi.RULES_NONE, EGRESS if policies else abi.RULES_NONE))])
    numbers = (FIRST_INGRESS + i if i < governed else abi.RULES_NONE for i in range(PODS))
    tables["pod_policies"].update(enumerate((_pod(number, abi.RULES_NONE) for number in numbers), 2))
    tables["pod_classes"].update(enumerate((abi.PodClass(SENDERS_CLASS + i, 0, 1) for i in range(PODS + 1)), 1))
    tables["rules"].update(_rules(policies, governed, partial(_rule, protocol, port)))


def _pod(ingress: int, egress: int) -> abi.PodPolicy:
    return abi.PodPolicy(ingress, egress, abi.PodPolicyFlag(0), 0)


def _rules(policies: int, governed: int, rule: Callable[[int], abi.Rule]) -> Iterator[tuple[abi.RuleKey, abi.Rule]]:
    if not policies:
        return
    yield abi.RuleKey(EGRESS, 0), rule(0)
    for i in range(PODS):
        yield abi.RuleKey(EGRESS, FIRST_CLASS + i), rule(1)
    for i in range(governed):
        yield abi.RuleKey(FIRST_INGRESS + i, 0), rule(0)
        yield abi.RuleKey(FIRST_INGRESS + i, SENDERS_CLASS), rule(1 + i)
    for i in range(policies - governed):
        yield abi.RuleKey(FIRST_INGRESS + i % governed, FIRST_CLASS + PODS + i), rule(1 + i)


def _rule(protocol: int, port: int, policy: int) -> abi.Rule:
    """One that accepts some ports, that which is sent to among them; policy 0: nothing."""
    if not policy:
        return abi.Rule(0, 1, abi.PolicyVerdict.POLICY_DENY, 0, (_NO_RANGE,) * abi.RULE_RANGES)
    accepted = (port, 9000 + policy % 1000, 20_000 + policy)
    ranges = tuple(abi.PortRange(one, one, protocol, abi.PolicyVerdict.POLICY_ACCEPT, policy) for one in accepted)
    padding = (_NO_RANGE,) * (abi.RULE_RANGES - len(ranges))
    return abi.Rule(0, 1, abi.PolicyVerdict.POLICY_DENY, len(ranges), (*ranges, *padding))  # type: ignore[arg-type]
