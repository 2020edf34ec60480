"""A pod that can be given no address has an Event that says why, where its owner looks."""

import json

import pytest

from tests.cluster.conftest import Namespace, eventually
from tests.cluster.objects import client, together

pytestmark = pytest.mark.cluster


def test_a_pod_without_an_address_is_told_why(namespace: Namespace) -> None:
    namespace.apply(client("first", node="n1"))
    address = namespace.get("pod", "first")["status"]["podIP"]
    second = client("second", node="n1")
    second["metadata"]["annotations"] = {"sluiceway.io/ipv4": address}  # which another pod has
    namespace.kubectl("apply", "-f", "-", stdin=together([second]))

    def is_told() -> bool:
        said = namespace.kubectl("describe", "pod", "second")
        return "FailedIPAllocation" in said and f"{address} is another pod's" in said

    assert eventually(is_told), namespace.kubectl("describe", "pod", "second")
    found = json.loads(namespace.kubectl("get", "events", "--field-selector=reason=FailedIPAllocation", "-o", "json"))
    (event,) = found["items"]
    assert event["involvedObject"]["uid"] == namespace.get("pod", "second")["metadata"]["uid"]
    assert (event["type"], event["source"]) == ("Warning", {"component": "sluiceway-agent", "host": "n1"})
