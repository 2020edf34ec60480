"""Objects as the API server and users write them, and what the agent makes of them."""

import json
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from agent.model.name import MOST_TOLD, ObjectName
from agent.model.service import (
    EndpointSlice,
    Protocol,
    Service,
    ServicePort,
)
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.endpoint_slice import ENDPOINT_SLICE
from agent.watch.decode.kind import Decoded, Kind
from agent.watch.decode.pod import POD
from agent.watch.decode.service import MOST_ADDRESSES, SERVICE
from tests.behaviours import shows

DNS = ObjectName("kube-system", "dns")


def decoded(kind: Kind, **parts: object) -> Decoded:
    metadata = {"name": "dns", "namespace": "kube-system"}
    given = parts.pop("metadata", {})
    assert isinstance(given, dict)
    return Decoder("n1").decode(kind, json.dumps({"metadata": metadata | given, **parts}).encode())


def service(metadata: object = None, status: object = None, **spec: object) -> Decoded:
    whole: dict[str, object] = {"clusterIP": "10.96.0.10", "ports": [{"port": 53}], **spec}
    return decoded(SERVICE, metadata=metadata or {}, spec=whole, status=status or {})


def served(found: Decoded) -> Service:
    assert isinstance(found.value, Service)
    assert found.problems == ()
    return found.value


def test_every_field_of_a_service_reaches_the_model() -> None:
    found = service(
        type="LoadBalancer",
        clusterIPs=["10.96.0.10", "fd00:10:96::a"],
        externalIPs=["198.51.100.7"],
        loadBalancerSourceRanges=["192.0.2.0/24", " 2001:db8::/32 "],
        ports=[
            {"name": "dns", "protocol": "UDP", "port": 53, "nodePort": 30053},
            {"name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": "dns"},
        ],
        sessionAffinity="ClientIP",
        sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}},
        internalTrafficPolicy="Local",
        externalTrafficPolicy="Local",
        healthCheckNodePort=32100,
        publishNotReadyAddresses=True,
        status={
            "loadBalancer": {
                "ingress": [
                    {"ip": "203.0.113.1", "ipMode": "VIP"},
                    {"ip": "203.0.113.2", "ipMode": "Proxy"},
                    {"hostname": "lb.example"},
                ]
            }
        },
    )
    assert served(found) == Service(
        name=DNS,
        cluster_ips=(ip_address("10.96.0.10"), ip_address("fd00:10:96::a")),
        external_ips=(ip_address("198.51.100.7"),),
        load_balancer=(ip_address("203.0.113.1"),),
        source_ranges=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
        ports=(ServicePort("dns", Protocol.UDP, 53, 30053), ServicePort("dns-tcp", Protocol.TCP, 53)),
        internal_local=True,
        external_local=True,
        health_check_port=32100,
        affinity_s=60,
        publish_not_ready=True,
    )


@pytest.mark.parametrize(
    ("spec", "labels"),
    [
        pytest.param({"clusterIP": "None"}, {}, id="10 a headless service is not served"),
        pytest.param({"clusterIP": "", "clusterIPs": ["None"]}, {}, id="10 nor one that says so in clusterIPs alone"),
        pytest.param({"type": "ExternalName", "clusterIP": ""}, {}, id="12 an ExternalName is a name, not an address"),
        pytest.param(
            {}, {"service.kubernetes.io/service-proxy-name": "other"}, id="11 another proxy's service is left to it"
        ),
        pytest.param({}, {"service.kubernetes.io/headless": ""}, id="10 the headless label counts whatever its value"),
    ],
)
def test_what_is_not_served(spec: dict[str, object], labels: dict[str, str]) -> None:
    found = service(metadata={"labels": labels}, **spec)
    assert (found.value, found.problems) == (None, ())


