"""Short ways to write model values in tests of compile and reconcile."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from agent.compile.desired import Desired, desired
from agent.compile.settings import Settings
from agent.model.address import Family, mapped_octets, unmapped
from agent.model.address import family as family_of
from agent.model.attachment import Attachment, Veth
from agent.model.cluster import Cluster
from agent.model.local import Local
from agent.model.name import ObjectName
from agent.model.node import Node
from agent.model.service import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    EndpointState,
    Protocol,
    Service,
    ServicePort,
    endpoint_slice,
)
from maps import abi

HERE = "here"
SETTINGS = Settings(HERE)
FRESH = Desired()
Object = Service | EndpointSlice | Node
HTTP = ServicePort("http", Protocol.TCP, 80)


def name(text: str) -> ObjectName:
    namespace, _, rest = text.rpartition("/")
    return ObjectName(namespace or "default", rest)


def service(text: str = "web", ip: str = "10.96.0.1", **fields: Any) -> Service:
    ips = tuple(ip_address(one) for one in ip.split(",") if one)
    return Service(name(text), ips, **{"ports": (HTTP,), **fields})


def endpoint(ip: str, node: str = "elsewhere", **fields: Any) -> Endpoint:
    return mapped_octets(ip_address(ip)), EndpointState(node=node, **fields)


def piece(
    text: str,
    *endpoints: Endpoint,
    suffix: str = "1",
    port: int = 8080,
    port_name: str = "http",
    protocol: Protocol = Protocol.TCP,
) -> EndpointSlice:
    owner = name(text)
    family = family_of(unmapped(IPv6Address(endpoints[0][0]))) if endpoints else Family.IPV4
    target = EndpointPort(port_name, protocol, port)
    return endpoint_slice(ObjectName(owner.namespace, f"{owner.name}-{suffix}"), owner, (target,), family, endpoints)


def attachment(ip: str = "10.0.0.5", endpoint_id: int = 7, ifindex: int = 12, **fields: Any) -> Attachment:
    base: dict[str, Any] = {
        "netns": "/run/netns/pod",
        "netns_cookie": 4242,
        "slot": endpoint_id,
        "mac": f"02:00:00:00:00:{endpoint_id:02x}",
    }
    return Attachment(
        f"container-{endpoint_id}",
        "eth0",
        endpoint_id,
        link=Veth("swp0123456789", ifindex),
        ipv4=IPv4Address(ip),
        **{**base, **fields},
    )


def cluster(*objects: Object, local: Local | None = None, zone: str = "", synced: bool = True) -> Cluster:
    services = {one.name: one for one in objects if isinstance(one, Service)}
    slices: dict[ObjectName, tuple[EndpointSlice, ...]] = {}
    for one in objects:
        if isinstance(one, EndpointSlice):
            slices[one.service] = (*slices.get(one.service, ()), one)
    nodes = {one.name: one for one in objects if isinstance(one, Node)}
    nodes.setdefault(HERE, Node(HERE, (ip_address("192.0.2.1"),), zone=zone))
    return Cluster(services, slices, nodes, local=local or Local(netns_cookie=1), synced=synced)


def compiled(*objects: Object, **fields: Any) -> Desired:
    return desired(cluster(*objects, **fields), SETTINGS, FRESH)


def shown(wanted: Desired) -> dict[str, str]:
    """Frontends as people read them, with their backends, without ids: what a client would see."""
    found = {}
    for one in wanted.services.records.values():
        ends: dict[int, list[str]] = {}
        for raw_key, raw in one.records.of_map("backends").items():
            b = abi.Backend.unpack(raw)
            ends.setdefault(abi.BackendKey.unpack(raw_key).set_id, []).append(
                f"{unmapped(b.addr)}:{b.port}{'*' * b.flags}"
            )
        for raw_key, raw in one.records.of_map("services").items():
            key, value = abi.ServiceKey.unpack(raw_key), abi.Service.unpack(raw)
            scope = "in" if key.scope == abi.Scope.SCOPE_INTERNAL else "out"
            local = " local" if value.flags & abi.ServiceFlag.SERVICE_LOCAL else ""
            protocol = Protocol(key.protocol).name
            where = f"{unmapped(key.addr)}:{key.port}/{protocol} {scope}{local}"
            found[where] = " ".join(sorted(ends.get(value.set_id, [])))
    return found
