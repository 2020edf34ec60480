"""Schedulers that count: round robin gives each backend its turn, least connections a flow to who has least open."""

from collections import Counter
from dataclasses import replace

import pytest

from agent.model.service import Protocol, Scheduler
from maps import abi
from tests.bpf.datapath import POD, VIP, Datapath, data
from tests.bpf.scheduled import BOTH, FAMILIES, PODS, TRANSPORTS, Live, run_of
from tests.bpf.test_gc import age

pytestmark = pytest.mark.kernel

SERVICES = 8  # that a socket is known to have asked, SOCK_PEERS in C


# ---- in turn ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pod", "vip", "backends", "protocol"), BOTH)
def test_round_robin_gives_each_backend_its_turn(
    node: Datapath, pod: str, vip: str, backends: list[str], protocol: Protocol
) -> None:
    live = Live(node, vip, backends, protocol).now(scheduler=Scheduler.RR)
    seen = live.asked(pod, range(20000, 20000 + 3 * len(backends)))
    assert seen == backends * 3


@pytest.mark.parametrize(("pod", "vip", "backends"), FAMILIES)
def test_round_robin_keeps_to_the_weights_exactly(node: Datapath, pod: str, vip: str, backends: list[str]) -> None:
    weights = dict(zip(backends, (5, 1, 0, 2, 10, 1, 1), strict=True))
    live = Live(node, vip, backends).now(scheduler=Scheduler.RR, weights=weights)
    seen = live.asked(pod, range(20000, 20060))
    assert Counter(seen) == {ip: 3 * weight for ip, weight in weights.items() if weight}
    assert Counter(seen[:20]) == {ip: weight for ip, weight in weights.items() if weight}


def test_a_ring_of_several_parts_comes_round_whole(node: Datapath) -> None:
    many = [f"10.244.{n // 250 + 2}.{n % 250 + 1}" for n in range(600)]
    live = Live(node, VIP, many).now(scheduler=Scheduler.RR)
    assert node.tables["rings"].count() == 2
    assert live.asked(POD, range(20000, 21200)) == many * 2


def test_turns_go_on_where_they_were_when_a_backend_comes(node: Datapath) -> None:
    live = Live(node, VIP, PODS[:3]).now(scheduler=Scheduler.RR)
    live.asked(POD, range(20000, 20002))
    live.now(PODS[:4])
    assert live.asked(POD, range(20002, 20006)) == [PODS[2], PODS[3], PODS[0], PODS[1]]


def test_the_one_backend_of_a_ring_is_asked_without_it(node: Datapath) -> None:
    live = Live(node, VIP, PODS[:1]).now(scheduler=Scheduler.RR)
    node.tables["rings"].delete([key for key, _ in node.tables["rings"].items()])
    assert set(live.asked(POD, range(20000, 20004))) == {PODS[0]}


# ---- who has least ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pod", "vip", "backends", "protocol"), BOTH)
def test_least_connections_evens_out_what_is_open(
    node: Datapath, pod: str, vip: str, backends: list[str], protocol: Protocol
) -> None:
    live = Live(node, vip, backends, protocol).now(scheduler=Scheduler.LC)
    for turn in range(3):
        begin = 20000 + turn * len(backends)
        assert sorted(live.asked(pod, range(begin, begin + len(backends)))) == sorted(backends)
    assert live.open() == dict.fromkeys(backends, 3)
    node.gc()
    assert live.open() == dict.fromkeys(backends, 3)


@pytest.mark.parametrize(("pod", "vip", "backends"), FAMILIES)
def test_least_connections_keeps_to_the_weights(node: Datapath, pod: str, vip: str, backends: list[str]) -> None:
    weights = {backends[0]: 4, backends[1]: 2, backends[2]: 1, backends[3]: 0}
    live = Live(node, vip, backends[:4]).now(scheduler=Scheduler.LC, weights=weights)
    live.asked(pod, range(20000, 20070))
    assert live.open() == {backends[0]: 40, backends[1]: 20, backends[2]: 10, backends[3]: 0}


@pytest.mark.parametrize("protocol", TRANSPORTS)
def test_flows_that_gc_ends_are_open_no_more(node: Datapath, protocol: Protocol) -> None:
    live = Live(node, VIP, PODS[:2], protocol).now(scheduler=Scheduler.LC)
    live.asked(POD, range(20000, 20006))
    age(node, 100)
    live.asked(POD, range(20006, 20008))
    assert live.open() == dict.fromkeys(PODS[:2], 4)
    node.gc()
    assert live.open() == dict.fromkeys(PODS[:2], 1)


