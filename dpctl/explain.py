"""Why packets are dropped, in words, and what to do where they should pass: for most nothing, the packet was wrong."""

from collections.abc import Mapping

from agent.model.node import ALLOWED_RANGES, ROUTED_RANGES
from maps import abi

WAYS_OUT: Mapping[str, str] = {
    "source_address": (
        f"a pod that routes for others names them in its annotation {ROUTED_RANGES}, within what its Namespace's"
        f" {ALLOWED_RANGES} allows"
    ),
    "routed_back": f"a pod has no route of its own to some of its {ROUTED_RANGES}; let it refuse what is not there",
    "flow_share": "dpctl conntrack top says who has how much; --max-flows makes the table larger",
    "policy_ingress": "dpctl policy why FROM TO PORT, on this node, names the policy",
    "policy_egress": "dpctl policy why FROM TO PORT, on this node, names the policy",
}
# as bpf/dp/abi/drop.h says of each, shorter
WORDS: Mapping[str, str] = {
    "short_packet": "ends inside a header that it announces",
    "bad_header": "an IP header with an impossible version or length",
    "extension_headers": "more IPv6 extension headers than are followed",
    "mapped_address": "IPv6 with an address in ::ffff:0:0/96",
    "ethertype": "a pod sent neither IPv4, IPv6 nor ARP",
    "source_mac": "a pod sent from a MAC that is not its own",
    "source_address": "a pod sent from an address that is not its own",
    "no_backend": "the service has no endpoint; the sender was refused",
    "no_backend_silent": "the service has no endpoint",
    "no_local_backend": "traffic policy Local, and no endpoint on this node",
    "backend_lost": "the service names a backend that is not there",
    "conntrack_full": "the table of flows is full",
    "nat_ports": "no source port is free for a translation",
    "flow_share": "who begins the flow has its share of the flow table",
    "nat_address": "the node has no address of the family to translate to",
    "rewrite": "the kernel refused to change the packet",
    "no_route": "the kernel has no route",
    "ttl": "TTL or hop limit is spent",
    "no_tunnel": "no node is known behind the tunnel for the destination",
    "ingress_limit": "over the pod's ingress bandwidth",
    "egress_limit": "over the pod's egress bandwidth",
    "too_big": "does not fit the way on; the sender was told",
    "too_big_silent": "does not fit the way on",
    "fragment_alone": "a later fragment whose first did not come",
    "own_source": "from outside under an address of this node or its pods",
    "vlan": "a pod sent a tagged frame",
    "arp": "a pod's ARP that speaks of another",
    "nd": "a pod's neighbour or router discovery that speaks of another",
    "dhcp_answer": "a pod answered for a DHCP server",
    "tunnel_pod": "a pod sent to a node what is encapsulated as nodes do",
    "tunnel_outer": "encapsulated by somebody who is no node",
    "tunnel_inner": "encapsulated by a node that may not speak for the source, or not to the destination",
    "tunnel_header": "for the tunnel, under another header than its own",
    "stray_segment": "a TCP RST or SYN-ACK of a connection that nobody knows",
    "routed_back": "a pod sent what is for somebody behind itself",
    "no_service": "the service has no such port; the sender was refused",
    "no_service_silent": "the service has no such port",
    "service_source": "came in from outside as from a service",
    "nat_protocol": "cannot be masqueraded: it has no ports",
    "sctp_fragment": "begins an SCTP packet in fragments, whose checksum nobody could make for another port",
    "stray_error": "an ICMP error about no flow that is known",
    "nat_way": "the flow's way has moved to where another source is right",
    "policy_ingress": "no policy of the receiving pod accepts it, or one denies it",
    "policy_egress": "no policy of the sending pod accepts it, or one denies it",
    "source_range": "it is for a load balancer's address, and its source is in none of the loadBalancerSourceRanges",
    "denied_prefix": "from a range that --xdp-deny-cidrs-file denies",
    "flow_moves": "its connection was not known while flows were carried to other maps; it was sent again",
    "flow_ended": "its connection began anew elsewhere at that moment, since the backend that answered had left",
    "policy_unknown": "the rules of a pod are not here yet, or it has just gone",
}


def way_out(reason: str) -> str:
    """What to do where packets are dropped for a reason; empty where it is for their sender to know."""
    return WAYS_OUT.get(reason, "")


def words(reason: str) -> str:
    """A reason as a clause; of one that another build knows, its name."""
    return WORDS.get(reason, reason)


def reason_name(number: int) -> str:
    """A reason's name, as counters and metrics have it; its number where there is none."""
    if 0 < number < abi.DropReason.DROP_REASONS:
        return abi.DropReason(number).name.removeprefix("DROP_").lower()
    return str(number)


def reasons() -> tuple[str, ...]:
    """The names of all."""
    return tuple(map(reason_name, range(1, abi.DropReason.DROP_REASONS)))
