"""Calico's policies as NetworkPolicies and ClusterNetworkPolicies, where these say the same; others are reported whole.

In Calico's tier ``default`` policies go by their order, NetworkPolicies of Kubernetes among them at 1000, the first
rule that matches decides, and whom a policy selects is denied what none speaks of. Here what goes before
NetworkPolicies is the tier Admin, and what is left after them the tier Baseline; what only allows is a NetworkPolicy.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.migrate import objects
from agent.migrate.calico_rule import (
    Others,
    Pods,
    Rule,
    cluster_policy_pods,
    cluster_policy_rule,
    in_namespace,
    network_policy_rule,
    rule,
    subjects,
)
from agent.migrate.calico_selector import Unsaid, holds, parse, split
from agent.migrate.objects import CALICO_GROUPS, Objects, source
from agent.migrate.report import Notes, Object

KUBERNETES_ORDER = 1000.0  # of NetworkPolicies among Calico's
LAST_PRIORITY = 1000
BY_HAND = "write it by hand as a NetworkPolicy or ClusterNetworkPolicy, or leave it out knowingly"
_KNOWN = frozenset(
    {
        "order", "tier", "selector", "namespaceSelector", "types", "ingress", "egress", "performanceHints",
        "applyOnForward",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Policy:
    """One of Calico's policies, read."""

    item: Object
    order: float
    namespace: str  # empty: of all
    subjects: tuple[Pods, ...]
    directions: Mapping[str, tuple[Rule, ...]]  # "ingress", "egress"

    @property
    def name(self) -> str:
        """Without the tier that older versions write before it."""
        return f"calico-{objects.name(self.item).removeprefix('default.')}"

    @property
    def denies(self) -> bool:
        """Whether a rule denies."""
        return any(not one.allows for rules in self.directions.values() for one in rules)


def policies(notes: Notes, found: Objects) -> None:
    """Each policy of Calico's as objects of ours, or why not."""
    given = (*found.of_kind("GlobalNetworkPolicy", *CALICO_GROUPS), *found.of_kind("NetworkPolicy", *CALICO_GROUPS))
    kinds = ("GlobalNetworkSet", "NetworkSet", "HostEndpoint")
    others = Others(tuple(item for kind in kinds for item in found.of_kind(kind, *CALICO_GROUPS)))
    read = [policy for item in given if (policy := _read(notes, item, others)) is not None]
    read.sort(key=lambda policy: (policy.order, objects.name(policy.item), policy.namespace))
    for index, policy in enumerate(read):
        try:
            made = list(_objects(policy, index, read, found))
        except Unsaid as error:
            notes.missing(source(policy.item), "spec", str(error), BY_HAND)
            continue
        notes.objects.extend(made)
        names = ", ".join(source(one) for one in made) or "nothing: it selects nothing"
        notes.mapped(source(policy.item), "spec", names)
        _tell(notes, policy, read, made, found)


def _read(notes: Notes, item: Object, others: Others) -> Policy | None:
    spec, namespace = objects.spec(item), objects.namespace(item) if item["kind"] == "NetworkPolicy" else ""
    try:
        _check(spec)
        directions = {}
        for direction in _directions(spec):
            rules = [
                rule(one, is_ingress=direction == "ingress", namespace=namespace, others=others)
                for one in _decisive(notes, item, spec.get(direction) or (), direction)
            ]
            directions[direction] = tuple(one for one in rules if not one.is_of_none)
        selected = subjects(str(spec.get("selector") or "all()"), str(spec.get("namespaceSelector") or ""))
        if namespace:
            selected = tuple(replace(one, namespaces=_inside(one, namespace)) for one in selected)
        order = float(spec["order"]) if spec.get("order") is not None else float("inf")
        return Policy(item, order, namespace, selected, directions)
    except Unsaid as error:
        notes.missing(source(item), "spec", str(error), BY_HAND)
        return None


def _inside(pods: Pods, namespace: str) -> Mapping[str, Any]:
    if pods.namespaces:
        raise Unsaid("the selector of a namespaced policy names a Namespace")
    return in_namespace(namespace)


def _check(spec: Mapping[str, Any]) -> None:
    for key, value in spec.items():
        if key not in _KNOWN and value not in (None, False, "", [], {}, "all()"):
            raise Unsaid(f"it has {key}")
    if spec.get("tier") not in {None, "", "default"}:
        raise Unsaid(f"it is of the tier {spec['tier']}, and how tiers follow each other cannot be said")


