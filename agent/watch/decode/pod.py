"""Pods of this node, while they have their addresses."""

from collections.abc import Mapping

from agent.model.ip_pool import POOLS
from agent.model.network import DEFAULT_NETWORK, NETWORKS
from agent.model.node import MIRROR, UNPROTECTED, Pod
from agent.watch.decode.hugepages import hugepages
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.pod_object import ENDED, POD_OBJECT, drops_raw, has_net_admin, ips, limits, named_ports
from agent.watch.decode.reader import Reader
from agent.watch.decode.routed_range import ROUTED_FIELD, routed_ranges


def _decode(content: Content, context: Context) -> Decoded:
    found = POD_OBJECT.decode(content)
    read = Reader(POD, found.metadata, context.shared)
    if found.spec.node_name != context.node_name or found.status.phase in ENDED:
        return read.result(None)
    ranges = routed_ranges(read, found.metadata.annotations)
    if ranges and found.spec.host_network:
        read.refuse(ROUTED_FIELD, "means nothing for a pod in its node's network (hostNetwork); leave it out")
    return read.result(
        Pod(
            name=read.name,
            uid=found.metadata.uid,
            node=found.spec.node_name,
            ips=ips(read, found),
            host_network=found.spec.host_network,
            routed_ranges=ranges,
            labels=read.labels(found.metadata),
            ports=named_ports(read, found),
            unprotected=_unprotected(found.metadata.annotations or {}),
            networks=_networks(found.metadata.annotations or {}),
            ip_pools=(found.metadata.annotations or {}).get(POOLS, ""),
            static_uid=(found.metadata.annotations or {}).get(MIRROR, ""),
            drops_raw=bool(found.spec.containers) and drops_raw(found),
            has_net_admin=has_net_admin(found),
            hugepages=hugepages(limits(found)),
        )
    )


def _unprotected(annotations: Mapping[str, str]) -> frozenset[str]:
    """The interfaces that the annotation names, with commas between."""
    return frozenset(name.strip() for name in annotations.get(UNPROTECTED, "").split(",") if name.strip())


def _networks(annotations: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The annotations that ask for networks; what they mean depends on definitions, which come and go."""
    return tuple((name, annotations[name]) for name in (DEFAULT_NETWORK, NETWORKS) if annotations.get(name))


POD = Kind("Pod", "/api/v1/pods", "pods", _decode, field_selector="spec.nodeName={node}", is_needed=True)