@pytest.mark.parametrize(
    ("spec", "affinity_s"),
    [
        pytest.param({}, 0, id="44 without affinity there is no timeout"),
        pytest.param({"sessionAffinity": "ClientIP"}, 10800, id="client affinity lasts three hours by default"),
        pytest.param(
            {"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}},
            0,
            id="a timeout alone makes no affinity",
        ),
    ],
)
def test_affinity(spec: dict[str, object], affinity_s: int) -> None:
    assert served(service(**spec)).affinity_s == affinity_s


@shows("17 leading zeros are decimal")
def test_leading_zeros_are_decimal() -> None:
    found = served(service(clusterIPs=["010.096.00.010"]))
    assert found.cluster_ips == (ip_address("10.96.0.10"),)


def test_null_lists_are_empty_lists() -> None:
    found = decoded(
        ENDPOINT_SLICE,
        metadata={"labels": {"kubernetes.io/service-name": "dns"}},
        addressType="IPv4",
        ports=None,
        endpoints=None,
    )
    assert found.value == EndpointSlice(DNS, DNS, "IPv4")  # type: ignore[arg-type]
    assert found.problems == ()


@pytest.mark.parametrize(
    ("spec", "field", "text"),
    [
        pytest.param({"clusterIP": "10.0.0.300"}, "spec.clusterIP", "300", id="a bad cluster IP"),
        pytest.param({"clusterIP": "::"}, "spec.clusterIP", "unicast", id="the unspecified address"),
        pytest.param({"clusterIP": "::ffff:10.0.0.1"}, "spec.clusterIP", "IPv4-mapped", id="an IPv4-mapped address"),
        pytest.param({"clusterIP": ""}, "spec.clusterIP", "is missing", id="no cluster IP where nobody allocates"),
        pytest.param(
            {"externalIPs": ["192.0.2.1", "127.0.0.1"]}, "spec.externalIPs[1]", "127.0.0.1", id="a loopback externalIP"
        ),
        pytest.param({"ports": [{"port": 53}, {}]}, "spec.ports[1].port", "is missing", id="a port without number"),
        pytest.param({"ports": [{"port": 53}, {"port": 70000}]}, "spec.ports[1].port", "70000", id="a port too high"),
        pytest.param(
            {"ports": [{"port": 53}, {"port": 1, "protocol": "ICMP"}]},
            "spec.ports[1].protocol",
            "ICMP",
            id="a protocol",
        ),
        pytest.param({"ports": [{"port": 53}, {"port": 53}]}, "spec.ports[1].port", "twice", id="a port given twice"),
        pytest.param(
            {"type": "NodePort", "ports": [{"port": 53}]}, "spec.ports[0].nodePort", "is missing", id="no node port"
        ),
        pytest.param(
            {"ports": [{"port": 53, "nodePort": 30000}]},
            "spec.ports[0].nodePort",
            "type NodePort",
            id="a stray node port",
        ),
        pytest.param(
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}},
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            "within 1",
            id="an affinity of no time",
        ),
    ],
)
def test_a_mistake_costs_its_field_alone(spec: dict[str, object], field: str, text: str) -> None:
    found = service(**spec)
    (problem,) = found.problems
    assert (problem.kind, problem.name, problem.field) == ("Service", DNS, field)
    assert text in problem.text
    assert isinstance(found.value, Service)
    assert found.value.ports == (ServicePort("", Protocol.TCP, 53),)


@pytest.mark.parametrize(
    ("mode", "addresses"),
    [
        pytest.param({}, ("203.0.113.1",), id="51 none said, which is VIP"),
        pytest.param({"ipMode": "VIP"}, ("203.0.113.1",), id="51 VIP"),
        pytest.param({"ipMode": "Proxy"}, (), id="51 Proxy is answered by the balancer alone, inside and outside"),
    ],
)
def test_the_address_of_a_load_balancer(mode: dict[str, str], addresses: tuple[str, ...]) -> None:
    found = service(type="LoadBalancer", status={"loadBalancer": {"ingress": [{"ip": "203.0.113.1", **mode}]}})
    assert isinstance(found.value, Service)
    assert found.value.load_balancer == tuple(map(ip_address, addresses))


@pytest.mark.parametrize(
    ("annotation", "policy", "is_local", "problems"),
    [
        pytest.param({}, "Cluster", False, 0, id="none, and the field holds"),
        pytest.param({"kube-router.io/service.local": "true"}, "Cluster", True, 0, id="true is policy Local"),
        pytest.param({"kube-router.io/service.local": "false"}, "Cluster", False, 0, id="false is none"),
        pytest.param({"kube-router.io/service.local": "false"}, "Local", True, 0, id="false takes no policy away"),
        pytest.param({"kube-router.io/service.local": "yes"}, "Cluster", False, 1, id="another word is a problem"),
    ],
)
def test_kube_routers_local(annotation: dict[str, str], policy: str, is_local: bool, problems: int) -> None:  # noqa: FBT001
    found = service({"annotations": annotation}, externalTrafficPolicy=policy)
    assert isinstance(found.value, Service)
    assert (found.value.external_local, len(found.problems)) == (is_local, problems)
    assert found.value.internal_local is False, "its code looks at clients outside alone"


@pytest.mark.parametrize("value", ["", "true", "false"], ids=["empty", "true", "any word"])
def test_kube_routers_skiplbips(value: str) -> None:
    metadata = {"annotations": {"kube-router.io/service.skiplbips": value}}
    balanced = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    found = service(metadata, balanced, type="LoadBalancer", externalIPs=["198.51.100.7"])
    assert isinstance(found.value, Service)
    assert (found.value.load_balancer, found.value.external_ips) == ((), (ip_address("198.51.100.7"),))


@pytest.mark.parametrize(
    ("spec", "node_ports"),
    [
        pytest.param({}, [30053], id="52 node ports are allocated"),
        pytest.param(
            {"allocateLoadBalancerNodePorts": False}, [30053], id="52 those that a Service has from before stay"
        ),
        pytest.param(
            {"allocateLoadBalancerNodePorts": False, "ports": [{"port": 53}]}, [0], id="52 a load balancer without any"
        ),
        pytest.param(
            {"loadBalancerClass": "example.com/other"}, [30053], id="somebody else's class is served the same"
        ),
    ],
)
def test_a_load_balancer_is_served_by_its_status(spec: dict[str, object], node_ports: list[int]) -> None:
    """Whose class it is concerns who gives the address, not who carries its packets."""
    balanced = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"ip": "fd00:5::1"}]}}
    whole = {"type": "LoadBalancer", "ports": [{"port": 53, "nodePort": 30053}], "status": balanced}
    found = service(**(whole | spec))
    assert isinstance(found.value, Service)
    assert found.problems == ()
    assert found.value.load_balancer == (ip_address("203.0.113.1"), ip_address("fd00:5::1"))
    assert [port.node_port for port in found.value.ports] == node_ports


