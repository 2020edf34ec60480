"""Who serves a new flow: in turn, who has least, by the client's or the asked address; by weights, and live."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.packet import Packet

from agent.compile.desired import Desired, desired
from agent.compile.records import Records
from agent.model.service import Protocol, Scheduler, Service, ServicePort, WeightOf, Weights
from maps import abi
from maps.shares import open_now
from tests.agent.compile.objects import FRESH, SETTINGS, cluster, endpoint, name, piece
from tests.behaviours import shows
from tests.bpf.datapath import POD, POD6, VIP, VIP6, Datapath, data, datagram, frame, syn
from tests.bpf.packets import addresses, answer
from tests.bpf.test_gc import age

pytestmark = pytest.mark.kernel

PODS, PODS6 = [f"10.244.2.{n}" for n in range(1, 8)], [f"fd00:2::{n}" for n in range(1, 8)]
FAMILIES = [pytest.param(POD, VIP, PODS, id="IPv4"), pytest.param(POD6, VIP6, PODS6, id="IPv6")]
TRANSPORTS = [pytest.param(Protocol.TCP, id="TCP"), pytest.param(Protocol.UDP, id="UDP")]
BOTH = [
    pytest.param(*family.values, *transport.values, id=f"{family.id} {transport.id}")
    for family in FAMILIES
    for transport in TRANSPORTS
]
BY_WEIGHT = pytest.mark.parametrize("scheduler", [Scheduler.MAGLEV, Scheduler.SH, Scheduler.MH, Scheduler.DH])
SERVICES = 8  # that a socket is known to have asked, SOCK_PEERS in C


def order_of(table: str) -> int:
    """When the agent writes it."""
    return abi.MAPS[table].order


def run_of(node: Datapath) -> int:
    """Which run of conntrack GC counts now."""
    ((_, walk),) = node.tables["load_walks"].items()
    return int(walk.run)


class Live:
    """A service as the agent compiles it and writes it, and changes it."""

    def __init__(self, node: Datapath, vip: str, backends: list[str], protocol: Protocol = Protocol.TCP) -> None:
        self.node, self.vip, self.protocol = node, vip, protocol
        self.backends = backends
        self.value = Service(name("web"), (ip_address(vip),), ports=(ServicePort("http", protocol, 80),))
        self._desired: Desired = FRESH
        self._records = Records()

    def now(self, backends: list[str] | None = None, weights: Mapping[str, int] | None = None, **fields: Any) -> "Live":
        """Change it, as the tracker would: written in order, then removed in reverse."""
        self.backends = self.backends if backends is None else backends
        if weights is not None:
            fields["weights"] = Weights({(WeightOf.NODE, f"node-{ip}"): w for ip, w in weights.items()})
        self.value = replace(self.value, **fields)
        slices = piece("web", *(endpoint(ip, f"node-{ip}") for ip in self.backends), protocol=self.protocol)
        self._desired = desired(cluster(self.value, slices), SETTINGS, self._desired)
        self._write(self._desired.services.records[name("web")].records)
        return self

    def ask(self, pod: str, sport: int, l4: Packet | None = None) -> str:
        """Who is given what begins so."""
        made = l4 or (syn(sport) if self.protocol is Protocol.TCP else datagram(sport, 80))
        return addresses(self.node.run("pod_ingress", frame(pod, self.vip, made)).packet)[1]

    def asked(self, pod: str, sports: Iterable[int]) -> list[str]:
        """Who is given each."""
        return [self.ask(pod, sport) for sport in sports]

    def open(self) -> dict[str, int]:
        """What each backend has, as dpctl shows it."""
        run = run_of(self.node)
        by_key = dict(self.node.tables["backends"].items())
        counted = self.node.tables["loads"].items()
        return {str(by_key[key].addr.ipv4_mapped or by_key[key].addr): open_now(load, run) for key, load in counted}

    def _write(self, wanted: Records) -> None:
        before, self._records = self._records, wanted
        for table_name in sorted(dict(wanted.items()), key=order_of):
            old = before.of_map(table_name)
            new = {key: value for key, value in wanted.of_map(table_name).items() if old.get(key) != value}
            self.node.tables[table_name].update_packed(b"".join(new), b"".join(new.values()), len(new))
        for table_name in sorted(dict(before.items()), key=order_of, reverse=True):
            gone = before.of_map(table_name).keys() - wanted.of_map(table_name).keys()
            self.node.tables[table_name].delete_packed(b"".join(gone), len(gone))
        self.node.forget_locations()


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


# ---- by an address ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", [Scheduler.SH, Scheduler.MH])
@pytest.mark.parametrize(("pod", "vip", "backends", "protocol"), BOTH)
def test_a_source_hash_gives_a_client_one_backend(
    node: Datapath, pod: str, vip: str, backends: list[str], protocol: Protocol, scheduler: Scheduler
) -> None:
    live = Live(node, vip, backends, protocol).now(scheduler=scheduler)
    assert len(set(live.asked(pod, range(20000, 20020)))) == 1


@pytest.mark.parametrize("scheduler", [Scheduler.SH, Scheduler.MH])
def test_with_its_port_a_client_has_several_and_the_same_ones_again(node: Datapath, scheduler: Scheduler) -> None:
    live = Live(node, VIP, PODS).now(scheduler=scheduler, by_port=True)
    seen = live.asked(POD, range(20000, 20040))
    node.tables["flows"].delete([key for key, _ in node.tables["flows"].items()])
    assert len(set(seen)) == len(PODS)
    assert live.asked(POD, range(20000, 20040)) == seen


@pytest.mark.parametrize("scheduler", [Scheduler.SH, Scheduler.MH])
def test_clients_are_spread_over_all(node: Datapath, scheduler: Scheduler) -> None:
    live = Live(node, VIP, PODS).now(scheduler=scheduler, external_ips=(ip_address("203.0.113.5"),))
    live.vip = "203.0.113.5"
    seen = Counter(
        addresses(node.run("uplink_ingress", frame(f"192.0.2.{n}", live.vip, syn(20000))).packet)[1]
        for n in range(1, 251)
    )
    assert set(seen) == set(PODS)
    assert max(seen.values()) < 2.5 * 250 / len(PODS)


@pytest.mark.parametrize(("pod", "vip", "backends", "protocol"), BOTH)
def test_a_destination_hash_gives_an_address_one_backend(
    node: Datapath, pod: str, vip: str, backends: list[str], protocol: Protocol
) -> None:
    prefix = "203.0.113." if ":" not in vip else "2001:db8:5::"
    asked = [f"{prefix}{n}" for n in range(1, 41)]
    live = Live(node, vip, backends, protocol)
    live.now(scheduler=Scheduler.DH, external_ips=tuple(map(ip_address, asked)))
    seen = {}
    for live.vip in asked:
        (seen[live.vip],) = set(live.asked(pod, range(20000, 20004)))
    assert len(set(seen.values())) > len(backends) // 2


# ---- weights, live changes, affinity ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("pod", "vip", "backends"), FAMILIES)
@shows("136 weights", BY_WEIGHT)
def test_flows_are_given_by_weight(
    node: Datapath, pod: str, vip: str, backends: list[str], scheduler: Scheduler
) -> None:
    """By one socket each, of clients each, or of addresses each that are asked."""
    weights = {backends[0]: 6, backends[1]: 3, backends[2]: 1, backends[3]: 0}
    prefix, client = ("2001:db8:5::", "2001:db8::") if ":" in vip else ("203.0.113.", "192.0.2.")
    asked = [f"{prefix}{n}" for n in range(1, 201 if scheduler is Scheduler.DH else 2)]
    live = Live(node, vip, backends[:4])
    live.now(scheduler=scheduler, weights=weights, external_ips=tuple(map(ip_address, asked)), by_port=True)
    seen: Counter[str] = Counter()
    if scheduler is Scheduler.DH:
        for sport, live.vip in enumerate(asked, 20000):
            seen[live.ask(pod, sport)] += 1
    else:
        for n in range(500):
            sent = frame(f"{client}{n % 250 + 1}", asked[0], syn(20000 + n))
            seen[addresses(node.run("uplink_ingress", sent).packet)[1]] += 1
    assert set(seen) == set(backends[:3])
    for ip in backends[:3]:
        share, total = weights[ip] / 10, seen.total()
        chance = 4 * (total * share * (1 - share)) ** 0.5  # four standard deviations
        assert abs(seen[ip] - total * share) < chance + 0.1 * total * share


SCHEDULERS = pytest.mark.parametrize("scheduler", list(Scheduler))


@SCHEDULERS
@pytest.mark.parametrize(("pod", "vip", "backends"), FAMILIES)
def test_a_weight_of_0_begins_nothing_and_ends_nothing(
    node: Datapath, pod: str, vip: str, backends: list[str], scheduler: Scheduler
) -> None:
    live = Live(node, vip, backends[:2], Protocol.UDP).now(scheduler=scheduler)
    before = live.asked(pod, range(20000, 20020))
    live.now(weights={before[0]: 0})
    node.node(revision=2)
    assert live.asked(pod, range(20000, 20020)) == before
    (other,) = set(backends[:2]) - {before[0]}
    assert set(live.asked(pod, range(21000, 21020))) == {other}
    live.now(weights=dict.fromkeys(backends, 0))
    assert live.asked(pod, range(20000, 20020)) == before
    done = node.run("pod_ingress", frame(pod, vip, datagram(22000, 80)))
    assert done.reason is abi.DropReason.DROP_NO_BACKEND


@SCHEDULERS
@pytest.mark.parametrize("after", list(Scheduler))
def test_a_change_of_scheduler_moves_no_flow(node: Datapath, scheduler: Scheduler, after: Scheduler) -> None:
    live = Live(node, VIP, PODS, Protocol.UDP).now(scheduler=scheduler)
    before = live.asked(POD, range(20000, 20020))
    live.now(scheduler=after, weights={PODS[0]: 7})
    node.node(revision=3)
    assert live.asked(POD, range(20000, 20020)) == before
    assert set(live.asked(POD, range(21000, 21040))) <= set(PODS)
    holds = {name: node.tables[name].count() for name in ("maglevs", "rings", "turns", "loads")}
    rings = {"maglevs": 0, "rings": 1}
    wanted = {
        Scheduler.RR: rings | {"turns": 1, "loads": 0},
        Scheduler.LC: rings | {"turns": 0, "loads": len(PODS)},
    }
    assert holds == wanted.get(after, {"maglevs": holds["maglevs"], "rings": 0, "turns": 0, "loads": 0})
    assert holds["maglevs"] or after in wanted


@SCHEDULERS
@shows("45 47 affinity comes and goes", pytest.mark.parametrize(("pod", "vip", "backends", "protocol"), BOTH))
def test_affinity_goes_before_the_scheduler_and_comes_and_goes_live(
    node: Datapath, pod: str, vip: str, backends: list[str], protocol: Protocol, scheduler: Scheduler
) -> None:
    live = Live(node, vip, backends, protocol).now(scheduler=scheduler, by_port=True, affinity_s=300)
    (kept,) = set(live.asked(pod, range(20000, 20020)))
    live.now(affinity_s=0)
    assert (len(set(live.asked(pod, range(21000, 21100)))) > 1) == (scheduler is not Scheduler.DH)
    live.now(affinity_s=300)
    assert set(live.asked(pod, range(22000, 22020))) == {kept}
    live.now(weights={kept: 0})
    (other,) = set(live.asked(pod, range(23000, 23020)))
    assert other != kept


@SCHEDULERS
def test_xdp_chooses_as_tc_does(node: Datapath, scheduler: Scheduler) -> None:
    live = Live(node, VIP, PODS).now(scheduler=scheduler)
    at_tc = live.asked(POD, range(20000, 20014))
    node.tables["flows"].delete([key for key, _ in node.tables["flows"].items()])
    node.forget_locations()
    with node.at("xdp"):
        at_xdp = live.asked(POD, range(20000, 20014))
    if scheduler is Scheduler.LC:
        assert sorted(at_tc) == sorted(at_xdp) == sorted(PODS * 2)
    else:
        assert at_tc == at_xdp


def test_an_answer_finds_its_way_back_whoever_was_chosen(node: Datapath) -> None:
    live = Live(node, VIP, PODS).now(scheduler=Scheduler.RR)
    there = node.run("pod_ingress", frame(POD, VIP, syn(20000))).packet
    back = node.run("pod_egress", answer(there, "02:00:00:00:00:02")).packet
    assert addresses(back) == (VIP, POD)
    assert live.ask(POD, 20000) == addresses(there)[1]