def test_a_connection_that_is_closed_is_open_no_more_though_its_entry_is_kept(node: Datapath) -> None:
    live = Live(node, VIP, PODS[:2]).now(scheduler=Scheduler.LC)
    live.ask(POD, 20000)
    node.gc()
    assert sum(live.open().values()) == 1
    live.ask(POD, 20000, data(20000, flags="RA"))
    node.gc()
    assert live.open() == dict.fromkeys(PODS[:2], 0)
    assert node.tables["flows"].count() == 2


def test_who_has_lost_most_flows_is_given_the_next(node: Datapath) -> None:
    live = Live(node, VIP, PODS[:3]).now(scheduler=Scheduler.LC)
    live.asked(POD, range(20000, 20012))
    table = node.tables["flows"]
    leaving = [(k, f) for k, f in table.items() if str(f.to_dst.ipv4_mapped) == PODS[1]]
    table.update([(k, replace(f, seen_s=(f.seen_s - 100) % 2**32)) for k, f in leaving])
    back = [(k, f) for k, f in table.items() if str(f.to_src.ipv4_mapped) == VIP and k.hi_addr.ipv4_mapped]
    table.update([(k, replace(f, seen_s=(f.seen_s - 100) % 2**32)) for k, f in back if _names(k, PODS[1])])
    node.gc()
    assert live.open() == {PODS[0]: 4, PODS[1]: 0, PODS[2]: 4}
    assert live.asked(POD, range(20100, 20104)) == [PODS[1]] * 4


def _names(key: abi.FlowKey, ip: str) -> bool:
    return ip in {str(key.lo_addr.ipv4_mapped), str(key.hi_addr.ipv4_mapped)}


@pytest.mark.parametrize(
    "spoilt",
    [pytest.param(abi.Load(1000, 1000, 0), id="too much"), pytest.param(abi.Load(0, 0, 0), id="nothing")],
)
def test_whatever_a_count_says_the_next_run_puts_it_right(node: Datapath, spoilt: abi.Load) -> None:
    live = Live(node, VIP, PODS[:3]).now(scheduler=Scheduler.LC)
    live.asked(POD, range(20000, 20009))
    run = run_of(node)
    node.tables["loads"].update([(key, replace(spoilt, run=run)) for key, _ in node.tables["loads"].items()])
    assert live.open() != dict.fromkeys(PODS[:3], 3)
    node.gc()
    node.gc()
    assert live.open() == dict.fromkeys(PODS[:3], 3)


def test_sockets_are_counted_again_and_those_that_ended_unheard_are_dropped(node: Datapath) -> None:
    """As the socket hooks leave them; of one that was closed while there were no hooks nothing is known any more."""
    live = Live(node, VIP, PODS[:2]).now(scheduler=Scheduler.LC)
    ((key, _), _) = sorted(node.tables["loads"].items(), key=lambda entry: entry[0].slot)
    sockets = node.tables["load_sockets"]
    places = {place: abi.LoadSocket((1 + place) * SERVICES, key.set_id, key.slot) for place in range(5)}
    sockets.update(places.items())
    node.tables["load_uses"].update([(0, abi.LoadUse(1))])
    given = abi.SockPeer.unpack(bytes(abi.SockPeer.SIZE))
    node.tables["sock_peers"].update((abi.SockPeerKey(1 + place, 0), given) for place in range(5))
    for known in (5, 3, 0):
        node.tables["sock_peers"].delete([abi.SockPeerKey(1 + place, 0) for place in range(known, 5)])
        node.gc()
        assert sorted(live.open().values()) == [0, known]
        held = {place: value for place, value in sockets.items() if value.socket}
        assert held == {place: value for place, value in places.items() if place < known}


def test_flows_that_began_before_are_counted_when_the_service_asks_for_it(node: Datapath) -> None:
    live = Live(node, VIP, PODS[:2]).now(scheduler=Scheduler.RR)
    live.asked(POD, range(20000, 20008))
    live.now(scheduler=Scheduler.LC)
    live.ask(POD, 20100)
    node.gc()
    node.gc()
    assert sorted(live.open().values()) == [4, 5]


def test_a_large_set_is_looked_at_in_part_and_nobody_is_left_out(node: Datapath) -> None:
    many = [f"10.244.{n // 250 + 2}.{n % 250 + 1}" for n in range(1100)]
    live = Live(node, VIP, many).now(scheduler=Scheduler.LC)
    seen = Counter(live.asked(POD, range(20000, 22000)))
    assert max(seen.values()) <= 4
    assert len(seen) > 1000
