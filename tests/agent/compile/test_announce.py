"""Which node announces which address."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.compile.announce import announced, announcer, placements
from agent.compile.desired import Desired, desired
from agent.compile.leaving import EXCLUDED
from agent.compile.public_range import PublicRanges
from agent.compile.settings import Settings
from agent.model.address import Family, mapped_octets, parse_address
from agent.model.cluster import Cluster
from agent.model.local import Device, Local
from agent.model.name import ObjectName
from agent.model.node import Node
from agent.model.service import EndpointState, Service, endpoint_slice
from agent.options.choices import L2Announce

WEB, BALANCER, EXTERNAL = ObjectName("default", "web"), parse_address("198.51.100.80"), parse_address("203.0.113.9")
UPLINK = Device(2, "eth0", mac=bytes(5) + b"\x01")
CLUSTER_IP = parse_address("10.96.0.1")
SERVICE = Service(WEB, (CLUSTER_IP,), load_balancer=(BALANCER,), external_ips=(EXTERNAL,))
ON, ALSO_EXTERNAL = (Settings("n1", l2_announce=which) for which in (L2Announce.ON, L2Announce.EXTERNAL))
ALONE = Cluster(services={WEB: SERVICE}, announcers=frozenset({"n1"}))


def told(cluster: Cluster, settings: Settings) -> set[str]:
    return {str(one.address) for one in announced(cluster, settings, (UPLINK, Device(3, "tun0")))}


@pytest.mark.parametrize(
    ("cluster", "settings", "wanted"),
    [
        pytest.param(ALONE, ON, {BALANCER}, id="a load balancer's address"),
        pytest.param(ALONE, ALSO_EXTERNAL, {BALANCER, EXTERNAL}, id="external ones if asked for"),
        pytest.param(ALONE, Settings("n1"), set(), id="none without the option"),
        pytest.param(replace(ALONE, announcers=frozenset()), ON, set(), id="none before this node has joined"),
        pytest.param(
            ALONE,
            replace(ALSO_EXTERNAL, public_ranges=PublicRanges((), (ip_network("198.51.100.0/24"),))),
            {BALANCER},
            id="none that the operator does not let a Service have",
        ),
        pytest.param(
            replace(ALONE, services={WEB: replace(SERVICE, cluster_ips=(parse_address("fd00:96::1"),))}),
            ALSO_EXTERNAL,
            set(),
            id="none of a family that the Service has not, which nobody serves",
        ),
        pytest.param(replace(ALONE, nodes={"n2": Node("n2", (BALANCER,))}), ON, set(), id="no node's address"),
        pytest.param(
            replace(ALONE, local=Local((replace(UPLINK, addresses=(BALANCER,)),))), ON, set(), id="none of this node's"
        ),
    ],
)
def test_a_node_announces(cluster: Cluster, settings: Settings, wanted: set[object]) -> None:
    assert told(cluster, settings) == set(map(str, wanted))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda c: replace(c, nodes={**c.nodes, "n2": Node("n2", (BALANCER,))}), id="of a node that comes"),
        pytest.param(
            lambda c: replace(
                c, local=replace(c.local, devices=(*c.local.devices, Device(1, "lo", (BALANCER,), loopback=True)))
            ),
            id="on a device here",
        ),
    ],
)
def test_an_address_that_becomes_a_nodes_own_is_announced_no_more(change: Callable[[Cluster], Cluster]) -> None:
    here = replace(UPLINK, addresses=(parse_address("192.0.2.1"),), is_up=True, has_ethernet=True)
    given = replace(ALONE, nodes={"n1": Node("n1", here.addresses)}, local=Local((here,), netns_cookie=1), synced=True)
    first = desired(given, ON, Desired())
    assert {one.address for one in first.announced} == {BALANCER}
    second = desired(change(given), ON, first)
    assert second.announced == frozenset()
    assert desired(given, ON, second).announced == first.announced


BOTH = frozenset({"n1", "n2"})
CHOSEN = announcer(BALANCER, BOTH)
OTHER = "n2" if CHOSEN == "n1" else "n1"
LABELLED = Node(CHOSEN, labels=((EXCLUDED, ""),))


@pytest.mark.parametrize(
    ("changed", "settings", "has_it"),
    [
        pytest.param(Node(CHOSEN), ON, CHOSEN, id="as ever"),
        pytest.param(LABELLED, ON, OTHER, id="the label that load balancers go by"),
        pytest.param(LABELLED, replace(ON, ignores_excluded=True), CHOSEN, id="the label, where it counts for nothing"),
        pytest.param(Node(CHOSEN, is_leaving=True), ON, OTHER, id="it is about to be deleted"),
        pytest.param(None, ON, OTHER, id="its Node has gone, and its agent renews its lease all the same"),
        pytest.param(Node(CHOSEN, is_cordoned=True), ON, CHOSEN, id="a cordon alone moves nothing"),
    ],
)
def test_a_node_that_balancers_leave_out_announces_nothing_on_any_nodes_word(
    changed: Node | None, settings: Settings, has_it: str
) -> None:
    """And an address is never two nodes': each finds the same, by the whole compile and the change alone."""
    nodes = {name: Node(name, (parse_address(f"192.0.2.{name[1]}"),)) for name in BOTH}
    before = replace(ALONE, announcers=BOTH, nodes=nodes, listed=frozenset({"Node"}), synced=True)
    here = {CHOSEN: replace(nodes[CHOSEN], **_said_of(changed))} if changed else {}
    after = replace(before, nodes={OTHER: nodes[OTHER], **here})
    for name in BOTH:
        device = replace(UPLINK, addresses=nodes[name].internal_ips, is_up=True, has_ethernet=True)
        own, local = replace(settings, node_name=name), Local((device,), netns_cookie=1)
        first = desired(replace(before, local=local), own, Desired())
        assert bool(first.announced) is (name == CHOSEN)
        second = desired(replace(after, local=local), own, first)
        assert bool(second.announced) is (name == has_it)
        assert second.announced == desired(replace(after, local=local), own, Desired()).announced


