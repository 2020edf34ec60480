"""What load balancers are told, in kube-proxy's own form: of a service's endpoints here, and of the node.

Source: Kubernetes' pkg/proxy/healthcheck, and KEP-3836 for the node's eligibility.
"""

import json
from datetime import datetime
from http import HTTPStatus

from agent.compile.health_check import HealthCheck
from agent.serve.plain_http import Answer

JSON = "application/json"
HEALTHZ, LIVEZ = "/healthz", "/livez"
STALE_S = 60.0  # kube-proxy's: twice its --iptables-sync-period
WEIGHT = "X-Load-Balancing-Endpoint-Weight"


def is_healthy(trouble: str, pending_s: float) -> bool:
    """Whether what the cluster says reaches the kernel: the agent's threads live, and no change waits for too long."""
    return not trouble and pending_s < STALE_S


def service_page(check: HealthCheck, version: int, *, healthy: bool) -> Answer:
    """At a health-check node port, whatever the path is, to a balancer that asks by this IP version."""
    count = dict(check.endpoints).get(version, 0)
    service = {"namespace": check.service.namespace, "name": check.service.name}
    body = json.dumps({"service": service, "localEndpoints": count, "serviceProxyHealthy": healthy}, indent="\t")
    return Answer(_status(count > 0 and healthy), body, JSON, {WEIGHT: str(count)})


def node_page(path: str, now: datetime, updated: datetime, *, healthy: bool, eligible: bool) -> Answer:
    """``/healthz``: whether new connections should come to the node; ``/livez``: the same of the agent alone.

    What is healthy was updated now: *updated* is when the oldest change came that is not written.
    """
    said = {"lastUpdated": str(now if healthy else updated), "currentTime": str(now)}
    match path:
        case "/healthz":
            whole = {**said, "nodeEligible": eligible}
            return Answer(_status(healthy and eligible), json.dumps(whole), JSON)
        case "/livez":
            return Answer(_status(healthy), json.dumps(said), JSON)
    return Answer(HTTPStatus.NOT_FOUND, f"{HEALTHZ}, {LIVEZ}\n")


def _status(is_well: bool) -> HTTPStatus:  # noqa: FBT001  it is what the function is about
    return HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
