"""Objects that the tests put into the cluster, as JSON that kubectl applies."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lab.kubernetes import images

PORT = 8080
Manifest = dict[str, Any]


def server(name: str, *, node: str, labels: Mapping[str, str] | None = None) -> Manifest:
    """A pod on *node* that answers with its own name on PORT, by TCP and UDP."""
    container = {
        "args": ["netexec", "--http-port", str(PORT), "--udp-port", str(PORT)],
        "readinessProbe": {"httpGet": {"path": "/hostname", "port": PORT}, "periodSeconds": 1},
    }
    return _pod(name, node, container, labels or {})


def client(name: str, *, node: str, host_network: bool = False) -> Manifest:
    """A pod on *node* that does nothing, and has a shell and curl."""
    return _pod(name, node, {"args": ["pause"]}, {}, hostNetwork=host_network)


def service(name: str, selector: Mapping[str, str], **spec: object) -> Manifest:
    """A dual-stack service on port 80 in front of the pods that *selector* selects."""
    ports = [
        {"name": protocol.lower(), "port": 80, "targetPort": PORT, "protocol": protocol} for protocol in ("TCP", "UDP")
    ]
    families = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": dict(selector), "ports": ports, **families, **spec},
    }


def together(items: Sequence[Manifest]) -> str:
    """Several objects as one manifest."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)})


def _pod(name: str, node: str, container: Manifest, labels: Mapping[str, str], **spec: object) -> Manifest:
    main = {"name": "main", "image": images.AGNHOST, "imagePullPolicy": "IfNotPresent", **container}
    alone = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [main]}
    metadata = {"name": name, "labels": dict(labels)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**alone, **spec}}
