"""What this node answers at a service's health-check node port: how many endpoints of it are ready here.

So load balancers learn which nodes have endpoints of a service with externalTrafficPolicy Local. Endpoints that
end count for nothing, also where they still serve: new connections are to go to other nodes.

Source: Kubernetes' "Create an External Load Balancer", "Preserving the client source IP", and KEP-1669.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.compile.context import NodeContext
from agent.compile.frontend import families
from agent.model.address import Family
from agent.model.name import ObjectName
from agent.model.service import EndpointSlice, Service

VERSIONS = {4: Family.IPV4, 6: Family.IPV6}


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """The port of a service, and the ready endpoints on this node by the IP version in which a balancer asks.

    In one that the service has not, those of the other are told: a balancer may ask all addresses of a node, as
    upstream's tests do.
    """

    service: ObjectName
    port: int
    endpoints: tuple[tuple[int, int], ...]  # IP version, how many


def health_check(service: Service, slices: Sequence[EndpointSlice], context: NodeContext) -> HealthCheck | None:
    """What is answered for a service; None: it has no such port."""
    if not service.health_check_port:
        return None
    counts = {version: _ready_here(service, slices, context, VERSIONS[version]) for version in families(service)}
    other = next(iter(counts.values()), 0)
    asked = tuple((version, counts.get(version, other)) for version in VERSIONS)
    return HealthCheck(service.name, service.health_check_port, asked)


def _ready_here(service: Service, slices: Iterable[EndpointSlice], context: NodeContext, family: Family) -> int:
    """Distinct addresses: an endpoint with two ports is one."""
    return len(
        {
            address
            for part in slices
            if part.family is family and part.ports
            for address, state in part.endpoints()
            if state.node == context.name and (state.ready or service.publish_not_ready)
        }
    )
