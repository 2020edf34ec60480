"""How many entries of maps a Service asks for: as its objects say, alike on every node.

Of endpoints those count that take new flows, the ready ones or, without any, those that end and still serve, whoever
they are hinted for, and each as heavy as the heaviest. Where traffic policy Local has sets of each node's own
endpoints, these are as many as the node has that has the most.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from agent.compile import ring
from agent.compile.backend_set import RINGS
from agent.compile.frontend import frontends_number, served_outside
from agent.compile.public_range import PublicRanges
from agent.model.address import Family, family
from agent.model.ports import Ports
from agent.model.service import EndpointSlice, Protocol, Scheduler, Service
from maps import maglev

_Ports = tuple[tuple[str, Protocol], ...]
_NONE: list[EndpointSlice] = []


class Need(NamedTuple):
    """Entries by what they are, as ServiceRoom has them."""

    services: int = 0
    backends: int = 0
    ranges: int = 0
    tables: int = 0
    rings: int = 0


class _Sizes(NamedTuple):
    """Of the sets of a port."""

    every: int  # with the endpoints of all nodes
    local: int  # with those of the node that has most


def need(
    service: Service,
    slices: Collection[EndpointSlice],
    ranges: PublicRanges | None,
    node_ports: Ports,
    *,
    told: bool | None,
) -> Need:
    """What a Service asks for; the last three are as frontends() has them."""
    public = tuple(served_outside(service, ranges))
    balancers = {family(address) for address in service.load_balancer}
    views = len(service.ports) * len(balancers) * (2 if service.external_local else 1)
    sizes = tuple(_set_sizes(service, slices))
    heaviest, is_ring = max(service.weights.by.values(), default=1), service.scheduler in RINGS
    of_ring = 1 if service.scheduler is Scheduler.LC else heaviest
    return Need(
        frontends_number(service, public, node_ports, told=told),
        sum(sizes),
        views * len(service.source_ranges or ()),
        0 if is_ring else sum(maglev.most_parts(size, heaviest) for size in sizes),
        sum(ring.most_parts(size, of_ring) for size in sizes) if is_ring else 0,
    )


def _set_sizes(service: Service, slices: Collection[EndpointSlice]) -> Iterator[int]:
    """How many backends each of its sets has, on the node that has most of them."""
    together: dict[tuple[Family, _Ports], list[EndpointSlice]] = {}
    for part in slices:
        together.setdefault((part.family, tuple((one.name, one.protocol) for one in part.ports)), []).append(part)
    by_port: dict[tuple[Family, tuple[str, Protocol]], list[EndpointSlice]] = {}
    for (of, names), parts in together.items():
        for name in names:  # ports that are in the same slices have the identical list
            known = by_port.setdefault((of, name), parts)
            if known is not parts:
                by_port[of, name] = [*known, *parts]
    sizes: dict[int, _Sizes] = {}
    is_local = service.internal_local or service.external_local
    outside = service.external_ips or service.load_balancer or any(port.node_port for port in service.ports)
    for of in {family(address) for address in service.cluster_ips}:
        for port in service.ports:
            own = by_port.get((of, (port.name, port.protocol)), _NONE)
            found = sizes.get(id(own)) or sizes.setdefault(id(own), _sizes(service, own))
            if outside or not service.internal_local:
                yield found.every
            if is_local:
                yield found.local


def _sizes(service: Service, slices: Iterable[EndpointSlice]) -> _Sizes:
    """As topology.serving() chooses: the ready ones, else those that end and still serve, of all or of a node."""
    ready, ending = Counter[str](), Counter[str]()  # by their nodes
    for part in slices:
        # states that are alike are most often one value, and there may be very many
        values, counts = dict(zip(map(id, part.states), part.states, strict=True)), Counter(map(id, part.states))
        for at, state in values.items():
            if state.ready or service.publish_not_ready:
                ready[state.node] += counts[at]
            elif state.serving and state.terminating:
                ending[state.node] += counts[at]
    every = sum(ready.values()) or sum(ending.values())
    local = max((ready[node] or ending[node] for node in ready.keys() | ending.keys()), default=0)
    return _Sizes(min(every, maglev.MOST_BACKENDS), min(local, maglev.MOST_BACKENDS))
