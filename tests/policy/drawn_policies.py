"""Random NetworkPolicies, such as a real API server accepts."""

from collections.abc import Sequence
from random import Random

from tests.policy.drawing import (
    NAMES,
    NOBODYS_NAME,
    POD_LABELS,
    Options,
    block,
    chance,
    namespace_selector,
    selector,
)
from tests.policy.facts import Address, Object

TYPES: tuple[tuple[str, ...], ...] = (("Ingress",), ("Egress",), ("Ingress", "Egress"), ())
"""What policyTypes may say; the empty one: nothing, and the API's default counts."""


def network_policy(rng: Random, options: Options, name: str, homes: Sequence[str], around: Sequence[Address]) -> Object:
    """A NetworkPolicy of one of the namespaces *homes*, its blocks around these addresses."""
    types = rng.choice(TYPES)
    spec: Object = {"podSelector": selector(rng, POD_LABELS)}
    if types:
        spec["policyTypes"] = list(types)
    if "Ingress" in types or chance(rng, 50):
        spec["ingress"] = [_rule(rng, options, "from", homes, around) for _ in range(rng.randint(0, 3))]
    if "Egress" in types or chance(rng, 30):
        spec["egress"] = [_rule(rng, options, "to", homes, around) for _ in range(rng.randint(0, 3))]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": rng.choice(homes), "name": name},
        "spec": spec,
    }


def _rule(rng: Random, options: Options, peers: str, homes: Sequence[str], around: Sequence[Address]) -> Object:
    made: Object = {}
    if chance(rng, 85):
        made[peers] = [_peer(rng, options, homes, around) for _ in range(rng.randint(0 if chance(rng, 10) else 1, 3))]
    if chance(rng, 60):
        made["ports"] = [_port(rng, options) for _ in range(rng.randint(1, 3))]
    return made


def _peer(rng: Random, options: Options, homes: Sequence[str], around: Sequence[Address]) -> Object:
    kind = rng.randint(0, 3)
    made: Object = {}
    if kind in {0, 1}:
        made["podSelector"] = selector(rng, POD_LABELS)
    if kind in {1, 2}:
        made["namespaceSelector"] = namespace_selector(rng, homes)
    return made or {"ipBlock": block(rng, around, loose=options.loose)}


def _port(rng: Random, options: Options) -> Object:
    """One item of ports: a protocol, a number, a range or a name; SCTP's are never TCP's."""
    made: Object = {}
    if chance(rng, 80):
        made["protocol"] = rng.choice(("TCP", "TCP", "UDP", "UDP", "SCTP"))
    low, high = sorted((rng.choice(options.all_ports), rng.choice(options.all_ports)))
    match rng.randint(0, 5):
        case 0:
            return made or {"protocol": "UDP"}
        case 1 | 2:
            made["port"] = low
        case 3:
            made |= {"port": low, "endPort": high}
        case _:
            made["port"] = rng.choice((*NAMES, *NAMES, NOBODYS_NAME))
    return made