def _directions(spec: Mapping[str, Any]) -> list[str]:
    """Calico's default is what there are rules for, and ingress where there are none."""
    if spec.get("types"):
        return [str(one).lower() for one in spec["types"]]
    return (["ingress"] if spec.get("ingress") or not spec.get("egress") else []) + (
        ["egress"] if spec.get("egress") else []
    )


def _decisive(
    notes: Notes, item: Object, rules: Sequence[Mapping[str, Any]], direction: str
) -> Iterator[Mapping[str, Any]]:
    """The rules that allow or deny."""
    for place, one in enumerate(rules):
        action = str(one.get("action"))
        if action == "Log":
            text = "nothing is logged of what passes"
            notes.missing(
                source(item), f"spec.{direction}[{place}].action=Log", text, "`dpctl drops` and metrics tell of drops"
            )
        elif action in {"Allow", "Deny"}:
            yield one
        else:
            raise Unsaid(f"a rule has the action {action}")


def _objects(policy: Policy, index: int, read: Sequence[Policy], found: Objects) -> Iterator[Object]:
    allowed: dict[str, tuple[Rule, ...]] = {}
    for direction, rules in policy.directions.items():
        if not policy.namespace and direction == "egress":
            _check_late(policy, rules, read[index + 1 :], found)
            yield from _egress_of_all(policy, index, rules, _tier(policy, read[:index]))
            continue
        denied, allowed[direction] = _split(policy, rules, read[index + 1 :], found)
        if denied:
            yield from _cluster_policies(policy, f"{direction}-deny", ("Admin", index), direction, denied)
    if allowed:
        yield from _network_policies(policy, allowed, found)


def _split(
    policy: Policy, rules: tuple[Rule, ...], later: Sequence[Policy], found: Objects
) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """The denials that come first, and what is allowed after them; a last denial of everything is so anyway."""
    if rules and rules[-1].is_of_all and not rules[-1].allows:
        if any(one.allows for other in later for rules_of in other.directions.values() for one in rules_of):
            raise Unsaid("its last rule denies everything, and policies after it allow some")
        if policy.order <= KUBERNETES_ORDER and found.of_kind("NetworkPolicy", "networking.k8s.io"):
            raise Unsaid("its last rule denies everything, and NetworkPolicies after it allow some")
        rules = rules[:-1]
    first = next((place for place, one in enumerate(rules) if one.allows), len(rules))
    denied, allowed = rules[:first], rules[first:]
    if any(not one.allows for one in allowed):
        raise Unsaid("it denies something after it has allowed something")
    return denied, allowed


def _check_late(policy: Policy, rules: tuple[Rule, ...], later: Sequence[Policy], found: Objects) -> None:
    """Refuse denials in the tier Baseline of what a NetworkPolicy allows that comes later in Calico's order."""
    if policy.order < KUBERNETES_ORDER or all(one.allows for one in rules):
        return
    if any(other.namespace and "egress" in other.directions for other in later):
        raise Unsaid("it denies something that policies of Namespaces, which come after it, may allow")
    if policy.order == KUBERNETES_ORDER and found.of_kind("NetworkPolicy", "networking.k8s.io"):
        raise Unsaid("it has the order of NetworkPolicies, and denies something that they may allow")


def _egress_of_all(policy: Policy, index: int, rules: tuple[Rule, ...], tier: str) -> Iterator[Object]:
    """What a GlobalNetworkPolicy says of egress, and its end: whom it selects is denied the rest."""
    if rules:
        yield from _cluster_policies(policy, "egress", (tier, index), "egress", rules)
    rest = (Rule(allows=False, peers=None, ports=None),)
    yield from _cluster_policies(policy, "egress-rest", ("Baseline", LAST_PRIORITY), "egress", rest)


def _tier(policy: Policy, earlier: Sequence[Policy]) -> str:
    """Where a GlobalNetworkPolicy's egress stands; what only allows may come before NetworkPolicies too."""
    late = [one for one in (*earlier, policy) if one.order >= KUBERNETES_ORDER and not one.namespace]
    denies = any(not rule.allows for one in late for rule in one.directions.get("egress", ()))
    return "Baseline" if denies and policy in late else "Admin"


