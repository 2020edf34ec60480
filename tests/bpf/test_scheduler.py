"""Who serves a new flow, whatever the scheduler: by weights, with affinity first, at each hook alike; and live."""

from collections import Counter
from ipaddress import ip_address

import pytest

from agent.model.service import Protocol, Scheduler
from maps import abi
from tests.behaviours import shows
from tests.bpf.datapath import POD, VIP, Datapath, datagram, frame, syn
from tests.bpf.packets import addresses, answer
from tests.bpf.scheduled import BOTH, FAMILIES, PODS, Live

pytestmark = pytest.mark.kernel

BY_WEIGHT = pytest.mark.parametrize("scheduler", [Scheduler.MAGLEV, Scheduler.SH, Scheduler.MH, Scheduler.DH])


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