@pytest.mark.parametrize(
    ("texts", "ranges", "wrong"),
    [
        pytest.param(None, None, [], id="53 none given, everybody is served"),
        pytest.param([], None, [], id="53 an empty list is none"),
        pytest.param([" 192.0.2.0/24\t", "fd00::/8"], ["192.0.2.0/24", "fd00::/8"], [], id="53 blanks mean nothing"),
        pytest.param(["192.0.2.0/24", "10.0.0.0/33"], ["192.0.2.0/24"], [1], id="53 a range that is none is left out"),
        pytest.param(["everyone"], [], [0], id="53 where no range can be read nobody is served"),
    ],
)
def test_source_ranges(texts: list[str] | None, ranges: list[str] | None, wrong: list[int]) -> None:
    balanced = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    found = service(type="LoadBalancer", loadBalancerSourceRanges=texts, status=balanced)
    assert isinstance(found.value, Service)
    assert found.value.source_ranges == (None if ranges is None else tuple(map(ip_network, ranges)))
    assert found.value.load_balancer == (ip_address("203.0.113.1"),)
    assert [problem.field for problem in found.problems] == [f"spec.loadBalancerSourceRanges[{at}]" for at in wrong]


@pytest.mark.parametrize(
    ("spec", "port", "problems"),
    [
        pytest.param({}, 32100, [], id="54 a load balancer's with traffic policy Local"),
        pytest.param({"externalTrafficPolicy": "Cluster"}, 0, [], id="55 with policy Cluster every node leads to it"),
        pytest.param({"type": "NodePort"}, 0, [], id="no load balancer asks for a node port"),
        pytest.param({"healthCheckNodePort": 0}, 0, [], id="0 is none"),
        pytest.param({"healthCheckNodePort": 70000}, 0, ["spec.healthCheckNodePort"], id="a number that is no port"),
    ],
)
def test_the_health_check_node_port(spec: dict[str, object], port: int, problems: list[str]) -> None:
    ports = [{"port": 53, "nodePort": 30053}]
    whole = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32100, "ports": ports}
    found = service(**(whole | spec))
    assert isinstance(found.value, Service)
    assert found.value.health_check_port == port
    assert [problem.field for problem in found.problems] == problems


def test_json_of_a_wrong_shape_costs_the_object() -> None:
    found = service(ports=[{"port": "fifty-three"}])
    assert found.value is None
    assert [(p.name, p.field) for p in found.problems] == [(DNS, "spec.ports[0].port")]


def test_an_object_that_no_decoder_was_prepared_for_costs_itself_and_not_the_thread_that_reads_all() -> None:
    def decode(_content: object, _context: object) -> Decoded:
        raise ValueError("Exceeds the limit (4300 digits)")

    found = Decoder("n1").decode(replace(SERVICE, decode=decode), b'{"metadata": {"name": "web", "namespace": "shop"}}')
    assert (found.name, found.value) == (ObjectName("shop", "web"), None)
    assert [(p.name, "4300 digits" in p.text) for p in found.problems] == [(ObjectName("shop", "web"), True)]


def test_an_object_without_a_readable_name_is_still_reported() -> None:
    found = Decoder("n1").decode(POD, b'{"metadata": 7}')
    assert (found.name, found.value, len(found.problems)) == (ObjectName("", "?"), None, 1)


def test_of_very_many_external_addresses_the_first_count() -> None:
    """Each would be announced, and be there at each port."""
    ips = [f"203.{at >> 8}.{at & 255}.1" for at in range(3000)]
    found = service(externalIPs=ips, status={"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}})
    assert isinstance(found.value, Service)
    assert [str(ip) for ip in found.value.external_ips] == ips[:MOST_ADDRESSES]
    assert [str(ip) for ip in found.value.load_balancer] == ips[:MOST_ADDRESSES]
    assert [(one.field, one.text.split(";")[0]) for one in found.problems] == [
        ("spec.externalIPs", "has 3000 addresses, of which the first 256 count"),
        ("status.loadBalancer.ingress", "has 3000 addresses, of which the first 256 count"),
    ]


def test_of_very_many_mistakes_in_one_object_the_first_are_told() -> None:
    found = service(ports=[{"port": 80}, *({"port": 0} for _ in range(500))])
    assert isinstance(found.value, Service)
    assert len(found.problems) == MOST_TOLD + 1
    assert found.problems[-1].text == f"{500 - MOST_TOLD} more are wrong; set the others right first"
