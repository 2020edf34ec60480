"""All kinds of objects that the agent can read; a new one is a file and a line here."""

from agent.watch.decode.bgp_configuration import BGP_CONFIGURATION
from agent.watch.decode.bgp_filter import BGP_FILTER
from agent.watch.decode.bgp_peer import BGP_PEER
from agent.watch.decode.cluster_network_policy import CLUSTER_NETWORK_POLICY
from agent.watch.decode.endpoint_slice import ENDPOINT_SLICE
from agent.watch.decode.ip_block import IP_BLOCK_KIND
from agent.watch.decode.ip_pool import IP_POOL_KIND
from agent.watch.decode.kind import Kind
from agent.watch.decode.lb_pool import LOAD_BALANCER_POOL
from agent.watch.decode.lb_service import LB_SERVICE
from agent.watch.decode.multi_network_policy import MULTI_NETWORK_POLICY
from agent.watch.decode.namespace import NAMESPACE
from agent.watch.decode.network_attachment import NETWORK_ATTACHMENT
from agent.watch.decode.network_policy import NETWORK_POLICY
from agent.watch.decode.node import NODE
from agent.watch.decode.peer_pod import PEER_POD
from agent.watch.decode.pod import POD
from agent.watch.decode.service import SERVICE

KINDS: tuple[Kind, ...] = (
    SERVICE,
    ENDPOINT_SLICE,
    NODE,
    POD,
    NAMESPACE,
    NETWORK_POLICY,
    CLUSTER_NETWORK_POLICY,
    MULTI_NETWORK_POLICY,
    PEER_POD,
    BGP_PEER,
    BGP_FILTER,
    BGP_CONFIGURATION,
    NETWORK_ATTACHMENT,
    IP_POOL_KIND,
    IP_BLOCK_KIND,
)
NEEDED: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind.is_needed)
POLICIES: tuple[Kind, ...] = (NETWORK_POLICY, CLUSTER_NETWORK_POLICY)  # watched from the start where they are enforced

ROUTED: tuple[Kind, ...] = (BGP_PEER, BGP_FILTER, BGP_CONFIGURATION)  # watched from the start where the node speaks BGP
POOLED: tuple[Kind, ...] = (IP_POOL_KIND, IP_BLOCK_KIND)  # watched from the start where pods have addresses of pools
ALLOCATED: tuple[Kind, ...] = (LOAD_BALANCER_POOL, LB_SERVICE)  # watched by the one that allocates; in no folder


def kinds_of(object_kind: str, api_version: str) -> tuple[Kind, ...]:
    """The kinds that read such an object; one that says no version may be of any group."""
    group = api_version.rpartition("/")[0]
    return tuple(kind for kind in KINDS if kind.object_kind == object_kind and (not api_version or kind.group == group))
