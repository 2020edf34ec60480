"""Which endpoints of a service serve this node: readiness, traffic policy, topology hints.

Source: Kubernetes' "Virtual IPs and Service Proxies", KEP-1669 (terminating endpoints), KEP-2433 (hints).
"""

from collections.abc import Sequence

from agent.compile.context import NodeContext
from agent.model.service import EndpointState

Target = tuple[EndpointState, bytes, int]  # with its address and its port's number


def serving(targets: Sequence[Target], context: NodeContext, *, local: bool, not_ready_too: bool) -> Sequence[Target]:
    """The endpoints that take new flows.

    With *local* only those on this node, and then hints mean nothing: the traffic policy wins. Without a ready
    endpoint, those that end but still serve stand in.
    """
    if local:
        targets = [target for target in targets if target[0].node == context.name]
    ready = [target for target in targets if target[0].ready or not_ready_too]
    if not ready:
        return [target for target in targets if target[0].serving and target[0].terminating]
    return ready if local else hinted(ready, context)


def hinted(ready: Sequence[Target], context: NodeContext) -> Sequence[Target]:
    """Those hinted for this node, else for its zone; all, when one has no hint or none is meant for us."""
    if not (ready[0][0].for_nodes or ready[0][0].for_zones):
        return ready
    if context.name and all(state.for_nodes for state, *_ in ready):
        near = [target for target in ready if context.name in target[0].for_nodes]
        if near:
            return near
    if context.zone and all(state.for_zones for state, *_ in ready):
        near = [target for target in ready if context.zone in target[0].for_zones]
        if near:
            return near
    return ready
