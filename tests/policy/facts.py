"""What the oracle is told: a cluster as raw Kubernetes JSON, and a flow; and what it answers.

Nothing of the agent is imported in this package: the oracle is worth something only as long as it shares no thought
with what it judges.
"""

import enum
import functools
import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class World:
    """A cluster at one moment; every object is as ``kubectl get -o json`` gives it."""

    namespaces: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    nodes: Sequence[Object] = ()
    network_policies: Sequence[Object] = ()
    cluster_network_policies: Sequence[Object] = ()


@dataclass(frozen=True, slots=True)
class Flow:
    """The first packet of a connection, its destination behind any service.

    *protocol* is TCP, UDP, SCTP or ICMP (of either family); ICMP alone has no *port*. *own_node*: the source is the
    node that the destination pod runs on, by whichever of its addresses.
    """

    source: Address
    destination: Address
    protocol: str
    port: int | None
    own_node: bool = False

    def __post_init__(self) -> None:
        if self.protocol not in {"TCP", "UDP", "SCTP", "ICMP"}:
            raise ValueError(f"no protocol of the oracle's: {self.protocol}")
        if (self.port is None) != (self.protocol == "ICMP"):
            raise ValueError(f"{self.protocol} with port {self.port}")
        if self.source.version != self.destination.version:
            raise ValueError(f"from {self.source} to {self.destination}: two families")


@dataclass(frozen=True, slots=True)
class Ruling:
    """What one end of a flow says, and in words which policy and rule decided."""

    allowed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """A flow passes when both of its ends let it."""

    egress: Ruling
    ingress: Ruling

    @property
    def allowed(self) -> bool:
        """Whether the flow passes."""
        return self.egress.allowed and self.ingress.allowed


class Direction(enum.Enum):
    """The side of a pod that a flow is judged at; the value is the policyType."""

    INGRESS = "Ingress"
    EGRESS = "Egress"

    @property
    def rules(self) -> str:
        """The field of a policy's spec that lists this direction's rules."""
        return "ingress" if self is Direction.INGRESS else "egress"

    @property
    def peers(self) -> str:
        """The field of a rule that lists its peers."""
        return "from" if self is Direction.INGRESS else "to"


@dataclass(frozen=True, slots=True)
class Side:
    """A flow as one of its pods sees it: *subject* is that pod, *peer* the other end.

    *target* is the pod at the flow's destination, whose named ports count, whoever judges.
    """

    direction: Direction
    subject: Object
    peer: Address
    peer_pod: Object | None
    target: Object | None
    protocol: str
    port: int | None


@functools.cache
def address(text: str) -> Address:
    """The address that *text* writes."""
    return ipaddress.ip_address(text)


@functools.cache
def network(text: str) -> Network:
    """The CIDR that *text* writes; bits behind the prefix do not count."""
    return ipaddress.ip_network(text, strict=False)


def addresses(pod: Object) -> Iterator[Address]:
    """A pod's own addresses; one on the host's network, or one that ended, has none."""
    status = pod.get("status", {})
    if pod["spec"].get("hostNetwork") or status.get("phase") in ENDED:
        return
    for entry in status.get("podIPs") or ():
        yield address(entry["ip"])


def node_addresses(node: Object) -> Iterator[Address]:
    """A node's addresses; its host names are none."""
    for entry in node.get("status", {}).get("addresses") or ():
        if entry["type"] in {"InternalIP", "ExternalIP"}:
            yield address(entry["address"])


def pod_at(world: World, where: Address) -> Object | None:
    """The pod whose own address this is."""
    return next((pod for pod in world.pods if where in addresses(pod)), None)


def labels(thing: Object) -> dict[str, str]:
    """The labels of any object."""
    return thing["metadata"].get("labels") or {}


def namespace_labels(world: World, name: str) -> dict[str, str] | None:
    """A namespace's labels with the one that the API server gives to every namespace; None when there is no such."""
    for namespace in world.namespaces:
        if namespace["metadata"]["name"] == name:
            return {**labels(namespace), "kubernetes.io/metadata.name": name}
    return None


def has_named_port(pod: Object | None, name: str, protocol: str, port: int | None) -> bool:
    """Whether *port* is what *pod* calls *name*, with this protocol; the ports of sidecars count."""
    if pod is None:
        return False
    spec = pod["spec"]
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return any(
        entry.get("name") == name and entry.get("protocol", "TCP") == protocol and entry["containerPort"] == port
        for container in (*spec["containers"], *sidecars)
        for entry in container.get("ports") or ()
    )


def called(thing: Object) -> str:
    """An object's name for people."""
    metadata = thing["metadata"]
    return "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))
