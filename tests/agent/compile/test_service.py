"""What a Service and its EndpointSlices become: one row, one rule."""

from dataclasses import replace
from typing import Any

import pytest

from agent.compile.bgp.settings import BgpSettings
from agent.compile.desired import desired
from agent.model.address import Family, mapped, parse_address, parse_network, unmapped
from agent.model.bgp_configuration import BgpConfiguration
from agent.model.service import (
    Endpoint,
    EndpointPort,
    Protocol,
    Scheduler,
    ServicePort,
    WeightOf,
    Weights,
    endpoint_slice,
)
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


BALANCER, BALANCER6 = parse_address("203.0.113.6"), parse_address("fd00:5::6")


@pytest.mark.parametrize(
    ("ranges", "kept"),
    [
        pytest.param(None, set(), id="53 without ranges everybody is served"),
        pytest.param(("192.0.2.0/24",), {"192.0.2.0/24"}, id="53 one family's leave nobody of the other"),
        pytest.param(("192.0.2.0/24", "fd00::/8"), {"192.0.2.0/24", "fd00::/8"}, id="53 each family has its own"),
        pytest.param(("0.0.0.0/0", "::/0"), {"0.0.0.0/0", "::/0"}, id="53 the whole of a family is of that family"),
        pytest.param((), set(), id="53 ranges of which none can be read serve nobody"),
    ],
)
def test_source_ranges_are_of_the_load_balancers_addresses_alone(
    ranges: tuple[str, ...] | None, kept: set[str]
) -> None:
    given = None if ranges is None else tuple(map(parse_network, ranges))
    both = service(
        ip="10.96.0.1,fd00::1",
        external_ips=(parse_address("203.0.113.5"),),
        load_balancer=(BALANCER, BALANCER6),
        source_ranges=given,
        ports=(replace(HTTP, node_port=30080),),
    )
    (records,) = (one.records for one in compiled(both, BOTH).services.records.values())
    served = {abi.ServiceKey.unpack(key): abi.Service.unpack(one) for key, one in records.of_map("services").items()}
    ranged = {unmapped(key.addr) for key, one in served.items() if one.flags & abi.ServiceFlag.SERVICE_RANGED}
    assert ranged == (set() if given is None else {BALANCER, BALANCER6})
    sets = {one.set_id: unmapped(key.addr).version for key, one in served.items() if one.flags}
    found = set()
    for key in map(abi.SourceRangeKey.unpack, records.of_map("source_ranges")):
        address = unmapped(key.addr)
        assert sets[key.set_id] == address.version
        found.add(f"{address}/{key.prefix_bits - 32 - (96 if address.version == 4 else 0)}")
    assert found == kept


def test_an_address_that_is_an_external_ip_too_serves_the_ranges_alone() -> None:
    both = service(external_ips=(BALANCER,), load_balancer=(BALANCER,), source_ranges=RANGES)
    (records,) = (one.records for one in compiled(both, BOTH).services.records.values())
    services = {abi.ServiceKey.unpack(k).addr: abi.Service.unpack(v) for k, v in records.of_map("services").items()}
    assert services[mapped(BALANCER)].flags & abi.ServiceFlag.SERVICE_RANGED


@pytest.mark.parametrize(("objects", "expected"), ROWS)
def test_rule(objects: list[Object], expected: dict[str, str]) -> None:
    assert shown(compiled(*objects)) == expected


PROBLEMS = [
    pytest.param(
        [service("a", ports=(NODE_PORT,)), service("b", "10.96.0.2", ports=(NODE_PORT,))],
        ("Service", "default/b", "spec.ports[0].nodePort"),
        id="a node port belongs to the first service by name",
    ),
    pytest.param(
        [service(ports=(replace(HTTP, node_port=40080),))],
        ("Service", "default/web", "spec.ports[0].nodePort"),
        id="a node port from before the API server's range was another",
    ),
    pytest.param(
        [service("a"), service("b")],
        ("Service", "default/b", "spec.clusterIPs[0]"),
        id="a cluster IP belongs to the first service by name",
    ),
    pytest.param(
        [service(), piece("web", FAR, port_name="metrics")],
        ("EndpointSlice", "default/web-1", "ports[0].name"),
        id="a slice's port that the service does not have",
    ),
    pytest.param(
        [service(external_ips=(parse_address("fd00::9"),))],
        ("Service", "default/web", "spec.externalIPs[0]"),
        id="an address of a family that the service has not",
    ),
    pytest.param(
        [service(ports=(HTTP, replace(HTTP, name="again")))],
        ("Service", "default/web", "spec.ports[1]"),
        id="one port number twice in one service",
    ),
]


