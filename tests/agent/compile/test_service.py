"""What a Service and its EndpointSlices become: one row, one rule."""

from dataclasses import replace

import pytest

from agent.compile.bgp.settings import BgpSettings
from agent.compile.desired import desired
from agent.model.address import parse_address, parse_network
from agent.model.bgp_configuration import BgpConfiguration
from agent.model.service import Endpoint, EndpointPort, Protocol, ServicePort
from maps import abi
from tests.agent.compile.objects import (
    FRESH,
    HERE,
    HTTP,
    SETTINGS,
    Object,
    cluster,
    compiled,
    endpoint,
    name,
    piece,
    service,
    shown,
)

FAR, NEAR = endpoint("10.1.0.1"), endpoint("10.0.0.5", HERE)
BOTH = piece("web", FAR, NEAR)
NODE_PORT = replace(HTTP, node_port=30080)
ALL = "10.0.0.5:8080* 10.1.0.1:8080"
HERE_ONLY = "10.0.0.5:8080*"
RANGES = (parse_network("192.0.2.0/24"),)


def unready(endpoint: Endpoint) -> Endpoint:
    address, state = endpoint
    return address, replace(state, ready=False, serving=False)


def leaving(endpoint: Endpoint) -> Endpoint:
    address, state = endpoint
    return address, replace(state, ready=False, serving=True, terminating=True)


ROWS = [
    pytest.param(
        [service(), BOTH],
        {"10.96.0.1:80/TCP in": ALL},
        id="a cluster IP is for clients inside, and leads to every ready endpoint",
    ),
    pytest.param(
        [
            service(ports=(HTTP, ServicePort("metrics", Protocol.TCP, 90))),
            piece("web", NEAR),
            piece("web", FAR, suffix="2", port_name="metrics", port=9090),
        ],
        {"10.96.0.1:80/TCP in": HERE_ONLY, "10.96.0.1:90/TCP in": "10.1.0.1:9090"},
        id="2 each port has endpoints of its own",
    ),
    pytest.param(
        [
            service(ports=(NODE_PORT, ServicePort("quic", Protocol.UDP, 80, node_port=30080))),
            piece("web", FAR),
            piece("web", NEAR, suffix="2", port_name="quic", protocol=Protocol.UDP),
        ],
        {
            "10.96.0.1:80/TCP in": "10.1.0.1:8080",
            "0.0.0.0:30080/TCP in": "10.1.0.1:8080",
            "0.0.0.0:30080/TCP out": "10.1.0.1:8080",
            "10.96.0.1:80/UDP in": HERE_ONLY,
            "0.0.0.0:30080/UDP in": HERE_ONLY,
            "0.0.0.0:30080/UDP out": HERE_ONLY,
        },
        id="33 one number of a node port on TCP and UDP",
    ),
    pytest.param(
        [service(), piece("web", endpoint("192.0.2.9", ""))],
        {"10.96.0.1:80/TCP in": "192.0.2.9:8080"},
        id="13 an endpoint that is no pod, as of a mirrored Endpoints",
    ),
    pytest.param(
        [service(ip="172.31.0.9"), BOTH],
        {"172.31.0.9:80/TCP in": ALL},
        id="18 a cluster IP of a further ServiceCIDR",
    ),
    pytest.param([service()], {"10.96.0.1:80/TCP in": ""}, id="a service without endpoints has an entry that refuses"),
    pytest.param(
        [service(ports=(NODE_PORT,)), BOTH],
        {"10.96.0.1:80/TCP in": ALL, "0.0.0.0:30080/TCP in": ALL, "0.0.0.0:30080/TCP out": ALL},
        id="a node port stands under the unspecified address, inside and outside",
    ),
    pytest.param(
        [service(ports=(NODE_PORT,), external_local=True), BOTH],
        {"10.96.0.1:80/TCP in": ALL, "0.0.0.0:30080/TCP in": ALL, "0.0.0.0:30080/TCP out local": HERE_ONLY},
        id="externalTrafficPolicy Local binds clients outside alone",
    ),
    pytest.param(
        [service(ports=(NODE_PORT,), internal_local=True), BOTH],
        {"10.96.0.1:80/TCP in local": HERE_ONLY, "0.0.0.0:30080/TCP in": ALL, "0.0.0.0:30080/TCP out": ALL},
        id="internalTrafficPolicy Local binds the cluster IP alone",
    ),
    pytest.param(
        [service(internal_local=True), piece("web", FAR)],
        {"10.96.0.1:80/TCP in local": ""},
        id="traffic policy Local never falls back to other nodes",
    ),
    pytest.param(
        [service(external_ips=(parse_address("203.0.113.5"),)), BOTH],
        {"10.96.0.1:80/TCP in": ALL, "203.0.113.5:80/TCP in": ALL, "203.0.113.5:80/TCP out": ALL},
        id="an external IP serves inside and outside",
    ),
    pytest.param(
        [service(load_balancer=(parse_address("203.0.113.6"),)), BOTH],
        {"10.96.0.1:80/TCP in": ALL, "203.0.113.6:80/TCP in": ALL, "203.0.113.6:80/TCP out": ALL},
        id="a load balancer's address serves inside and outside",
    ),
    pytest.param(
        [
            service(load_balancer=(parse_address("203.0.113.6"),), source_ranges=RANGES),
            BOTH,
        ],
        {"10.96.0.1:80/TCP in": ALL, "203.0.113.6:80/TCP in": ALL, "203.0.113.6:80/TCP out": ALL},
        id="53 a load balancer's address with source ranges is served inside and outside",
    ),
    pytest.param(
        [
            service(ports=(ServicePort("sctp", Protocol.SCTP, 99, node_port=30099),)),
            piece("web", FAR, port_name="sctp", protocol=Protocol.SCTP),
        ],
        {
            "10.96.0.1:99/SCTP in": "10.1.0.1:8080",
            "0.0.0.0:30099/SCTP in": "10.1.0.1:8080",
            "0.0.0.0:30099/SCTP out": "10.1.0.1:8080",
        },
        id="73 a port of SCTP is served as others are",
    ),
    pytest.param(
        [service(ip="10.96.0.1,fd00::1"), BOTH, piece("web", endpoint("fd00:1::1"), suffix="6")],
        {"10.96.0.1:80/TCP in": ALL, "fd00::1:80/TCP in": "fd00:1::1:8080"},
        id="83 each family has the endpoints of its own",
    ),
    pytest.param(
        [service(), BOTH, piece("web", FAR, suffix="2")],
        {"10.96.0.1:80/TCP in": ALL},
        id="140 an endpoint in two slices counts once",
    ),
    pytest.param(
        [service(), piece("web", FAR), piece("web", NEAR, suffix="2", port=9090)],
        {"10.96.0.1:80/TCP in": "10.0.0.5:9090* 10.1.0.1:8080"},
        id="14 16 a named port may have another number in another slice",
    ),
    pytest.param(
        [service(), piece("web", unready(FAR), NEAR)],
        {"10.96.0.1:80/TCP in": HERE_ONLY},
        id="an endpoint that is not ready takes nothing",
    ),
    pytest.param(
        [service(), piece("web", unready(FAR))],
        {"10.96.0.1:80/TCP in": ""},
        id="an endpoint that does not serve is no last resort",
    ),
    pytest.param(
        [service(), piece("web", leaving(FAR), NEAR)],
        {"10.96.0.1:80/TCP in": HERE_ONLY},
        id="an endpoint that ends takes nothing while another is ready",
    ),
    pytest.param(
        [service(), piece("web", leaving(FAR))],
        {"10.96.0.1:80/TCP in": "10.1.0.1:8080"},
        id="an endpoint that ends but serves is the last resort",
    ),
    pytest.param(
        [service(internal_local=True), piece("web", FAR, leaving(NEAR))],
        {"10.96.0.1:80/TCP in local": HERE_ONLY},
        id="with traffic policy Local the last resort is this node's",
    ),
    pytest.param(
        [service(publish_not_ready=True), piece("web", unready(FAR), NEAR)],
        {"10.96.0.1:80/TCP in": ALL},
        id="22 publishNotReadyAddresses takes every endpoint",
    ),
]


