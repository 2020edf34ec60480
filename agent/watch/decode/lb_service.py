"""Services as the allocator of load balancer addresses needs them: of every kind, for all may hold an address."""

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct, field

from agent.model.address import Address, Family, parse_address
from agent.model.lb_pool import ASSIGNED, FINALIZER, OUR_CLASS, REQUESTED, SHARING, LbService
from agent.model.service import Protocol
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.kube_router import LOCAL
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader
from agent.watch.decode.service import SERVICE

_FAMILIES = {str(one): one for one in Family}
REQUEST_FIELDS = (f"metadata.annotations['{REQUESTED}']", "spec.loadBalancerIP")


class _Metadata(Metadata, rename="camel", frozen=True):
    """``metadata``, with what says which of two came first, and who has to let go of it."""

    creation_timestamp: str = ""
    finalizers: list[str] | None = None


class _Port(Struct, frozen=True):
    """``spec.ports[]``."""

    protocol: str | None = None
    port: int | None = None


class _Spec(Struct, rename="camel", frozen=True):
    """``spec``."""

    type: str = "ClusterIP"
    load_balancer_class: str | None = None
    load_balancer_ip: str = field(name="loadBalancerIP", default="")
    external_ips: list[str] | None = field(name="externalIPs", default=None)
    ip_families: list[str] | None = None
    ip_family_policy: str | None = None
    cluster_ips: list[str] | None = field(name="clusterIPs", default=None)
    external_traffic_policy: str | None = None
    selector: dict[str, str] | None = None
    ports: list[_Port] | None = None


class _Ingress(Struct, frozen=True):
    """``status.loadBalancer.ingress[]``."""

    ip: str = ""
    hostname: str = ""


class _LoadBalancer(Struct, frozen=True):
    """``status.loadBalancer``."""

    ingress: list[_Ingress] | None = None


class _Condition(Struct, frozen=True):
    """``status.conditions[]``."""

    type: str = ""
    status: str = ""


class _Status(Struct, rename="camel", frozen=True):
    """``status``."""

    load_balancer: _LoadBalancer = _LoadBalancer()
    conditions: list[_Condition] | None = None


class _Service(Struct, frozen=True):
    """A Service, v1."""

    metadata: _Metadata = _Metadata()
    spec: _Spec = _Spec()
    status: _Status = _Status()


_SERVICE = msgspec.json.Decoder(_Service)


def _decode(content: Content, context: Context) -> Decoded:
    found = _SERVICE.decode(content)
    read = Reader(LB_SERVICE, found.metadata, context.shared)
    spec, status = found.spec, found.status
    annotations = found.metadata.annotations or {}
    is_balanced = spec.type == "LoadBalancer"
    ingress = status.load_balancer.ingress or []
    # what is wrong with the rest of a Service is told by those who serve it
    requested = tuple(_requested(read, spec, annotations)) if is_balanced else ()
    return read.result(
        LbService(
            name=read.name,
            uid=found.metadata.uid,
            revision=found.metadata.resource_version,
            created=found.metadata.creation_timestamp,
            is_wanted=is_balanced
            and (spec.load_balancer_class or OUR_CLASS) == OUR_CLASS
            and not found.metadata.deletion_timestamp,
            is_of_our_class=spec.load_balancer_class == OUR_CLASS,
            is_ours=any(one.type == ASSIGNED for one in status.conditions or ()),
            is_kept=FINALIZER in (found.metadata.finalizers or ()),
            families=tuple(_families(spec)),
            is_dual_required=spec.ip_family_policy == "RequireDualStack",
            requested=requested,
            request_field=REQUEST_FIELDS[0 if annotations.get(REQUESTED, "").strip() else 1],
            is_request_broken=bool(read.problems),
            sharing_key=annotations.get(SHARING, ""),
            ports=frozenset(_ports(spec)),
            is_local=spec.external_traffic_policy == "Local" or annotations.get(LOCAL) == "true",
            selector=tuple(sorted((spec.selector or {}).items())),
            labels=read.labels(found.metadata),
            held=tuple(_readable(one.ip for one in ingress if one.ip)),
            has_hostname=any(one.hostname and not one.ip for one in ingress),
            external_ips=tuple(_readable(spec.external_ips or ())),
        )
    )


def _families(spec: _Spec) -> Iterator[Family]:
    """The Service's families; the API server has filled them in, and manifests of old have cluster IPs alone."""
    named = spec.ip_families or [
        Family.IPV6 if ":" in ip else Family.IPV4 for ip in spec.cluster_ips or () if ip != "None"
    ]
    yield from dict.fromkeys(_FAMILIES[one] for one in named if one in _FAMILIES)


def _requested(read: Reader, spec: _Spec, annotations: Mapping[str, str]) -> Iterator[Address]:
    """The annotation's addresses, else the one of the older field, which has room for one."""
    text, where = annotations.get(REQUESTED, ""), REQUEST_FIELDS[0]
    if not text.strip():
        text, where = spec.load_balancer_ip, REQUEST_FIELDS[1]
    seen: set[int] = set()
    for one in filter(None, (part.strip() for part in text.split(","))):
        address = read.reachable(one, where)
        if address is None:
            continue
        if address.version in seen:
            read.refuse(where, f"{text!r} has two addresses of a family; a Service is given one of each")
            continue
        seen.add(address.version)
        yield address


def _ports(spec: _Spec) -> Iterator[tuple[Protocol, int]]:
    for one in spec.ports or ():
        name = one.protocol or "TCP"
        if one.port and name in Protocol.__members__:
            yield Protocol[name], one.port


def _readable(texts: "Iterator[str] | list[str] | tuple[str, ...]") -> Iterator[Address]:
    for text in texts:
        try:
            yield parse_address(text)
        except ValueError:
            continue  # nobody can be given it either


LB_SERVICE = Kind("LbService", SERVICE.path, "lb_services", _decode, reads="Service", is_exact=True)
