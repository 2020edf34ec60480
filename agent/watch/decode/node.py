"""Nodes: their addresses, pod CIDRs, zones and labels."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct, field

from agent.model.address import Address
from agent.model.bgp import NODE_ANNOTATIONS
from agent.model.node import Node
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader

ZONE = "topology.kubernetes.io/zone"
TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"  # a taint
IPAM, HOST_LOCAL = "sluiceway.io/ipam", "host-local"  # on a Node: whose reservations to keep


class _Taint(Struct, frozen=True):
    """``spec.taints[]`` of a Node."""

    key: str = ""


class _Spec(Struct, frozen=True):
    """``spec`` of a Node."""

    pod_cidr: str = field(name="podCIDR", default="")
    pod_cidrs: list[str] | None = field(name="podCIDRs", default=None)
    taints: list[_Taint] | None = None
    unschedulable: bool = False


class _Address(Struct, frozen=True):
    """``status.addresses[]`` of a Node."""

    type: str = ""
    address: str = ""


class _Status(Struct, frozen=True):
    """``status`` of a Node."""

    addresses: list[_Address] | None = None


class _Node(Struct, frozen=True):
    """A Node, v1."""

    metadata: Metadata = Metadata()
    spec: _Spec = _Spec()
    status: _Status = _Status()


_NODE = msgspec.json.Decoder(_Node)


def _decode(content: Content, context: Context) -> Decoded:
    found = _NODE.decode(content)
    read = Reader(NODE, found.metadata, context.shared)
    texts = found.spec.pod_cidrs or ([found.spec.pod_cidr] if found.spec.pod_cidr else [])
    cidrs = [read.network(text, f"spec.podCIDRs[{index}]") for index, text in enumerate(texts)]
    return read.result(
        Node(
            name=read.name.name,
            internal_ips=_addresses(read, found.status, "InternalIP"),
            pod_cidrs=tuple(cidr for cidr in cidrs if cidr is not None),
            zone=context.shared.one((found.metadata.labels or {}).get(ZONE, "")),
            imports_host_local=_imports_host_local(read, found.metadata.annotations or {}),
            external_ips=_addresses(read, found.status, "ExternalIP"),
            labels=read.labels(found.metadata),
            is_leaving=_is_leaving(found),
            is_cordoned=found.spec.unschedulable,
            bgp=_bgp(found.metadata.annotations or {}),
        )
    )


def _is_leaving(found: _Node) -> bool:
    """Whether load balancers are to take the node for one that goes. Source: KEP-3836."""
    return found.metadata.deletion_timestamp is not None or any(
        taint.key == TO_BE_DELETED for taint in found.spec.taints or ()
    )


def _bgp(annotations: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """As they are: compile reads them where the node speaks BGP."""
    return tuple(sorted((key, annotations[key]) for key in annotations.keys() & NODE_ANNOTATIONS))


def _addresses(read: Reader, status: _Status, wanted: str) -> tuple[Address, ...]:
    found = (
        read.address(given.address, f"status.addresses[{index}].address")
        for index, given in enumerate(status.addresses or ())
        if given.type == wanted
    )
    return tuple(address for address in found if address is not None)


def _imports_host_local(read: Reader, annotations: Mapping[str, str]) -> bool:
    value = annotations.get(IPAM, HOST_LOCAL)
    if value != HOST_LOCAL:
        read.refuse(f"metadata.annotations['{IPAM}']", f"{value!r} is not known; say {HOST_LOCAL}, or leave it out")
    return IPAM in annotations and value == HOST_LOCAL


NODE = Kind("Node", "/api/v1/nodes", "nodes", _decode, is_namespaced=False, is_needed=True)
