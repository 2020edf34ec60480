"""Which program goes on which hook, and which of them a kind of device has."""

from collections.abc import Mapping

from maps.libbpf import AttachType

# each program of a device: its tcx hook, and whether that is the ingress side
DEVICE_HOOKS: Mapping[str, tuple[AttachType, bool]] = {
    "pod_ingress": (AttachType.TCX_INGRESS, True),
    "pod_egress": (AttachType.TCX_EGRESS, False),
    "uplink_ingress": (AttachType.TCX_INGRESS, True),
    "uplink_egress": (AttachType.TCX_EGRESS, False),
    "tunnel_egress": (AttachType.TCX_EGRESS, False),
    "segment_ingress": (AttachType.TCX_INGRESS, True),
}
XDP = "uplink_xdp"  # on the driver's hook, which has one program: where it is and how says xdp.py
# which only nodes with a tunnel, or with XDP, have on a hook
ON_DEMAND = frozenset({"tunnel_egress", "segment_ingress", XDP})
UPLINK = ("uplink_ingress", "uplink_egress")
UPLINK_IN = ("uplink_ingress",)  # where other CNI plugins make the pods' network: sources are checked, no more
TUNNEL = ("uplink_ingress", "tunnel_egress")
TUNNEL_OUT = ("tunnel_egress",)  # by which nothing comes in
SEGMENTER = ("segment_ingress",)  # on the same device: what its other end was given comes in
POD = ("pod_ingress", "pod_egress")
LOOPBACK = ("uplink_egress",)  # where the node's own processes reach its node ports and pods of its own network
LOOPBACK_IFINDEX = 1
SOCKET_HOOKS: Mapping[str, AttachType] = {
    "connect4": AttachType.CGROUP_CONNECT4,
    "connect6": AttachType.CGROUP_CONNECT6,
    "sendmsg4": AttachType.CGROUP_SENDMSG4,
    "sendmsg6": AttachType.CGROUP_SENDMSG6,
    "recvmsg4": AttachType.CGROUP_RECVMSG4,
    "recvmsg6": AttachType.CGROUP_RECVMSG6,
    "getpeername4": AttachType.CGROUP_GETPEERNAME4,
    "getpeername6": AttachType.CGROUP_GETPEERNAME6,
    "sock_create": AttachType.CGROUP_SOCK_CREATE,
    "sock_release": AttachType.CGROUP_SOCK_RELEASE,
}
