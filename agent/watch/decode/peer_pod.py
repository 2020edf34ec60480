"""Pods of all nodes, as far as rules of policies may mean them: labels, addresses on each network, and named ports.

Watched only while a policy of this node selects peers by labels. What is wrong in one its own node tells: this one is
one of many that see it.
"""

from agent.model.network import NETWORK_STATUS
from agent.model.policy import PeerPod
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.network_status import further_addresses
from agent.watch.decode.pod_object import ENDED, POD_OBJECT, ips, named_ports
from agent.watch.decode.reader import Reader


def _decode(content: Content, context: Context) -> Decoded:
    found = POD_OBJECT.decode(content)
    read = Reader(PEER_POD, found.metadata, context.shared)
    # in its node's network a pod is its node
    if found.spec.host_network or found.status.phase in ENDED:
        return Decoded(PEER_POD, read.name, None)
    addresses = ips(read, found)
    if not addresses:
        return Decoded(PEER_POD, read.name, None)
    is_ending = found.metadata.deletion_timestamp is not None
    further = further_addresses((found.metadata.annotations or {}).get(NETWORK_STATUS, ""), context.shared)
    peer = PeerPod(read.name, read.labels(found.metadata), addresses, named_ports(read, found), is_ending, further)
    return Decoded(PEER_POD, read.name, peer)


# what _decode() leaves out is not sent at all; API servers select by spec.hostNetwork since Kubernetes 1.28
PEER_POD = Kind(
    "PeerPod",
    "/api/v1/pods",
    "peers",
    _decode,
    field_selector=",".join((*(f"status.phase!={phase}" for phase in ENDED), "spec.hostNetwork=false")),
    reads="Pod",
)
