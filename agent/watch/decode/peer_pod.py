"""Pods of all nodes, as far as rules of policies may mean them: labels, addresses and named ports.

Watched only while a policy of this node selects peers by labels.
"""

from agent.model.policy import PeerPod
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.pod_object import ENDED, POD_OBJECT, ips, named_ports
from agent.watch.decode.reader import Reader


def _decode(content: Content, context: Context) -> Decoded:
    found = POD_OBJECT.decode(content)
    read = Reader(PEER_POD, found.metadata, context.shared)
    # in its node's network a pod is its node
    if found.spec.host_network or found.status.phase in ENDED:
        return read.result(None)
    addresses = ips(read, found)
    if not addresses:
        return read.result(None)
    return read.result(PeerPod(read.name, read.labels(found.metadata), addresses, named_ports(read, found)))


# what _decode() leaves out is not sent at all; API servers select by spec.hostNetwork since Kubernetes 1.28
PEER_POD = Kind(
    "PeerPod",
    "/api/v1/pods",
    "peers",
    _decode,
    field_selector=",".join((*(f"status.phase!={phase}" for phase in ENDED), "spec.hostNetwork=false")),
    reads="Pod",
)
