"""A pod's bandwidth, as its annotations say it and the runtime hands it on."""

import json
import sys
from pathlib import Path

import pytest

from tests.cluster.conftest import Namespace
from tests.cluster.objects import client

pytestmark = pytest.mark.cluster


def test_the_annotations_of_a_pod_are_its_limits(namespace: Namespace) -> None:
    slow = client("slow", node="n1")
    slow["metadata"]["annotations"] = {"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "2M"}
    namespace.apply(slow, client("free", node="n1"))
    node = namespace.cluster.site.nodes[0]
    shown = node.run(str(Path(sys.prefix) / "bin/dpctl"), "endpoint", "list", "-o", "json").stdout
    limits = {row["address"]: (row["ingress_rate"], row["egress_rate"]) for row in json.loads(shown)}
    for pod, wanted in (("slow", (10_000_000, 2_000_000)), ("free", (0, 0))):
        for entry in namespace.get("pod", pod)["status"]["podIPs"]:
            assert limits[entry["ip"]] == wanted
