"""Hashes: who serves a new flow is chosen by the client's address, with its port or without, or by the asked one."""

from collections import Counter
from ipaddress import ip_address

import pytest

from agent.model.service import Protocol, Scheduler
from tests.bpf.datapath import POD, VIP, Datapath, frame, syn
from tests.bpf.packets import addresses
from tests.bpf.scheduled import BOTH, PODS, Live

pytestmark = pytest.mark.kernel


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
