"""Which ranges of addresses the pods of this node route for: asked for by the Pod, allowed by its Namespace.

A pod that routes for a range sends under its addresses, and is sent what is for them. So a range must be nobody else's:
no node's, no pod's, no service's, and no range of a pod that was there before.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv6Address, ip_network
from itertools import accumulate

from agent.compile.changes import changed, same
from agent.compile.claims import Claimants
from agent.compile.context import NodeContext
from agent.compile.prefix import prefix_key
from agent.compile.records import NOTHING, Owner, OwnerKind, Records
from agent.compile.route import Route
from agent.model.address import Address, Network, mapped, mapped_octets, unmapped
from agent.model.attachment import Attachment, AttachmentKey
from agent.model.cluster import Cluster
from agent.model.local import Device
from agent.model.name import ObjectName, Problem
from agent.model.node import ALLOWED_RANGES, ROUTED_RANGES, Namespace, Node, Pod
from maps import abi

FIELD = f"metadata.annotations['{ROUTED_RANGES}']"
NEVER = tuple(
    (ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "addresses of no host"),
        ("127.0.0.0/8", "loopback addresses"),
        ("169.254.0.0/16", "link-local addresses"),
        ("224.0.0.0/3", "multicast and reserved addresses"),
        ("::/127", "loopback's and no host's address"),
        ("::ffff:0:0/96", "IPv4 addresses; write them as IPv4"),
        ("fe80::/10", "link-local addresses"),
        ("ff00::/8", "multicast addresses"),
    )
)
ADDRESS_OCTETS = 16  # that a key of the services map begins with
ANY = (IPv6Address("::ffff:0.0.0.0").packed, bytes(16))  # where node ports stand
Attachments = Mapping[AttachmentKey, Attachment]


@dataclass(frozen=True, slots=True)
class Span:
    """A network of somebody's, as the first and the last of its addresses in their 128-bit form."""

    first: int
    last: int
    whose: str


