"""Random ClusterNetworkPolicies, such as the API's own validation accepts."""

from collections.abc import Sequence
from random import Random

from tests.policy.drawing import (
    NAMES,
    NOBODYS_NAME,
    NODE_LABELS,
    POD_LABELS,
    Options,
    chance,
    cidr,
    namespace_selector,
    selector,
)
from tests.policy.facts import Address, Object

PRIORITIES = (0, 1, 9, 10, 100, 999, 1000)


def cluster_policy(
    rng: Random,
    options: Options,
    name: str,
    homes: Sequence[str],
    around: Sequence[Address],
    others: Sequence[Object] = (),
) -> Object:
    """A ClusterNetworkPolicy with a priority of its own in its tier: the API lets either of two alike win."""
    tier = rng.choice(("Admin", "Baseline"))
    taken = {one["spec"]["priority"] for one in others if one["spec"]["tier"] == tier}
    spec: Object = {
        "tier": tier,
        "priority": rng.choice([priority for priority in PRIORITIES if priority not in taken]),
        "subject": _subject(rng, options, homes),
    }
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        if chance(rng, 70):
            spec[direction] = [_rule(rng, options, peers, homes, around) for _ in range(rng.randint(1, 3))]
    return {
        "apiVersion": f"policy.networking.k8s.io/{rng.choice(('v1beta1', 'v1alpha2'))}",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": f"{options.prefix}{name}"},
        "spec": spec,
    }


def _subject(rng: Random, options: Options, homes: Sequence[str]) -> Object:
    """Pods of namespaces; of a real cluster those that the test marked, and no others."""
    namespaces = namespace_selector(rng, homes)
    if options.mark:
        namespaces = {**namespaces, "matchLabels": {**namespaces.get("matchLabels", {}), **options.mark}}
    if chance(rng, 50):
        return {"namespaces": namespaces}
    return {"pods": {"namespaceSelector": namespaces, "podSelector": selector(rng, POD_LABELS)}}


def _rule(rng: Random, options: Options, peers: str, homes: Sequence[str], around: Sequence[Address]) -> Object:
    made: Object = {
        "action": rng.choice(("Accept", "Deny", "Pass")),
        peers: [_peer(rng, peers, homes, around) for _ in range(rng.randint(1, 3))],
    }
    if chance(rng, 30):
        made["name"] = f"rule {rng.randint(0, 9)}"
    named = all("networks" not in peer and "nodes" not in peer for peer in made[peers])
    if chance(rng, 50):
        made["protocols"] = [_protocol(rng, options, named=named) for _ in range(rng.randint(1, 3))]
    if options.unknown and chance(rng, 10):
        made[peers].append(_unknown(rng, peers, made["action"]))
    return made


def _peer(rng: Random, peers: str, homes: Sequence[str], around: Sequence[Address]) -> Object:
    match rng.randint(0, 3 if peers == "to" else 1):
        case 0:
            return {"namespaces": namespace_selector(rng, homes)}
        case 1:
            both = {"namespaceSelector": namespace_selector(rng, homes), "podSelector": selector(rng, POD_LABELS)}
            return {"pods": both}
        case 2:
            return {"nodes": selector(rng, NODE_LABELS)}
        case _:
            return {"networks": sorted({cidr(rng, around) for _ in range(rng.randint(1, 3))})}


def _unknown(rng: Random, peers: str, action: str) -> Object:
    """A peer of a later API, or one that is not served: domain names, which only an Accept of egress may have."""
    if peers == "to" and action == "Accept" and chance(rng, 50):
        return {"domainNames": ["*.example.org"]}
    return {"serviceAccounts": {"matchLabels": {"app": "web"}}}


def _protocol(rng: Random, options: Options, *, named: bool) -> Object:
    """One entry of protocols; a name only where no peer is without named ports."""
    kind = rng.randint(0 if named else 1, 3)
    if kind == 0:
        return {"destinationNamedPort": rng.choice((*NAMES, NOBODYS_NAME))}
    low, high = sorted((rng.choice(options.all_ports), rng.choice(options.all_ports)))
    port: Object = {"range": {"start": low, "end": high}} if kind == 1 and low < high else {"number": low}
    return {rng.choice(("tcp", "tcp", "udp", "udp", "sctp")): {"destinationPort": port}}
