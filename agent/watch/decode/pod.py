"""Pods of this node, while they have their addresses."""

import msgspec
from msgspec import Struct, field

from agent.model.node import Pod
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader
from agent.watch.decode.routed_range import ROUTED_FIELD, routed_ranges


class _Spec(Struct, rename="camel", frozen=True):
    """``spec`` of a Pod."""

    node_name: str = ""
    host_network: bool = False


class _IP(Struct, frozen=True):
    """``status.podIPs[]`` of a Pod."""

    ip: str = ""


class _Status(Struct, frozen=True):
    """``status`` of a Pod."""

    phase: str = ""
    pod_ip: str = field(name="podIP", default="")
    pod_ips: list[_IP] | None = field(name="podIPs", default=None)


class _Pod(Struct, frozen=True):
    """A Pod, v1."""

    metadata: Metadata = Metadata()
    spec: _Spec = _Spec()
    status: _Status = _Status()


_POD = msgspec.json.Decoder(_Pod)


def _decode(content: Content, context: Context) -> Decoded:
    found = _POD.decode(content)
    read = Reader(POD, found.metadata, context.shared)
    # a pod that has ended keeps its address in the API while another pod may have it already
    if found.spec.node_name != context.node_name or found.status.phase in ("Succeeded", "Failed"):
        return read.result(None)
    status = found.status
    texts = [given.ip for given in status.pod_ips or ()] or [status.pod_ip]
    ranges = routed_ranges(read, found.metadata.annotations)
    if ranges and found.spec.host_network:
        read.refuse(ROUTED_FIELD, "means nothing for a pod in its node's network (hostNetwork); leave it out")
    ips = [read.address(text, f"status.podIPs[{i}].ip") for i, text in enumerate(texts) if text]
    return read.result(
        Pod(
            name=read.name,
            uid=found.metadata.uid,
            node=found.spec.node_name,
            ips=tuple(ip for ip in ips if ip is not None),
            host_network=found.spec.host_network,
            routed_ranges=ranges,
        )
    )


POD = Kind("Pod", "/api/v1/pods", "pods", _decode, field_selector="spec.nodeName={node}", is_needed=True)
