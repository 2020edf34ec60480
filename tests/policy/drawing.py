"""What random worlds are drawn from: small alphabets, so that selectors, ports and blocks hit each other.

Everything takes a ``random.Random``: a seeded one for a fast fuzz, or hypothesis' own (``worlds.choices``).
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from tests.policy.facts import Address, Object, World, address, network

T = TypeVar("T")
Alphabet = Mapping[str, Sequence[str]]

POD_LABELS = {"app": ("web", "db", "ui"), "tier": ("front", "back")}
NAMESPACE_LABELS = {"team": ("red", "blue"), "tier": ("front", "back")}
NODE_LABELS = {"zone": ("one", "two"), "disk": ("fast",)}
"""Pods and namespaces share a key: a label of one must not be taken for the other's."""

NAMES = ("web", "dns", "alt")
NOBODYS_NAME = "nobody"
PORTS = (1, 52, 53, 54, 79, 80, 81, 443, 1023, 1024, 8079, 8080, 8081, 32767, 32768, 65534, 65535)
REAL_PORTS = (8080, 8081, 8082, 8083)
OUTSIDE = ("192.0.2.7", "192.0.2.8", "10.245.0.1", "203.0.113.9", "2001:db8::7", "2001:db8::8", "fd01::1", "fe80::7")
HOLES = ("10.244.1.250", "10.244.2.250", "fd00:1::250", "fd00:2::250")
PREFIXES = {4: (0, 8, 16, 24, 30, 31, 32), 6: (0, 16, 32, 64, 112, 127, 128)}


@dataclass(frozen=True, slots=True)
class Options:
    """What a world may hold.

    With *real* every object can be created in a real cluster and nothing else is drawn: pods and nodes carry no
    addresses, the names of namespaces and cluster policies begin with *prefix*, cluster policies are about these
    namespaces alone, and flows are TCP and UDP to *ports*, on which a test's servers listen (its nodes need the labels
    of NODE_LABELS to be selected). *unknown* allows ClusterNetworkPolicies of a newer API, which fail closed; *loose*
    CIDRs with bits behind their prefix, which API servers took before Kubernetes 1.36.
    """

    real: bool = False
    prefix: str = ""
    nodes: tuple[str, ...] = ("node-a", "node-b")
    network_policies: int = 8
    cluster_policies: int = 4
    unknown: bool = False
    loose: bool = False
    ports: tuple[int, ...] = ()
    image: str = "server"

    @property
    def all_ports(self) -> tuple[int, ...]:
        """The ports of policies and flows."""
        return self.ports or (REAL_PORTS if self.real else PORTS)

    @property
    def mark(self) -> dict[str, str]:
        """The label of a real cluster's test namespaces: ClusterNetworkPolicies must not reach others."""
        return {"policy-test": self.prefix.strip("-") or "here"} if self.real else {}


def chance(rng: Random, percent: int) -> bool:
    """True in *percent* of 100 cases."""
    return rng.randint(1, 100) <= percent


def some(rng: Random, of: Sequence[T], low: int, high: int) -> list[T]:
    """From *low* to *high* different ones."""
    return rng.sample(list(of), rng.randint(low, min(high, len(of))))


def labels(rng: Random, alphabet: Alphabet) -> dict[str, str]:
    """Labels of an object; each may be missing."""
    return {key: rng.choice(values) for key, values in alphabet.items() if chance(rng, 75)}


def selector(rng: Random, alphabet: Alphabet) -> Object:
    """A label selector: empty, by labels, by expressions, or by both."""
    kind = rng.randint(0, 9)
    made: Object = {}
    if kind in {2, 3, 4, 5}:
        keys = some(rng, list(alphabet), 1, 1 if kind < 5 else 2)
        made["matchLabels"] = {key: rng.choice(alphabet[key]) for key in keys}
    if kind >= 5:
        made["matchExpressions"] = [_requirement(rng, alphabet) for _ in range(1 if kind < 9 else 2)]
    return made


def _requirement(rng: Random, alphabet: Alphabet) -> Object:
    key, operator = rng.choice(list(alphabet)), rng.choice(("In", "NotIn", "Exists", "DoesNotExist"))
    if operator in {"In", "NotIn"}:
        return {"key": key, "operator": operator, "values": some(rng, (*alphabet[key], "none"), 1, 2)}
    return {"key": key, "operator": operator}


def namespace_selector(rng: Random, names: Sequence[str]) -> Object:
    """A selector of namespaces, also by the label of their name."""
    return selector(rng, {**NAMESPACE_LABELS, "kubernetes.io/metadata.name": tuple(names)})


def all_addresses(world: World) -> list[Address]:
    """Every address that a pod or node has or had, and some outside."""
    return [*_written(world), *map(address, OUTSIDE)]


def _written(world: World) -> Iterator[Address]:
    for pod in world.pods:
        yield from (address(entry["ip"]) for entry in pod.get("status", {}).get("podIPs") or ())
    for node in world.nodes:
        for entry in node.get("status", {}).get("addresses") or ():
            if entry["type"] != "Hostname":
                yield address(entry["address"])


def cidr(rng: Random, around: Sequence[Address]) -> str:
    """A CIDR that holds one of these addresses."""
    there = rng.choice(around)
    return str(ipaddress.ip_network((there, rng.choice(PREFIXES[there.version])), strict=False))


def block(rng: Random, around: Sequence[Address], *, loose: bool) -> Object:
    """An ipBlock, with exceptions that lie in it; *loose*: the CIDR may have bits behind its prefix."""
    text = cidr(rng, around)
    whole = network(text)
    inside = [one for one in around if one in whole]
    longer = [prefix for prefix in PREFIXES[whole.version] if prefix > whole.prefixlen]
    made: Object = {"cidr": text}
    if longer and chance(rng, 60):
        made["except"] = [
            str(ipaddress.ip_network((rng.choice(inside), rng.choice(longer)), strict=False))
            for _ in range(rng.randint(1, 3))
        ]
    if loose and chance(rng, 10):
        made["cidr"] = f"{rng.choice(inside)}/{whole.prefixlen}"
    return made
