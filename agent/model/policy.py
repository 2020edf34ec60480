"""Network policies as compile takes them, of three APIs in one form: who is selected, the peers, what a rule says.

Nothing of an object that could not be understood makes it wider: a peer that was refused is left out of its rule, and a
rule whose peers or ports are all gone matches nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from agent.model.address import Address, Network
from agent.model.name import ObjectName
from agent.model.service import Protocol

NETWORK_POLICY, MULTI_NETWORK_POLICY = "NetworkPolicy", "MultiNetworkPolicy"  # kinds
CLUSTER_NETWORK_POLICY = "ClusterNetworkPolicy"
POLICY_FOR = "k8s.v1.cni.cncf.io/policy-for"  # annotation of a MultiNetworkPolicy: definitions of networks
POLICY_FOR_FIELD = f"metadata.annotations['{POLICY_FOR}']"
FIRST_PORT, LAST_PORT = 0, 65535
# annotation of a Namespace: what policy would drop of its pods' packets passes, and is counted
MODE, AUDIT = "sluiceway.io/policy-mode", "audit"


class Direction(StrEnum):
    """Which way a rule looks, from the pods that its policy selects."""

    INGRESS = "Ingress"
    EGRESS = "Egress"


class Verdict(StrEnum):
    """What a rule says of a flow that it matches; *PASS*: the following tiers decide."""

    ACCEPT = "Accept"
    DENY = "Deny"
    PASS = "Pass"  # noqa: S105  no password


class Tier(IntEnum):
    """Who is asked first; a NetworkPolicy stands between the tiers of ClusterNetworkPolicy."""

    ADMIN = 0
    NAMESPACE = 1
    BASELINE = 2


class Operator(StrEnum):
    """Of a requirement (Kubernetes' LabelSelectorRequirement)."""

    IN = "In"
    NOT_IN = "NotIn"  # a label that is not there is in nothing
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a selector asks of one label."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def is_met(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels meets it."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value is not None and value in self.values
            case Operator.NOT_IN:
                return value is None or value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector: each of its requirements is to be met; without any it selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(requirement.is_met(labels) for requirement in self.requirements)


EVERYTHING = Selector()


Networks = frozenset[ObjectName]  # by their definitions
OWN_NETWORK: Networks = frozenset()  # the cluster's, on which pods' first interfaces are


@dataclass(frozen=True, slots=True)
class PodPeer:
    """Pods, by their own labels and by their namespaces'; those in their nodes' networks are none."""

    pods: Selector = EVERYTHING
    namespaces: Selector = EVERYTHING
    namespace: str = ""  # the one namespace; empty: those selected
    networks: Networks = OWN_NETWORK  # on which they are meant


@dataclass(frozen=True, slots=True)
class CidrPeer:
    """Every address of a range but those excepted, whoever has it."""

    cidr: Network
    excepts: tuple[Network, ...] = ()  # within it


@dataclass(frozen=True, slots=True)
class NodePeer:
    """Nodes by their labels, at each of their addresses, and the pods in their networks."""

    nodes: Selector = EVERYTHING


Peer = PodPeer | CidrPeer | NodePeer


@dataclass(frozen=True, slots=True)
class PortRange:
    """Destination ports of a protocol, both inclusive, host order."""

    protocol: Protocol
    low: int = FIRST_PORT
    high: int = LAST_PORT


@dataclass(frozen=True, slots=True)
class NamedPort:
    """The container ports that the destination pod gives this name; *protocol* None: whichever it has there."""

    name: str
    protocol: Protocol | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of one direction.

    *peers* None: everybody, inside and outside the cluster; none at all: nobody. *ports* None: every protocol and port;
    none at all: nothing.
    """

    verdict: Verdict = Verdict.ACCEPT
    peers: tuple[Peer, ...] | None = None
    ports: tuple[PortRange | NamedPort, ...] | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """A NetworkPolicy, a MultiNetworkPolicy, or a ClusterNetworkPolicy, whose name has no namespace.

    Without a tuple of rules a direction is not the policy's. In one of Tier.NAMESPACE the rules add up, and what none
    accepts is denied; in the others the first rule that matches decides.
    """

    name: ObjectName
    subject: PodPeer
    ingress: tuple[Rule, ...] | None = None
    egress: tuple[Rule, ...] | None = None
    tier: Tier = Tier.NAMESPACE
    priority: int = 0  # of those of one tier the least goes first
    networks: Networks | None = None  # whose interfaces a MultiNetworkPolicy is for; None: it is none

    @property
    def kind(self) -> str:
        """What its object is."""
        if self.networks is not None:
            return MULTI_NETWORK_POLICY
        return NETWORK_POLICY if self.tier is Tier.NAMESPACE else CLUSTER_NETWORK_POLICY

    def rules(self, direction: Direction) -> tuple[Rule, ...] | None:
        """The rules of a direction, None where it is not the policy's."""
        return self.ingress if direction is Direction.INGRESS else self.egress


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """A port that a pod gives a name."""

    name: str
    protocol: Protocol
    number: int


@dataclass(frozen=True, slots=True)
class PeerPod:
    """A pod of any node, as rules may mean it: labels, addresses and named ports; none in its node's network."""

    name: ObjectName
    labels: tuple[tuple[str, str], ...] = ()
    ips: tuple[Address, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    is_ending: bool = False  # another pod may have its addresses already
    further: tuple[tuple[ObjectName, tuple[Address, ...]], ...] = ()  # its addresses on further networks
