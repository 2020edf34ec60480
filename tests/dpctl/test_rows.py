"""What maps hold becomes rows that people and programs read."""

from ipaddress import IPv6Address

import pytest

from agent.compile.frontend import Frontend
from agent.compile.service import set_label as written
from agent.kernel.programs.hooks import SOCKET_HOOKS
from agent.model.name import ObjectName
from agent.model.service import Protocol, Service, ServicePort
from dpctl.backend import backend_rows
from dpctl.endpoint import endpoint_rows, range_rows
from dpctl.format import SetLabel, bit_rate, duration, octets, protocol, protocol_number, set_label
from dpctl.link import LinkRow, socket_hook
from dpctl.map import EntryRow, cell, entry_table
from dpctl.scheduling import scheduler_name, share_rows
from dpctl.service import service_rows
from dpctl.status import agent_fact, flows_fact, traffic_rows
from maps import abi
from maps.memory import MemoryTable
from maps.traffic import traffic

V4 = IPv6Address("::ffff:10.96.0.1")
SETS = {1: set_label("default/web:http/TCP/IPv4/all"), 2: set_label("default/web:http/TCP/IPv4/local")}


def test_a_frontend_says_whom_it_serves_and_by_which_policy() -> None:
    services = MemoryTable(abi.SERVICES)
    services.update(
        [
            (abi.ServiceKey(IPv6Address("::"), 30080, 6, 1), abi.Service(2, 0, 0, 1, 1, 0, 0)),
            (abi.ServiceKey(V4, 80, 6, 0), abi.Service(1, 10800, 3, 1, 0, 0, 0)),
        ]
    )
    inside, outside = sorted(service_rows(services.items(), SETS), key=lambda row: row.set_id)
    assert (str(inside.frontend), inside.scope, inside.policy, inside.affinity_s) == (
        "10.96.0.1:80",
        "internal",
        "Cluster",
        10800,
    )
    assert (str(outside.frontend), outside.scope, outside.policy, outside.backends) == (
        "[::]:30080",
        "external",
        "Local",
        0,
    )


def test_a_frontend_says_how_clients_outside_reach_other_nodes() -> None:
    tunnel, dsr = abi.ServiceFlag.SERVICE_TUNNEL, abi.ServiceFlag.SERVICE_TUNNEL | abi.ServiceFlag.SERVICE_DSR
    made = [
        (abi.ServiceKey(V4, port, 6, 1), abi.Service(1, 0, 1, 1, flags, 0, 0))
        for port, flags in ((1, tunnel), (2, dsr))
    ]
    assert [row.policy for row in service_rows(made, SETS)] == ["Cluster, tunnel", "Cluster, dsr"]


def test_a_frontend_whose_set_is_unknown_is_shown_without_a_name() -> None:
    (row,) = service_rows([(abi.ServiceKey(V4, 80, 17, 0), abi.Service(7, 0, 0, 1, 0, 0, 0))], {})
    assert (row.service, row.set_id, row.protocol) == ("", 7, "UDP")


def test_shares_are_those_of_one_service_with_what_is_counted() -> None:
    key, other = abi.BackendKey(1, 4), abi.BackendKey(2, 4)
    entries = [(key, abi.Backend(V4, 8080, 1, 3)), (other, abi.Backend(V4, 8080, 0, 0))]
    service = abi.Service(1, 0, 1, 1, abi.ServiceFlag.SERVICE_BY_PORT, 0, abi.Scheduler.SCHEDULER_MH)
    rows = share_rows("default/web", SETS, {1: scheduler_name(service), 2: "lc"}, entries, {other: 6})
    assert [(row.scheduler, row.weight, row.open, row.local) for row in rows] == [
        ("mh, mh-port", 3, None, True),
        ("lc", 0, 6, False),
    ]
    assert share_rows("default/other", SETS, {}, entries, {}) == []


def test_a_backend_in_two_views_has_a_row_in_each() -> None:
    backends = MemoryTable(abi.BACKENDS)
    backends.update([(abi.BackendKey(set_id, 4), abi.Backend(V4, 8080, 1, 1)) for set_id in (2, 1)])
    rows = backend_rows(backends.items(), SETS)
    assert [(row.view, row.slot, row.local) for row in rows] == [("all", 4, True), ("local", 4, True)]
    assert backend_rows(backends.items(), SETS, "default/other") == []


def test_endpoints_are_the_node_first_and_devices_have_names_where_they_are_known() -> None:
    pod6 = IPv6Address("fd00::7")
    entries = [
        (pod6, abi.Endpoint(2, 0)),
        (V4, abi.Endpoint(0, abi.EndpointFlag.ENDPOINT_NODE)),
    ]
    attachments = {2: abi.Attachment(17, 1, 3, b"\2\0\0\0\0\1", 0, 0)}
    limits = {2: abi.AttachmentLimits(abi.Limit(5000, 1, 2), abi.Limit(2 * 10**9, 3, 4))}
    node, pod = endpoint_rows(
        entries,
        attachments.items(),
        [(99, abi.PodAddresses(IPv6Address(0), pod6))],
        lambda i: f"swp{i}",
        limits.items(),
    )
    assert (node.ingress_rate, pod.ingress_rate, pod.egress_rate) == (0, 5000, 2 * 10**9)
    assert (node.owner, node.device, node.netns_cookie) == ("node", "", 0)
    assert (pod.owner, pod.device, pod.mac, pod.netns_cookie) == ("pod", "swp17", "02:00:00:00:00:01", 99)


