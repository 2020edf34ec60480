"""EndpointSlices: the endpoints of services that are served."""

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from agent.model.address import Family, mapped_octets
from agent.model.name import ObjectName
from agent.model.service import Endpoint, EndpointPort, EndpointState, endpoint_slice
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader
from agent.watch.decode.service import HEADLESS, NOT_SERVED

SERVICE_NAME = "kubernetes.io/service-name"


class _Port(Struct, frozen=True):
    """``ports[]`` of an EndpointSlice."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class _Conditions(Struct, frozen=True):
    """``endpoints[].conditions`` of an EndpointSlice."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class _Hint(Struct, frozen=True):
    """One entry of ``endpoints[].hints``' lists."""

    name: str = ""


class _Hints(Struct, rename="camel", frozen=True):
    """``endpoints[].hints`` of an EndpointSlice."""

    for_zones: list[_Hint] | None = None
    for_nodes: list[_Hint] | None = None


class _TargetRef(Struct, frozen=True):
    """``endpoints[].targetRef`` of an EndpointSlice."""

    name: str | None = None


class _Endpoint(Struct, rename="camel", frozen=True):
    """``endpoints[]`` of an EndpointSlice."""

    addresses: list[str] | None = None
    conditions: _Conditions | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: _Hints | None = None
    target_ref: _TargetRef | None = None


class _EndpointSlice(Struct, rename="camel", frozen=True):
    """An EndpointSlice, discovery.k8s.io/v1."""

    metadata: Metadata = Metadata()
    address_type: str = ""
    ports: list[_Port] | None = None
    endpoints: list[_Endpoint] | None = None


_SLICE = msgspec.json.Decoder(_EndpointSlice)
_NO_CONDITIONS = _Conditions()
_NO_HINTS = _Hints()


def _decode(content: Content, context: Context) -> Decoded:
    found = _SLICE.decode(content)
    read = Reader(ENDPOINT_SLICE, found.metadata, context.shared)
    labels = found.metadata.labels or {}
    service = labels.get(SERVICE_NAME)
    if not service or HEADLESS in labels or found.address_type == "FQDN":
        return read.result(None)
    if found.address_type not in tuple(Family):
        read.refuse("addressType", f"{found.address_type!r} is none of IPv4, IPv6 and FQDN")
        return read.result(None)
    family = Family(found.address_type)
    owner = ObjectName(read.name.namespace, service)
    ports = read.shared.one(tuple(_ports(read, found.ports or [])))
    endpoints = tuple(_endpoints(read, found, family))
    pairs, targets = [pair for pair, _ in endpoints], [target for _, target in endpoints]
    return read.result(endpoint_slice(read.name, owner, ports, family, pairs, targets))


def _ports(read: Reader, ports: list[_Port]) -> Iterator[EndpointPort]:
    for index, found in enumerate(ports):
        protocol = read.protocol(found.protocol, f"ports[{index}].protocol")
        number = read.port(found.port, f"ports[{index}].port")
        if protocol is not None and number is not None:
            yield EndpointPort(found.name or "", protocol, number)


def _endpoints(read: Reader, found: _EndpointSlice, family: Family) -> Iterator[tuple[Endpoint, str]]:
    """The endpoints, each with its targetRef's name."""
    for index, endpoint in enumerate(found.endpoints or ()):
        # more than one address would be the same endpoint: the API has no use for them yet
        for address in read.reachables(endpoint.addresses, f"endpoints[{index}].addresses", family)[:1]:
            target = endpoint.target_ref.name if endpoint.target_ref else None
            yield (mapped_octets(address), _state(read, endpoint)), "".join((target or "").split())


def _state(read: Reader, found: _Endpoint) -> EndpointState:
    state = found.conditions or _NO_CONDITIONS
    ready = state.ready is not False
    hints = found.hints or _NO_HINTS
    return read.shared.made(
        EndpointState,
        ready,
        ready if state.serving is None else state.serving,
        state.terminating is True,
        found.node_name or "",
        found.zone or "",
        tuple(hint.name for hint in hints.for_zones or ()),
        tuple(hint.name for hint in hints.for_nodes or ()),
    )


ENDPOINT_SLICE = Kind(
    "EndpointSlice",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "slices",
    _decode,
    label_selector=",".join(f"!{label}" for label in NOT_SERVED),  # a Service's labels are on its slices
    is_needed=True,
    owner=lambda piece: piece.service,
)
