"""What to do where packets that are dropped should pass: for most reasons nothing, since the packet was wrong."""

from collections.abc import Mapping

from agent.model.node import ALLOWED_RANGES, ROUTED_RANGES

WAYS_OUT: Mapping[str, str] = {
    "source_address": (
        f"a pod that routes for others names them in its annotation {ROUTED_RANGES}, within what its Namespace's"
        f" {ALLOWED_RANGES} allows"
    ),
    "routed_back": f"a pod has no route of its own to some of its {ROUTED_RANGES}; let it refuse what is not there",
}


def way_out(reason: str) -> str:
    """What to do where packets are dropped for a reason; empty where it is for their sender to know."""
    return WAYS_OUT.get(reason, "")
