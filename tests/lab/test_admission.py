"""What a Service gets when it is applied: as the API server would give it."""

from typing import Any

import pytest

from lab import admission
from lab.errors import LabError


def service(called: str = "web", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": called}, "spec": {"ports": [{"port": 80}], **spec}}


@pytest.mark.parametrize(
    ("spec", "families", "addresses"),
    [
        pytest.param({}, ["IPv4"], ["10.96.0.16"], id="a service that says nothing has one IPv4 address"),
        pytest.param(
            {"ipFamilies": ["IPv6"]}, ["IPv6"], ["fd00:10:96::10"], id="a service of IPv6 has one IPv6 address"
        ),
        pytest.param(
            {"ipFamilyPolicy": "RequireDualStack"},
            ["IPv4", "IPv6"],
            ["10.96.0.16", "fd00:10:96::10"],
            id="a dual-stack service has both, IPv4 first",
        ),
        pytest.param(
            {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6"]},
            ["IPv6", "IPv4"],
            ["fd00:10:96::10", "10.96.0.16"],
            id="a dual-stack service that names IPv6 has IPv6 first",
        ),
        pytest.param({"clusterIP": "10.96.3.3"}, ["IPv4"], ["10.96.3.3"], id="an address that is asked for is given"),
        pytest.param({"clusterIP": "None"}, ["IPv4"], ["None"], id="a headless service has no address"),
    ],
)
def test_addresses(spec: dict[str, Any], families: list[str], addresses: list[str]) -> None:
    stored = admission.service(service(**spec), (), None)["spec"]
    assert (stored["ipFamilies"], stored["clusterIPs"]) == (families, addresses)
    assert stored["clusterIP"] == addresses[0]


def test_two_services_never_share_an_address() -> None:
    first = admission.service(service("a"), (), None)
    second = admission.service(service("b"), (first,), None)
    assert first["spec"]["clusterIP"] != second["spec"]["clusterIP"]


def test_a_service_that_is_applied_again_keeps_address_and_node_port() -> None:
    before = admission.service(service(type="NodePort"), (), None)
    other = admission.service(service("other", type="NodePort"), (before,), None)
    again = admission.service(service(type="NodePort", selector={"a": "b"}), (other,), before)
    assert again["spec"]["clusterIPs"] == before["spec"]["clusterIPs"]
    assert again["spec"]["ports"] == before["spec"]["ports"]
    assert again["spec"]["selector"] == {"a": "b"}


def test_one_port_of_two_protocols_is_one_node_port() -> None:
    ports = [{"port": 53, "protocol": "TCP", "name": "tcp"}, {"port": 53, "protocol": "UDP", "name": "udp"}]
    stored = admission.service(service(type="NodePort", ports=ports), (), None)
    assert [port["nodePort"] for port in stored["spec"]["ports"]] == [30000, 30000]


def test_a_target_port_that_is_not_given_is_the_port() -> None:
    assert admission.service(service(), (), None)["spec"]["ports"] == [
        {"port": 80, "protocol": "TCP", "targetPort": 80}
    ]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param({"clusterIP": "10.96.0.16"}, "belongs to another", id="an address that is taken is refused"),
        pytest.param({"clusterIP": "10.0.0.1"}, "is not in 10.96.0.0/16", id="a foreign address is refused"),
        pytest.param(
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]},
            "belongs to another",
            id="a node port that is taken is refused",
        ),
        pytest.param(
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
            "not within",
            id="a node port outside the range is refused",
        ),
    ],
)
def test_refusals(spec: dict[str, Any], words: str) -> None:
    other = admission.service(service("other", type="NodePort"), (), None)
    with pytest.raises(LabError, match=words):
        admission.service(service(**spec), (other,), None)