def _said_of(node: Node) -> dict[str, Any]:
    return {"labels": node.labels, "is_leaving": node.is_leaving, "is_cordoned": node.is_cordoned}


def test_where_all_nodes_are_left_out_an_address_is_nobodys() -> None:
    nodes = {name: Node(name, labels=((EXCLUDED, ""),)) for name in BOTH}
    given = replace(ALONE, announcers=BOTH, nodes=nodes, listed=frozenset({"Node"}))
    assert [one.node for one in placements(given, ON)] == [""]


def test_a_node_that_is_left_out_announces_nothing_though_the_only_endpoint_is_there() -> None:
    nodes = {CHOSEN: LABELLED, OTHER: Node(OTHER)}
    given = Cluster(
        services={WEB: replace(SERVICE, external_local=True)},
        slices={WEB: (endpoint_slice(WEB, WEB, (), Family.IPV4, [(bytes(16), EndpointState(node=CHOSEN))]),)},
        announcers=BOTH,
        nodes=nodes,
    )
    assert [one.node for one in placements(given, ON)] == [OTHER]


def test_a_local_service_is_announced_where_it_has_a_ready_endpoint() -> None:
    both = frozenset({"n1", "n2"})
    other = "n2" if announcer(BALANCER, both) == "n1" else "n1"
    local = Cluster(services={WEB: replace(SERVICE, external_local=True)}, announcers=both)
    here = replace(ON, node_name=other)
    assert told(local, here) == set()  # of nobody with an endpoint: as any other
    for is_ready, wanted in ((True, {str(BALANCER)}), (False, set())):
        state = EndpointState(ready=is_ready, node=other)
        found = endpoint_slice(WEB, WEB, (), Family.IPV4, [(mapped_octets(parse_address("10.0.0.1")), state)])
        assert told(replace(local, slices={WEB: (found,)}), here) == wanted


