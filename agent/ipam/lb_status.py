"""The PATCHes by which Services and pools are told what was allocated, each on the status subresource alone.

Each names the revision that it rests on: a Service that somebody changed meanwhile is looked at anew, not overwritten.
The subresource takes the finalizer too, as metadata, so that both are there and go together.

Source: Kubernetes API reference, Service v1 (conditions are merged by their type, finalizers by themselves); strategic
merge patch, "$patch" and "$deleteFromPrimitiveList".
"""

from collections.abc import Mapping
from typing import Any

from agent.model.address import Address
from agent.model.lb_pool import ASSIGNED, FINALIZER, LbService, LoadBalancerPool, PoolStatus

STRATEGIC, MERGE = "application/strategic-merge-patch+json", "application/merge-patch+json"
COUNT_MAX = (1 << 53) - 1  # the largest that every reader of JSON keeps whole; a pool of IPv6 may have more addresses


def service_path(service: LbService) -> str:
    """Where a Service's status is changed."""
    return f"/api/v1/namespaces/{service.name.namespace}/services/{service.name.name}/status"


def is_told(service: LbService, given: tuple[Address, ...]) -> bool:
    """Whether a Service's status says already what it was given."""
    is_marked = service.is_ours is bool(given) and service.is_kept is bool(given)
    return set(service.held) == set(given) and is_marked and not service.has_hostname


def service_patch(service: LbService, given: tuple[Address, ...], now: str) -> Mapping[str, Any]:
    """A Service's addresses, and that they are ours; none: it gives back what it had, and may go."""
    condition: dict[str, Any] = {"type": ASSIGNED, "$patch": "delete"}
    if given:
        condition = {
            "type": ASSIGNED,
            "status": "True",
            "reason": "Assigned",
            "message": "the addresses are of a LoadBalancerPool",
            "lastTransitionTime": now,
        }
    finalizers = "finalizers" if given else "$deleteFromPrimitiveList/finalizers"
    return {
        "metadata": {"uid": service.uid, "resourceVersion": service.revision, finalizers: [FINALIZER]},
        "status": {
            "loadBalancer": {"ingress": [{"ip": str(address)} for address in given]},
            "conditions": [condition],
        },
    }


def pool_path(pool: LoadBalancerPool) -> str:
    """Where a pool's status is changed."""
    return f"/apis/sluiceway.io/v1alpha1/loadbalancerpools/{pool.name}/status"


def pool_patch(status: PoolStatus) -> Mapping[str, Any]:
    """A pool's status; it is told by one process alone, and rests on nothing but the Services'."""
    return {"status": {"total": status.total, "used": status.used, "conflicts": list(status.conflicts)}}
