"""The backends of a service's ports, from its EndpointSlices: chosen, without doubles, in order of address.

Ports whose endpoints are in the same slices have the same backends but for the ports' numbers: these are chosen once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv6Address

from agent.compile.context import NodeContext
from agent.compile.frontend import Frontend
from agent.compile.ids import columns
from agent.compile.topology import Target, serving
from agent.model.address import Address, Family, unmapped
from agent.model.service import EndpointSlice, EndpointState, Protocol, Service
from maps import abi, maglev
from maps.record import cut

LOCAL = abi.BackendFlag.BACKEND_LOCAL
REMOTE = abi.BackendFlag(0)
_ANY = IPv6Address(0)
_PORT_AT = abi.Backend(_ANY, 0xFFFF, 0, 0).pack().index(b"\xff\xff")
_Slices = tuple[tuple[int, ...], tuple[int, ...]]  # their indices, and which of a port's numbers each has


class Chosen:
    """The backends of ports that share their endpoints; *count* are chosen, and the first MOST_BACKENDS are served."""

    def __init__(self, found: Mapping[tuple[bytes, int], tuple[abi.BackendFlag, int]]) -> None:
        """*found* has flags and weight by address and which of a port's numbers an endpoint has."""
        self.count = len(found)
        order = sorted(found)[: maglev.MOST_BACKENDS]
        self.addresses, self._ranks = columns(order)
        self.weights = bytes(found[name][1] for name in order)
        self.values = abi.Backend.pack_many(abi.Backend(IPv6Address(name[0]), 0, *found[name]) for name in order)
        # what tells those of one address apart, whatever the numbers are: two octets each, zeros where addresses differ
        self.apart = self._ranks if len({address for address, _ in order}) < len(order) else bytes(len(self._ranks))

    def __len__(self) -> int:
        """How many are served."""
        return len(self.weights)

    @property
    def is_cut(self) -> bool:
        """Whether more were chosen."""
        return self.count > len(self)

    def ports(self, numbers: Sequence[int]) -> bytes:
        """Each backend's port, as packets have it, where a port has these numbers in order."""
        if len(numbers) == 1:
            return numbers[0].to_bytes(2, "big") * len(self)
        by_rank = {rank: number.to_bytes(2, "big") for rank, number in enumerate(numbers)}
        return b"".join(map(by_rank.__getitem__, self._rank_of))

    @cached_property
    def _rank_of(self) -> tuple[int, ...]:
        return tuple(int.from_bytes(rank, "big") for rank in cut(self._ranks, 2))


@dataclass(frozen=True, slots=True)
class PortBackends:
    """The backends of one port."""

    chosen: Chosen
    numbers: tuple[int, ...]  # that it has, in order

    @property
    def ports(self) -> bytes:
        """Each backend's, as packets have it."""
        return self.chosen.ports(self.numbers)


class Endpoints:
    """The endpoints of a service's slices, chosen for its ports, of which there may be very many."""

    def __init__(self, service: Service, slices: Sequence[EndpointSlice], context: NodeContext) -> None:
        self._service, self._slices, self._context = service, slices, context
        self._by_port: dict[tuple[Family, str, Protocol], list[tuple[int, int]]] = {}
        for index, part in enumerate(slices):
            for port in part.ports:
                self._by_port.setdefault((part.family, port.name, port.protocol), []).append((index, port.port))
        self._chosen: dict[tuple[_Slices, bool], Chosen] = {}

    def of(self, frontend: Frontend) -> PortBackends:
        """The backends behind a frontend; slices may overlap, so one address and port counts once."""
        port = self._service.ports[frontend.port]
        family = Family.IPV6 if frontend.ipv6 else Family.IPV4
        found = self._by_port.get((family, port.name, port.protocol), ())
        numbers = tuple(sorted({number for _, number in found}))
        rank = {number: at for at, number in enumerate(numbers)}
        slices = tuple(index for index, _ in found), tuple(rank[number] for _, number in found)
        if (slices, frontend.local) not in self._chosen:
            self._chosen[slices, frontend.local] = self._choose(slices, local=frontend.local)
        return PortBackends(self._chosen[slices, frontend.local], numbers)

    def _choose(self, slices: _Slices, *, local: bool) -> Chosen:
        service, context = self._service, self._context
        candidates: list[Target] = [
            (state, octets, rank)
            for index, rank in zip(*slices, strict=True)
            for octets, state in self._slices[index].endpoints()
        ]
        names = self._target_names
        found: dict[tuple[bytes, int], tuple[abi.BackendFlag, int]] = {}
        for state, octets, rank in serving(candidates, context, local=local, not_ready_too=service.publish_not_ready):
            if (octets, rank) not in found:
                flag = LOCAL if is_local(state, octets, context) else REMOTE
                found[octets, rank] = flag, service.weights.of(names.get(octets, ""), state.node, state.zone)
        return Chosen(found)

    @cached_property
    def _target_names(self) -> Mapping[bytes, str]:
        """The name of each endpoint's target, by its address, where weights may be by them."""
        return {
            octets: name
            for part in (self._slices if self._service.weights.by else ())
            for (octets, _), name in zip(part.endpoints(), part.target_names(), strict=True)
            if name
        }


def with_ports(values: bytes, ports: bytes) -> bytes:
    """Records of backends with these *ports*."""
    made = bytearray(values)
    for at in range(2):
        made[_PORT_AT + at :: abi.Backend.SIZE] = ports[at::2]
    return bytes(made)


def is_local(state: EndpointState, octets: bytes, context: NodeContext) -> bool:
    """Whether an endpoint is on this node: by its node's name, or, without one, by its address."""
    if state.node:
        return state.node == context.name
    return context.has(unmapped(IPv6Address(octets)))


def unplaced(slices: Sequence[EndpointSlice]) -> frozenset[Address]:
    """The addresses of endpoints that name no node: whether they are here depends on the node's addresses."""
    return frozenset(
        unmapped(IPv6Address(octets)) for part in slices for octets, state in part.endpoints() if not state.node
    )