@pytest.mark.parametrize(
    ("here", "there", "publish", "wanted"),
    [
        pytest.param("ending", "none", False, True, id="the last one ends, and finishes its connections"),
        pytest.param("ending", "ready", False, False, id="one that ends gives way to one that is ready"),
        pytest.param("gone", "none", False, False, id="one that ends and serves no more is as none"),
        pytest.param("unready", "none", False, False, id="one that is not ready is as none"),
        pytest.param("unready", "none", True, True, id="but where such ones serve"),
    ],
)
def test_a_local_service_is_announced_where_it_is_served(here: str, there: str, *, publish: bool, wanted: bool) -> None:
    both = frozenset({"n1", "n2"})
    chosen = announcer(BALANCER, both)
    own, other = ("n2", "n1") if chosen == "n1" else ("n1", "n2")
    kinds = {
        "ready": EndpointState(),
        "unready": EndpointState(ready=False, serving=False),
        "ending": EndpointState(ready=False, terminating=True),
        "gone": EndpointState(ready=False, serving=False, terminating=True),
    }
    states = [replace(kinds[kind], node=node) for kind, node in ((here, own), (there, other)) if kind in kinds]
    found = [(mapped_octets(IPv4Address(0x0A000001 + at)), state) for at, state in enumerate(states)]
    cluster = Cluster(
        services={WEB: replace(SERVICE, external_local=True, publish_not_ready=publish)},
        slices={WEB: (endpoint_slice(WEB, WEB, (), Family.IPV4, found),)},
        announcers=both,
    )
    assert told(cluster, replace(ON, node_name=own)) == ({str(BALANCER)} if wanted else set())


def test_a_local_service_is_announced_by_whoever_serves_the_addresss_family() -> None:
    both, six = frozenset({"n1", "n2"}), parse_address("2001:db8:80::1")
    six_at = announcer(BALANCER, both)  # who would be, were it all one
    at = {Family.IPV4: "n2" if six_at == "n1" else "n1", Family.IPV6: six_at}
    slices = tuple(
        endpoint_slice(WEB, WEB, (), of, [(mapped_octets(parse_address(ip)), EndpointState(node=at[of]))])
        for of, ip in ((Family.IPV4, "10.0.0.1"), (Family.IPV6, "fd00::1"))
    )
    ips = (CLUSTER_IP, parse_address("fd00:96::1"))
    local = replace(SERVICE, cluster_ips=ips, load_balancer=(BALANCER, six), external_local=True)
    given = Cluster(services={WEB: local}, slices={WEB: slices}, announcers=both)
    told_by = {node: told(given, replace(ON, node_name=node)) for node in both}
    assert told_by == {at[Family.IPV4]: {str(BALANCER)}, at[Family.IPV6]: {str(six)}}


@given(st.sets(st.sampled_from([f"n{at}" for at in range(9)]), min_size=2), st.data())
def test_a_node_that_leaves_moves_its_own_addresses_alone(nodes: set[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(nodes)))
    for at in range(40):
        address = IPv4Address(0xC6336400 + at)
        before, after = announcer(address, frozenset(nodes)), announcer(address, frozenset(nodes - {gone}))
        assert before in (gone, after)


def test_addresses_are_spread_over_the_nodes() -> None:
    nodes = frozenset(f"n{at}" for at in range(4))
    counts = Counter(announcer(IPv4Address(0xC6336400 + at), nodes) for at in range(1000))
    assert set(counts) == nodes
    assert max(counts.values()) < 2 * min(counts.values())


@pytest.mark.parametrize(
    ("mine", "others"),
    [
        pytest.param({"load_balancer": (BALANCER,)}, {"external_ips": (BALANCER,)}, id="a balancer's"),
        pytest.param(
            {"external_ips": (BALANCER,), "created": "2026-01-01T00:00:00Z"},
            {"external_ips": (BALANCER,), "created": "2026-01-01T00:00:01Z"},
            id="one that was written before",
        ),
    ],
)
def test_who_writes_an_address_that_is_anothers_does_not_say_which_nodes_announce_it(
    mine: dict[str, Any], others: dict[str, Any]
) -> None:
    first = Service(WEB, (CLUSTER_IP,), **mine)
    thief = Service(ObjectName("a", "thief"), (parse_address("10.96.0.2"),), external_local=True, **others)
    ends = [(mapped_octets(parse_address("10.0.0.1")), EndpointState(node="n2"))]
    there = endpoint_slice(ObjectName("a", "t1"), thief.name, (), Family.IPV4, ends)
    nodes = frozenset({f"n{number}" for number in range(1, 9)})
    alone = Cluster(services={WEB: first}, announcers=nodes)
    both = replace(alone, services={thief.name: thief, WEB: first}, slices={thief.name: (there,)})
    assert list(placements(both, ALSO_EXTERNAL)) == list(placements(alone, ALSO_EXTERNAL))