def test_a_range_is_the_routers_that_routes_for_it() -> None:
    entries = [
        (abi.PrefixKey(32 + 64, 6, IPv6Address("fd00:200::")), abi.RoutedRange(2)),
        (abi.PrefixKey(32 + 96 + 16, 4, IPv6Address("::ffff:10.200.0.0")), abi.RoutedRange(2)),
    ]
    attachments = {2: abi.Attachment(17, 1, 3, b"\2\0\0\0\0\1", 0, 0)}
    found = range_rows(entries, attachments.items(), lambda i: f"swp{i}")
    assert [(row.address, row.owner, row.device, row.endpoint_id) for row in found] == [
        ("10.200.0.0/16", "router", "swp17", 3),
        ("fd00:200::/64", "router", "swp17", 3),
    ]


def test_a_drop_that_an_annotation_would_spare_names_it() -> None:
    index = abi.DropReason.DROP_SOURCE_ADDRESS
    (row,) = traffic_rows(list(traffic([(int(index), abi.Counter(1, 60))])))
    assert "sluiceway.io/routed-ranges" in row.way_out
    assert "sluiceway.io/allowed-routed-ranges" in row.way_out
    (row,) = traffic_rows(list(traffic([(int(abi.DropReason.DROP_VLAN), abi.Counter(1, 60))])))
    assert row.way_out == ""


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param("a/b:http/TCP/IPv4/all", ("a/b", "http", "TCP", "IPv4", "all"), id="a named port"),
        pytest.param("a/b:80/UDP/IPv6/local", ("a/b", "80", "UDP", "IPv6", "local"), id="a port without a name"),
        pytest.param("a/b:x~0badcafe/TCP/IPv4/all", ("a/b", "x~0badcafe", "TCP", "IPv4", "all"), id="a cut name"),
        pytest.param("something else", ("something else", "", "", "", ""), id="another form stays whole"),
    ],
)
def test_a_label_comes_apart(text: str, parts: tuple[str, ...]) -> None:
    label = set_label(text)
    assert (label.service, label.port, label.protocol, label.family, label.view) == parts


def test_a_label_comes_apart_as_the_agent_put_it_together() -> None:
    service = Service(ObjectName("default", "web"), ports=(ServicePort("http", Protocol.TCP, 80),))
    label = written(service, Frontend(b"", "spec.clusterIPs[0]", 0, ipv6=True, local=True))
    assert set_label(label) == SetLabel("default/web", "http", "TCP", "IPv6", "local")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (90000, "1 d 1 h"), (86400, "1 d")],
)
def test_a_duration_is_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sizes_and_protocols_are_in_words() -> None:
    assert [bit_rate(n) for n in (9999, 15 * 10**5, 10**7, 10**11)] == [
        "9999 bit/s",
        "1500 kbit/s",
        "10 Mbit/s",
        "100 Gbit/s",
    ]
    assert [octets(n) for n in (9999, 10_240, 48_000_000, 20 << 30)] == ["9999 B", "10 KiB", "46 MiB", "20 GiB"]
    assert [protocol(n) for n in (6, 17, 89)] == ["TCP", "UDP", "89"]
    assert [protocol_number(text) for text in ("tcp", "ICMPv6", "89", "x")] == [6, 58, 89, None]


def test_a_dump_has_a_column_for_each_field_and_cuts_long_lists() -> None:
    table = entry_table([EntryRow({"set_id": 1, "part": 0}, {"slots": list(range(1021))})])
    assert [column.title for column in table.columns] == ["KEY.SET_ID", "KEY.PART", "VALUE.SLOTS"]
    assert table.cells() == [["1", "0", "[0, 1, 2, 3, 4, 5, 6, 7, ... 1021]"]]
    assert cell([{"packets": 1}]) == '[{"packets": 1}]'
    assert list(entry_table([]).lines()) == ["KEY  VALUE"]


def test_packets_that_went_on_come_before_drops_and_zeros_are_left_out() -> None:
    counters = MemoryTable(abi.COUNTERS)
    uplink = (abi.Program.PROGRAM_UPLINK * abi.Direction.DIRECTIONS) * abi.COUNTER_REASONS
    counters.update(
        [
            (abi.DropReason.DROP_NO_BACKEND, abi.Counter(2, 120)),
            (uplink, abi.Counter(5, 500)),
        ]
    )
    assert [(r.program, r.reason, r.packets) for r in traffic_rows(list(traffic(counters.items())))] == [
        ("uplink", "", 5),
        ("pod", "no_backend", 2),
    ]


def test_status_tells_a_dead_agent_from_a_living_one() -> None:
    assert agent_fact(None).state == "not running"
    assert (agent_fact(12).state, agent_fact(12).values) == ("running", {"pid": 12})


def test_flows_are_those_of_the_last_gc_run() -> None:
    fact = flows_fact(abi.GcRun(3, 20, 5_000_000_000, 7, 2), 9_000_000_000)
    assert (fact.state, fact.values["gc_age_s"]) == ("7 entries", 4.0)
    assert flows_fact(abi.GcRun(0, 0, 0, 0, 0), 1).state == "unknown"


@pytest.mark.parametrize(
    ("names", "state"),
    [
        pytest.param(tuple(SOCKET_HOOKS), "on", id="all programs on their hooks"),
        pytest.param(("pod_ingress-3",), "off", id="none of them"),
        pytest.param(("connect4", "connect6"), "partly: connect4, connect6", id="some of them"),
    ],
)
def test_the_socket_hook_is_on_when_it_is_whole(names: tuple[str, ...], state: str) -> None:
    assert socket_hook([LinkRow("link", name, "", "", 0, 1, "") for name in names]) == state
