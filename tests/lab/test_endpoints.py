"""Which EndpointSlices follow from Services and pods: as the endpoint slice controller would write them."""

from typing import Any

from lab import admission, endpoints
from lab.manifests import Object


def pod(called: str, *, ready: bool = True, leaving: bool = False, port: int = 8080) -> Object:
    metadata: dict[str, Any] = {"name": called, "namespace": "default", "labels": {"app": "web", "more": "x"}}
    if leaving:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    number = int(called[-1])
    return {
        "metadata": metadata,
        "spec": {"nodeName": "n1", "containers": [{"ports": [{"name": "http", "containerPort": port}]}]},
        "status": {
            "podIPs": [{"ip": f"10.244.1.{number}"}, {"ip": f"fd00:10:244:1::{number}"}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


def service(**spec: Any) -> Object:
    full = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}], **spec}
    return admission.service({"metadata": {"name": "web"}, "spec": full}, (), None)


def addresses(slices: list[Object]) -> list[list[str]]:
    return [[address for e in item["endpoints"] for address in e["addresses"]] for item in slices]


def test_a_service_has_a_slice_per_family_with_the_pods_that_it_selects() -> None:
    found = list(endpoints.slices([service(ipFamilyPolicy="RequireDualStack")], [pod("web1"), pod("web2")]))
    assert addresses(found) == [["10.244.1.1", "10.244.1.2"], ["fd00:10:244:1::1", "fd00:10:244:1::2"]]


def test_pods_whose_named_port_differs_are_in_different_slices() -> None:
    found = list(endpoints.slices([service()], [pod("web1"), pod("web2", port=9090)]))
    assert [item["ports"] for item in found] == [
        [{"name": "", "protocol": "TCP", "port": 8080}],
        [{"name": "", "protocol": "TCP", "port": 9090}],
    ]
    assert len({item["metadata"]["name"] for item in found}) == 2


def test_a_pod_without_the_label_or_in_another_namespace_is_no_endpoint() -> None:
    selective = service(selector={"app": "other"})
    foreign = {**pod("web1"), "metadata": {"name": "web1", "namespace": "far", "labels": {"app": "web"}}}
    assert list(endpoints.slices([selective], [pod("web1")])) == []
    assert list(endpoints.slices([service()], [foreign])) == []


def test_a_service_without_a_selector_has_the_slices_that_somebody_writes() -> None:
    assert list(endpoints.slices([service(selector={})], [pod("web1")])) == []


def test_conditions_tell_what_a_pod_can_still_do() -> None:
    pods = [pod("web1"), pod("web2", ready=False), pod("web3", leaving=True)]
    conditions = [e["conditions"] for e in next(endpoints.slices([service()], pods))["endpoints"]]
    assert conditions == [
        {"ready": True, "serving": True, "terminating": False},
        {"ready": False, "serving": False, "terminating": False},
        {"ready": False, "serving": True, "terminating": True},
    ]