TAKEN, FREE = parse_address("10.96.0.1"), parse_address("203.0.113.9")
# who writes a Service may name it as he likes: "a" comes first
CLAIMS = [
    pytest.param(
        [service("b"), service("a", "10.96.0.9", external_ips=(TAKEN,))],
        "default/a",
        id="a cluster IP goes before another Service's external IP",
    ),
    pytest.param(
        [service("b"), service("a", "10.96.0.9", load_balancer=(TAKEN,))],
        "default/a",
        id="a cluster IP goes before a balancer's address",
    ),
    pytest.param(
        [service("b", load_balancer=(FREE,)), service("a", "10.96.0.9", external_ips=(FREE,))],
        "default/a",
        id="a balancer's address goes before another Service's external IP",
    ),
    pytest.param(
        [
            service("b", external_ips=(FREE,), load_balancer=(FREE,)),
            service("a", "10.96.0.9", external_ips=(FREE,)),
        ],
        "default/a",
        id="a balancer's address that is an external IP too is a balancer's",
    ),
    pytest.param(
        [service("b", external_ips=(FREE,)), service("a", "10.96.0.9", external_ips=(FREE,))],
        "default/b",
        id="an external IP is the first Service's by name",
    ),
]


@pytest.mark.parametrize(("objects", "loser"), CLAIMS)
def test_what_a_service_was_given_goes_before_what_another_writes(objects: list[Object], loser: str) -> None:
    whole, nothing = compiled(*objects), compiled()
    for order in (objects, objects[::-1]):
        step = nothing
        for at in range(len(order)):
            step = desired(cluster(*order[: at + 1]), SETTINGS, step)
        for found in (whole, step):
            assert {str(problem.name) for problem in found.problems} == {loser}


def test_an_address_that_was_an_external_ip_and_becomes_a_balancers_is_the_balancers() -> None:
    first = desired(
        cluster(service("b", external_ips=(FREE,)), service("a", "10.96.0.9", external_ips=(FREE,))),
        SETTINGS,
        compiled(),
    )
    assert {str(problem.name) for problem in first.problems} == {"default/b"}
    now = desired(
        cluster(service("b", load_balancer=(FREE,)), service("a", "10.96.0.9", external_ips=(FREE,))), SETTINGS, first
    )
    assert {str(problem.name) for problem in now.problems} == {"default/a"}


def test_a_cluster_ip_that_routers_are_told_of_is_there_for_who_is_outside() -> None:
    inside, outside = "10.96.0.1:80/TCP in", "10.96.0.1:80/TCP out"
    settings = replace(SETTINGS, bgp=BgpSettings(cluster_ips=True))
    first = desired(cluster(service(), BOTH), settings, FRESH)
    assert shown(first) == {inside: ALL, outside: ALL}
    tells_no_more = replace(first.source, bgp_configurations={"off": BgpConfiguration("off", cluster_ips=False)})
    now = desired(tells_no_more, settings, first)
    assert shown(now) == {inside: ALL}
    assert shown(desired(first.source, settings, now)) == {inside: ALL, outside: ALL}


@pytest.mark.parametrize(("objects", "expected"), PROBLEMS)
def test_problem_names_object_and_field(objects: list[Object], expected: tuple[str, str, str]) -> None:
    (problem,) = compiled(*objects).problems
    assert (problem.kind, str(problem.name), problem.field) == expected


def test_the_loser_of_a_frontend_keeps_its_others() -> None:
    wanted = compiled(service("a", ports=(NODE_PORT,)), service("b", "10.96.0.2", ports=(NODE_PORT,)))
    assert [len(one.records.of_map("services")) for one in wanted.services.records.values()] == [3, 1]