@dataclass(frozen=True)
class Spans:
    """Networks by their first addresses, to be asked whether one overlaps another."""

    spans: Sequence[Span]  # sorted by first

    @cached_property
    def _firsts(self) -> list[int]:
        return [span.first for span in self.spans]

    @cached_property
    def _furthest(self) -> list[int]:
        """The last address of all spans up to each."""
        return list(accumulate((span.last for span in self.spans), max))

    def overlapped(self, network: Network) -> Span | None:
        """One of those that have an address of *network*."""
        first, last = _ends(network)
        before = bisect_right(self._firsts, last)
        if not before or self._furthest[before - 1] < first:
            return None
        return next(span for span in self.spans[:before] if span.last >= first)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the ranges follow from; compared part by part with `is`."""

    pods: Mapping[ObjectName, Pod] = field(default_factory=dict)
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    attachments: Attachments = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    context: NodeContext = field(default_factory=NodeContext)
    services: Claimants[ObjectName] = field(default_factory=dict)

    def is_same(self, other: "Inputs") -> bool:
        """Whether the same follows from both."""
        return all(getattr(self, part) is getattr(other, part) for part in self.__slots__)


@dataclass(frozen=True, slots=True)
class Granted:
    """The ranges of one pod, and where it is attached."""

    attachment: Attachment
    ranges: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class RoutedRanges:
    """What follows from all Pods of this node, kept from one Desired to the next."""

    inputs: Inputs = field(default_factory=Inputs)
    nodes: Spans = field(default_factory=lambda: Spans(()))  # of all Nodes
    services: Sequence[bytes] = ()  # their addresses, sorted
    granted: Mapping[ObjectName, Granted] = field(default_factory=dict)
    problems: Mapping[ObjectName, tuple[Problem, ...]] = field(default_factory=dict)
    routes: Mapping[Network, Route] = field(default_factory=dict)


Update = Mapping[Owner, Records]
Problems = Mapping[Owner, tuple[Problem, ...]]


def routed_ranges(
    cluster: Cluster, context: NodeContext, services: Claimants[ObjectName], attachments: Attachments, old: RoutedRanges
) -> RoutedRanges:
    """The ranges of now. *services* has the keys of all frontends. While no pod asks for a range it costs nothing."""
    inputs = Inputs(
        cluster.pods, cluster.namespaces, attachments, cluster.nodes, cluster.local.devices, context, services
    )
    if inputs.is_same(old.inputs):
        return old
    asking = tuple(_asking(inputs))
    if not asking:
        return RoutedRanges() if old.granted or old.problems else old
    nodes = old.nodes if inputs.nodes is old.inputs.nodes else _node_spans(inputs.nodes)
    addresses = old.services if services is old.inputs.services else _service_addresses(services)
    now = replace(old, inputs=inputs, nodes=nodes, services=addresses)
    return _judged(now, asking, old)


def update(now: RoutedRanges, before: RoutedRanges) -> tuple[Update, Problems]:
    """The records of the pods whose ranges differ, and what is wrong with what is asked for."""
    made = {
        Owner(OwnerKind.ROUTER, name): _records(now.granted[name]) if name in now.granted else NOTHING
        for name in changed(before.granted, now.granted)
    }
    told = dict.fromkeys((*before.problems, *now.problems)) if now.problems is not before.problems else ()
    return made, {Owner(OwnerKind.ROUTER, name): now.problems.get(name, ()) for name in told}


def _asking(inputs: Inputs) -> Iterator[tuple[Pod, Attachment]]:
    """The pods that ask and are attached, who was there first before the others.

    Of a pod's sandboxes the latest counts, and there the interface by which the pod's default routes lead.
    """
    pods = {name: pod for name, pod in inputs.pods.items() if pod.routed_ranges}
    if not pods:
        return
    latest: dict[ObjectName, Attachment] = {}
    for one in sorted(inputs.attachments.values(), key=lambda one: one.endpoint_id):
        if one.pod in pods and one.is_first:
            latest.pop(one.pod, None)
            latest[one.pod] = one
    for name, attachment in latest.items():
        yield pods[name], attachment


def _judged(now: RoutedRanges, asking: Iterable[tuple[Pod, Attachment]], old: RoutedRanges) -> RoutedRanges:
    granted: dict[ObjectName, Granted] = {}
    problems: dict[ObjectName, tuple[Problem, ...]] = {}
    routes: dict[Network, Route] = {}
    here = _own_spans(now.inputs)
    taken: list[Span] = []  # by pods before
    for pod, attachment in asking:
        others = Spans(sorted(taken, key=_by_first))
        spans = (now.nodes, here, others)
        found = {network: next(_refusals(network, pod, attachment, now, spans), "") for network in pod.routed_ranges}
        refused = {network: text for network, text in found.items() if text}
        problems[pod.name] = tuple(Problem("Pod", pod.name, FIELD, text) for text in refused.values())
        ranges = tuple(network for network in pod.routed_ranges if network not in refused)
        made = Granted(attachment, ranges)
        if ranges:
            granted[pod.name] = old.granted[pod.name] if old.granted.get(pod.name) == made else made
        taken += (Span(*_ends(network), f"pod {pod.name}, which routes for {network}") for network in ranges)
        routes |= {network: Route(network, _gateway(attachment, network)) for network in ranges}
    told = {name: found for name, found in problems.items() if found}
    return replace(
        now,
        granted=same(old.granted, granted),
        problems=same(old.problems, told),
        routes=same(old.routes, routes),
    )


def _refusals(
    network: Network, pod: Pod, attachment: Attachment, known: RoutedRanges, spans: tuple[Spans, ...]
) -> Iterator[str]:
    """Why a pod may not have a range, and what to do; nothing where it may."""
    for never, why in NEVER:
        if never.version == network.version and never.overlaps(network):
            yield f"{network} overlaps {never}, {why}, for which nobody routes; give a range without them"
    namespace = known.inputs.namespaces.get(pod.name.namespace)
    if not any(_contains(one, network) for one in (namespace.routed_ranges if namespace is not None else ())):
        who = f"whoever may change Namespace {pod.name.namespace}"
        yield f"{network} is not allowed; {who} can add it to the Namespace's annotation {ALLOWED_RANGES}"
    if _gateway(attachment, network) is None:
        yield f"{network} needs an IPv{network.version} address of the pod, which has none; leave the range out"
    for part in spans:
        if (taken := part.overlapped(network)) is not None:
            yield f"{network} has addresses of {taken.whose}; give a range without them"
    if (address := _service_in(network, known.services)) is not None:
        services = known.inputs.services
        name = min(str(names[0]) for key, names in services.items() if key.startswith(address.packed))
        yield f"{network} has the address {unmapped(address)} of Service {name}; give a range without it"


def _node_spans(nodes: Mapping[str, Node]) -> Spans:
    """All Nodes' addresses, and their pods'."""
    found = []
    for name, node in nodes.items():
        found += [Span(*_ends(cidr), f"Node {name}'s pods ({cidr})") for cidr in node.pod_ranges]
        found += [Span(*_address(ip), f"Node {name} ({ip})") for ip in node.internal_ips]
    return Spans(sorted(found, key=_by_first))


def _own_spans(inputs: Inputs) -> Spans:
    """What this node's devices and pods have: of a device also the subnet, where its neighbours and gateways are."""
    found = [Span(*_address(ip), f"a pod of this node ({ip})") for ip in inputs.context.attached]
    found += [Span(*_address(ip), f"this node ({ip})") for ip in inputs.context.addresses]
    found += [Span(*_ends(n), f"this node's device {d.name} ({n})") for d in inputs.devices for n in d.networks]
    return Spans(sorted(found, key=_by_first))


def _service_addresses(services: Iterable[bytes]) -> Sequence[bytes]:
    return sorted({key[:ADDRESS_OCTETS] for key in services}.difference(ANY))


def _service_in(network: Network, addresses: Sequence[bytes]) -> IPv6Address | None:
    """The first of these addresses that a network has."""
    first, last = _ends(network)
    at = bisect_left(addresses, first.to_bytes(ADDRESS_OCTETS, "big"))
    if at < len(addresses) and addresses[at] <= last.to_bytes(ADDRESS_OCTETS, "big"):
        return IPv6Address(addresses[at])
    return None


def _records(granted: Granted) -> Records:
    value = abi.RoutedRange(granted.attachment.slot).pack()
    return Records.of({"routed_ranges": {prefix_key(network): value for network in granted.ranges}})


def _gateway(attachment: Attachment, network: Network) -> Address | None:
    """The pod's address of a range's family: the way there is by it."""
    return next((address for address in attachment.addresses if address.version == network.version), None)


def _contains(outer: Network, inner: Network) -> bool:
    return outer.version == inner.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _ends(network: Network) -> tuple[int, int]:
    first, last = (int(mapped(end)) for end in (network.network_address, network.broadcast_address))
    return first, last


def _address(address: Address) -> tuple[int, int]:
    number = int.from_bytes(mapped_octets(address), "big")
    return number, number


def _by_first(span: Span) -> tuple[int, int, str]:
    return span.first, span.last, span.whose
