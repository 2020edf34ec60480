"""How many entries of maps a Service asks for: as its objects say, alike on every node.

Of endpoints all count that its EndpointSlices list, ready or not and whoever they are hinted for: each may be a backend
at the next moment, and as heavy as the heaviest. Where traffic policy Local has sets of each node's own endpoints,
these are as many as the node has that has the most.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from operator import attrgetter
from typing import NamedTuple

from agent.compile import ring
from agent.compile.backend_set import RINGS
from agent.compile.frontend import frontends_number, served_outside
from agent.compile.public_range import PublicRanges
from agent.model.address import Family, family
from agent.model.ports import Ports
from agent.model.service import EndpointSlice, Protocol, Scheduler, Service
from maps import maglev


class Need(NamedTuple):
    """Entries by what they are, as ServiceRoom has them."""

    services: int = 0
    backends: int = 0
    ranges: int = 0
    tables: int = 0
    rings: int = 0


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
    """How many backends each of its sets may have."""
    listed: Counter[tuple[Family, str, Protocol]] = Counter()
    for part in slices:
        listed.update(dict.fromkeys(((part.family, one.name, one.protocol) for one in part.ports), len(part.states)))
    is_local = service.internal_local or service.external_local
    on_node = Counter(node for part in slices if is_local for node in map(_node, part.states))
    most = max(on_node.values(), default=0)
    outside = service.external_ips or service.load_balancer or any(port.node_port for port in service.ports)
    for of in {family(address) for address in service.cluster_ips}:
        for port in service.ports:
            count = listed[of, port.name, port.protocol]
            if outside or not service.internal_local:
                yield count
            if is_local:
                yield min(count, most)


_node = attrgetter("node")