def test_without_a_local_policy_there_is_no_local_set() -> None:
    (records,) = compiled(service(ports=(NODE_PORT,)), BOTH).services.records.values()
    assert records.labels == ("default/web:http/TCP/IPv4/all",)


def test_affinity_is_the_services() -> None:
    (records,) = compiled(service(affinity_s=10800), BOTH).services.records.values()
    (value,) = map(abi.Service.unpack, records.records.of_map("services").values())
    assert value.affinity_s == 10800


def maps_of(**fields: Any) -> dict[str, int]:
    """How many records each map of a set has."""
    (records,) = compiled(service(**fields), BOTH).services.records.values()
    return {name: n for name, n in records.records.counts() if name in {"maglevs", "rings", "turns", "loads"}}


@pytest.mark.parametrize(
    ("scheduler", "maps"),
    [
        pytest.param(Scheduler.RR, {"rings": 1, "turns": 1}, id="turns by a ring"),
        pytest.param(Scheduler.LC, {"rings": 1, "loads": 2}, id="a ring, and what each backend has"),
        *(
            pytest.param(one, {"maglevs": 1}, id=f"tables for {one.name}")
            for one in (Scheduler.MAGLEV, Scheduler.SH, Scheduler.DH, Scheduler.MH)
        ),
    ],
)
def test_a_scheduler_has_what_it_chooses_by(scheduler: Scheduler, maps: dict[str, int]) -> None:
    assert maps_of(scheduler=scheduler) == maps


def test_who_weighs_nothing_is_a_backend_and_in_no_table() -> None:
    weights = Weights({(WeightOf.NODE, HERE): 0})
    for scheduler in Scheduler:
        (records,) = compiled(service(scheduler=scheduler, weights=weights), BOTH).services.records.values()
        made = records.records
        backends = {abi.BackendKey.unpack(k).slot: abi.Backend.unpack(v) for k, v in made.of_map("backends").items()}
        (far,) = (slot for slot, backend in backends.items() if backend.weight)
        (frontend,) = map(abi.Service.unpack, made.of_map("services").values())
        assert (frontend.backends, frontend.slot, frontend.scheduler) == (1, far, scheduler)
        for value in made.of_map("maglevs").values():
            assert {*memoryview(value).cast("H")} == {far}
        for value in made.of_map("rings").values():
            assert {*memoryview(abi.Ring.unpack(value).slots).cast("H")} == {far}


def test_a_target_has_its_weight_in_whatever_slice_it_is() -> None:
    one = endpoint_slice(
        name("web-1"), name("web"), (EndpointPort("http", Protocol.TCP, 8080),), Family.IPV4, [FAR, NEAR], ["a", "b"]
    )
    weights = Weights({(WeightOf.TARGET, "b"): 9, (WeightOf.NODE, "elsewhere"): 4})
    (records,) = compiled(service(weights=weights), one).services.records.values()
    found = map(abi.Backend.unpack, records.records.of_map("backends").values())
    assert {str(backend.addr.ipv4_mapped): backend.weight for backend in found} == {"10.1.0.1": 4, "10.0.0.5": 9}


def test_a_change_of_scheduler_or_weights_keeps_set_and_slots() -> None:
    first = desired(cluster(service(), BOTH), SETTINGS, FRESH)
    changed = service(scheduler=Scheduler.RR, weights=Weights({(WeightOf.NODE, HERE): 5}))
    second = desired(cluster(changed, BOTH), SETTINGS, first)
    keys = [next(iter(made.services.records.values())).records.of_map("backends").keys() for made in (first, second)]
    assert keys[0] == keys[1]


def test_the_longest_names_fit_a_label_and_stay_apart() -> None:
    long = name(f"{'n' * 63}/{'s' * 63}")
    ports = tuple(ServicePort("p" * 62 + end, Protocol.UDP, number) for number, end in ((1, "a"), (2, "b")))
    wanted = compiled(replace(service(), name=long, ports=ports, internal_local=True))
    (records,) = wanted.services.records.values()
    labels = set(records.labels)
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