@pytest.mark.parametrize(("objects", "expected"), ROWS)
def test_rule(objects: list[Object], expected: dict[str, str]) -> None:
    assert shown(compiled(*objects)) == expected


def test_a_cluster_ip_that_routers_are_told_of_is_there_for_who_is_outside() -> None:
    inside, outside = "10.96.0.1:80/TCP in", "10.96.0.1:80/TCP out"
    settings = replace(SETTINGS, bgp=BgpSettings(cluster_ips=True))
    first = desired(cluster(service(), BOTH), settings, FRESH)
    assert shown(first) == {inside: ALL, outside: ALL}
    tells_no_more = replace(first.source, bgp_configurations={"off": BgpConfiguration("off", cluster_ips=False)})
    now = desired(tells_no_more, settings, first)
    assert shown(now) == {inside: ALL}
    assert shown(desired(first.source, settings, now)) == {inside: ALL, outside: ALL}


def test_without_a_local_policy_there_is_no_local_set() -> None:
    (records,) = compiled(service(ports=(NODE_PORT,)), BOTH).services.records.values()
    assert (*records.sets,) == ("default/web:http/TCP/IPv4/all",)


def test_affinity_is_the_services() -> None:
    (records,) = compiled(service(affinity_s=10800), BOTH).services.records.values()
    (value,) = map(abi.Service.unpack, records.records.of_map("services").values())
    assert value.affinity_s == 10800


def test_the_longest_names_fit_a_label_and_stay_apart() -> None:
    long = name(f"{'n' * 63}/{'s' * 63}")
    ports = tuple(ServicePort("p" * 62 + end, Protocol.UDP, number) for number, end in ((1, "a"), (2, "b")))
    wanted = compiled(replace(service(), name=long, ports=ports, internal_local=True))
    (records,) = wanted.services.records.values()
    labels = set(records.sets)
    assert len(labels) == 2
    assert max(map(len, labels)) <= 191


def test_ports_with_one_name_differ_by_protocol() -> None:
    ports = (ServicePort("dns", Protocol.UDP, 53), ServicePort("dns", Protocol.TCP, 53))
    slices = replace(
        piece("web", FAR), ports=(EndpointPort("dns", Protocol.UDP, 5300), EndpointPort("dns", Protocol.TCP, 5301))
    )
    assert shown(compiled(service(ports=ports), slices)) == {
        "10.96.0.1:53/UDP in": "10.1.0.1:5300",
        "10.96.0.1:53/TCP in": "10.1.0.1:5301",
    }


def test_parts_hold_every_backend_once() -> None:
    many = [endpoint(f"10.1.{i >> 8}.{i & 255}") for i in range(700)]
    (records,) = compiled(service(), piece("web", *many)).services.records.values()
    made = records.records
    (frontend,) = map(abi.Service.unpack, made.of_map("services").values())
    slots = {slot for table in made.of_map("maglevs").values() for slot in memoryview(table).cast("H")}
    assert (frontend.parts, len(made.of_map("maglevs"))) == (128, 128)
    assert slots == {abi.BackendKey.unpack(key).slot for key in made.of_map("backends")}
