"""What the endpoint slice controller makes of Services and pods: EndpointSlices. Pure.

A slice holds the pods of one family whose named target ports mean the same numbers.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from lab.manifests import Object, labels, name, namespace

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "lab"  # slices that somebody applied by hand are left alone

Ports = tuple[tuple[str, str, int], ...]  # name, protocol, number


def slices(services: Iterable[Object], pods: Iterable[Object]) -> Iterator[Object]:
    """The slices of every Service that selects pods."""
    pods = tuple(pods)
    for service in services:
        selector = service["spec"].get("selector")
        if not selector or service["spec"]["type"] == "ExternalName":
            continue
        chosen = [pod for pod in pods if namespace(pod) == namespace(service) and _matches(selector, pod)]
        for family in service["spec"]["ipFamilies"]:
            yield from _of_family(service, chosen, family)


def _matches(selector: Mapping[str, str], pod: Object) -> bool:
    return selector.items() <= labels(pod).items()


def _of_family(service: Object, pods: Iterable[Object], family: str) -> Iterator[Object]:
    groups: dict[Ports, list[dict[str, Any]]] = {}
    for pod in pods:
        addresses = [ip["ip"] for ip in pod["status"].get("podIPs", ()) if _family(ip["ip"]) == family]
        if addresses:
            groups.setdefault(_ports(service, pod), []).append(_endpoint(pod, addresses))
    for number, (ports, endpoints) in enumerate(sorted(groups.items())):
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name(service)}-{family.lower()}-{number}",
                "namespace": namespace(service),
                "labels": {SERVICE_NAME: name(service), MANAGED_BY: MANAGER},
            },
            "addressType": family,
            "ports": [{"name": title, "protocol": protocol, "port": port} for title, protocol, port in ports],
            "endpoints": endpoints,
        }


def _ports(service: Object, pod: Object) -> Ports:
    """The Service's ports as this pod serves them; a named port that the pod has not is left out."""
    found = []
    for port in service["spec"]["ports"]:
        target = port["targetPort"]
        number = target if isinstance(target, int) else _named(pod, target, port["protocol"])
        if number:
            found.append((port.get("name", ""), port["protocol"], number))
    return tuple(found)


def _named(pod: Object, target: str, protocol: str) -> int:
    ports = (port for container in pod["spec"]["containers"] for port in container.get("ports", ()))
    same = (p["containerPort"] for p in ports if p.get("name") == target and p.get("protocol", "TCP") == protocol)
    return next(same, 0)


def _endpoint(pod: Object, addresses: list[str]) -> dict[str, Any]:
    is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
    is_leaving = "deletionTimestamp" in pod["metadata"]
    conditions = {"ready": is_ready and not is_leaving, "serving": is_ready, "terminating": is_leaving}
    return {
        "addresses": addresses,
        "conditions": conditions,
        "nodeName": pod["spec"]["nodeName"],
        "targetRef": {"kind": "Pod", "namespace": namespace(pod), "name": name(pod)},
    }


def _family(address: str) -> str:
    return f"IPv{ip_address(address).version}"
