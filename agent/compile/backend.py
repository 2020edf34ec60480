"""The backends of one port of a service, from its EndpointSlices: chosen, without doubles, in order of address."""

from collections.abc import Sequence
from ipaddress import IPv6Address
from operator import itemgetter

from agent.compile.context import NodeContext
from agent.compile.frontend import Frontend
from agent.compile.ids import BackendName
from agent.compile.topology import Target, serving
from agent.model.address import Address, Family, unmapped
from agent.model.service import EndpointSlice, EndpointState, Protocol, Service, ServicePort
from maps import abi

LOCAL = abi.BackendFlag.BACKEND_LOCAL
REMOTE = abi.BackendFlag(0)


class Targets:
    """The endpoints of a service's slices by their ports, of which there may be very many."""

    def __init__(self, slices: Sequence[EndpointSlice]) -> None:
        self.slices = slices
        self._by_port: dict[tuple[Family, str, Protocol], list[tuple[EndpointSlice, int]]] = {}
        for part in slices:
            for port in part.ports:
                self._by_port.setdefault((part.family, port.name, port.protocol), []).append((part, port.port))

    def of(self, port: ServicePort, family: Family) -> list[Target]:
        """Every endpoint of the family that has the port, with the port's number there."""
        return [
            (state, octets, number)
            for part, number in self._by_port.get((family, port.name, port.protocol), ())
            for octets, state in part.endpoints()
        ]


def backends(
    service: Service, targets: Targets, frontend: Frontend, context: NodeContext
) -> dict[BackendName, abi.Backend]:
    """The backends behind a frontend, by address; slices may overlap, so one address and port counts once."""
    port = service.ports[frontend.port]
    family = Family.IPV6 if frontend.ipv6 else Family.IPV4
    candidates = targets.of(port, family)
    chosen = serving(candidates, context, local=frontend.local, not_ready_too=service.publish_not_ready)
    names = target_names(targets.slices) if service.weights.by else {}
    found: dict[BackendName, abi.Backend] = {}
    for state, octets, number in chosen:
        name = (octets, number)
        if name not in found:
            address = IPv6Address(octets)
            flag = LOCAL if is_local(state, address, context) else REMOTE
            weight = service.weights.of(names.get(octets, ""), state.node, state.zone)
            found[name] = abi.Backend(address, number, flag, weight)
    return dict(sorted(found.items(), key=itemgetter(0)))


def target_names(slices: Sequence[EndpointSlice]) -> dict[bytes, str]:
    """The name of each endpoint's target, by its address."""
    return {
        octets: name
        for part in slices
        for (octets, _), name in zip(part.endpoints(), part.target_names(), strict=True)
        if name
    }


def is_local(state: EndpointState, address: IPv6Address, context: NodeContext) -> bool:
    """Whether an endpoint is on this node: by its node's name, or, without one, by its address."""
    if state.node:
        return state.node == context.name
    return context.has(unmapped(address))


def unplaced(slices: Sequence[EndpointSlice]) -> frozenset[Address]:
    """The addresses of endpoints that name no node: whether they are here depends on the node's addresses."""
    return frozenset(
        unmapped(IPv6Address(octets)) for part in slices for octets, state in part.endpoints() if not state.node
    )