def _cluster_policies(
    policy: Policy, suffix: str, place: tuple[str, int], direction: str, rules: Sequence[Rule]
) -> Iterator[Object]:
    tier, priority = place
    side = "from" if direction == "ingress" else "to"
    if priority > LAST_PRIORITY:
        raise Unsaid(f"more than {LAST_PRIORITY} policies come before it")
    said = [cluster_policy_rule(one, side, policy.namespace) for one in rules]
    for name, subject in _named(policy, f"{policy.namespace}-{suffix}" if policy.namespace else suffix):
        yield {
            "apiVersion": "policy.networking.k8s.io/v1alpha2",
            "kind": "ClusterNetworkPolicy",
            "metadata": {"name": name},
            "spec": {"tier": tier, "priority": priority, "subject": cluster_policy_pods(subject), direction: said},
        }


def _network_policies(policy: Policy, allowed: Mapping[str, tuple[Rule, ...]], found: Objects) -> Iterator[Object]:
    spec: dict[str, Any] = {"policyTypes": [direction.capitalize() for direction in allowed]}
    for direction, rules in allowed.items():
        side = "from" if direction == "ingress" else "to"
        spec[direction] = [network_policy_rule(_spelled(one, policy), side) for one in rules]
    for name, subject in _named(policy, ""):
        for namespace in _namespaces(policy, found):
            yield {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"podSelector": dict(subject.pods)} | spec,
            }


def _spelled(one: Rule, policy: Policy) -> Rule:
    """Peers of a policy of all Namespaces name theirs, for the NetworkPolicy is of one."""
    if policy.namespace or one.peers is None:
        return one
    return replace(
        one, peers=tuple(replace(p, namespaces=p.namespaces or {}) if isinstance(p, Pods) else p for p in one.peers)
    )


def _namespaces(policy: Policy, found: Objects) -> list[str]:
    if policy.namespace:
        return [policy.namespace]
    there = found.of_kind("Namespace", "")
    if not there:
        raise Unsaid("it says who may come in from outside, which is a NetworkPolicy by Namespace: give the Namespaces")
    if len(policy.subjects) != 1 or split(parse(_selector(policy))[0])[1]:
        raise Unsaid("it selects pods by several alternatives, or by the names of their Namespaces")
    within = parse(str(objects.spec(policy.item).get("namespaceSelector") or "all()"))
    return [objects.name(one) for one in there if _is_named(within, one)]


def _is_named(within: Sequence[Any], namespace: Object) -> bool:
    name = objects.name(namespace)
    labels = {**objects.labels(namespace), "projectcalico.org/name": name, "kubernetes.io/metadata.name": name}
    return holds(within, labels)


def _selector(policy: Policy) -> str:
    return str(objects.spec(policy.item).get("selector") or "all()")


def _named(policy: Policy, suffix: str) -> Iterator[tuple[str, Pods]]:
    """A name for each alternative of whom the policy selects."""
    stem = f"{policy.name}-{suffix}" if suffix else policy.name
    for place, subject in enumerate(policy.subjects, 1):
        yield (stem if len(policy.subjects) == 1 else f"{stem}-{place}"), subject


def _tell(notes: Notes, policy: Policy, read: Sequence[Policy], made: Sequence[Object], found: Objects) -> None:
    """Where the objects are narrower than the policy, or hold for what there is today."""
    where, has_kubernetes = source(policy.item), bool(found.of_kind("NetworkPolicy", "networking.k8s.io"))
    if objects.spec(policy.item).get("applyOnForward"):
        notes.needless(where, "spec.applyOnForward=true", "what is forwarded to and from pods is judged always")
    if objects.spec(policy.item).get("performanceHints"):
        notes.needless(where, "spec.performanceHints", "rules are shared by the pods that they select")
    allow_before = policy.order >= KUBERNETES_ORDER and has_kubernetes
    earlier = read[: read.index(policy)]
    allow_before |= any(one.allows for other in earlier for rules in other.directions.values() for one in rules)
    if any(one["spec"].get("tier") == "Admin" for one in made) and policy.denies and allow_before:
        text = "its denials hold before all NetworkPolicies, also those that come before it in Calico: narrower there"
        notes.missing(
            where, f"spec.order={objects.text(objects.spec(policy.item).get('order'))}", text, "see what these allow"
        )
    is_late = not policy.namespace and "egress" in policy.directions and _tier(policy, earlier) == "Baseline"
    if is_late and (has_kubernetes or any(other.namespace and "egress" in other.directions for other in read)):
        text = "what it allows after NetworkPolicies is not reached by pods that one selects for egress: narrower there"
        notes.missing(where, "spec.order", text, "write what it allows into these")
    if not policy.namespace and "ingress" in policy.directions:
        text = "is a NetworkPolicy in each Namespace that there is now"
        notes.missing(where, "spec.ingress", text, "apply it in Namespaces that are made later, too")
