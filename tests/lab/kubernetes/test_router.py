"""Who stands for a cloud's load balancer routes each address to the nodes that it is to reach."""

from typing import Any

import pytest

from lab.kubernetes.router import routes

FAR = ("203.0.113.200", "2001:db8::200")
FAMILIES = (("10.88.0.11", "10.88.0.12"), ("fd88::b", "fd88::c"))


def service(*addresses: str, **spec: Any) -> dict[str, Any]:
    return {"spec": spec, "status": {"loadBalancer": {"ingress": [{"ip": one} for one in addresses]}}}


def hops(text: str) -> list[str]:
    return [word for word in text.split() if word.startswith(("10.88", "fd88"))]


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        pytest.param({}, ["10.88.0.11", "10.88.0.12"], id="every node"),
        pytest.param({"healthCheckNodePort": 2}, ["10.88.0.12"], id="those that say that they have an endpoint"),
        pytest.param({"healthCheckNodePort": 9}, ["10.88.0.11", "10.88.0.12"], id="all where none does"),
        pytest.param({"sessionAffinity": "ClientIP"}, ["10.88.0.11"], id="one for a client with affinity"),
    ],
)
def test_an_address_leads_to(spec: dict[str, Any], wanted: list[str]) -> None:
    found = dict(routes([service("10.88.0.225", **spec)], FAR, FAMILIES, lambda node, port: node.endswith(str(port))))
    assert hops(found["10.88.0.225"]) == wanted


def test_each_family_has_its_own_hops_and_a_service_without_an_address_none() -> None:
    services = [service("10.88.0.225", "fd88::1:1"), {"spec": {}, "status": {"loadBalancer": {}}}]
    found = dict(routes(services, FAR, FAMILIES, lambda *_: True))
    assert found == {
        "10.88.0.225": "src 203.0.113.200 nexthop via 10.88.0.11 dev eth0 nexthop via 10.88.0.12 dev eth0",
        "fd88::1:1": "src 2001:db8::200 nexthop via fd88::b dev eth0 nexthop via fd88::c dev eth0",
    }
