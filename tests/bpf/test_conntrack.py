"""A flow's entry lives as long as its connection, and a new connection is not taken for the old one."""

from functools import reduce
from operator import or_

import pytest
from scapy.packet import Packet

from maps import abi
from maps.abi import DropReason, FlowFlag
from tests.behaviours import shows
from tests.bpf.datapath import (
    OTHER,
    OTHER_MAC,
    POD,
    REMOTE,
    VIP,
    Datapath,
    data,
    frame,
    syn,
)
from tests.bpf.packets import FAMILIES, addresses, answer, ports

pytestmark = pytest.mark.kernel

ENDED = FlowFlag.FLOW_FIN_ORIGIN | FlowFlag.FLOW_FIN_REPLY | FlowFlag.FLOW_RESET


def reply(handed: Packet, flags: str) -> Packet:
    """What the backend answers."""
    return answer(handed, OTHER_MAC, flags)


def ended(node: Datapath) -> int:
    """What all entries have seen of an end."""
    flows = [flow for _, flow in node.tables["flows"].items()]
    return reduce(or_, [flow.flags & ENDED for flow in flows], 0)


def life(node: Datapath, pod: str, vip: str, end: str) -> None:
    """A connection to a service, to its end."""
    handed = node.run("pod_ingress", frame(pod, vip, syn())).packet
    if end == "refused":
        node.run("pod_egress", reply(handed, "RA"))
        return
    node.run("pod_egress", reply(handed, "SA"))
    if end == "reset by the client":
        node.run("pod_ingress", frame(pod, vip, data(flags="R")))
        return
    if end == "reset by the backend":
        node.run("pod_egress", reply(handed, "R"))
        return
    first = [("pod_ingress", frame(pod, vip, data(flags="FA"))), ("pod_egress", reply(handed, "FA"))]
    for program, packet in first if end == "closed by the client" else reversed(first):
        node.run(program, packet)


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
@shows(
    "133 a client uses its port again",
    pytest.mark.parametrize(
        "end",
        ["closed by the client", "closed by the backend", "reset by the client", "reset by the backend", "refused"],
    ),
)
def test_a_new_connection_under_an_old_ones_ports_begins_anew(
    node: Datapath, pod: str, vip: str, backend: str, end: str
) -> None:
    node.service(vip, 80, [(backend, 8080, True)])
    life(node, pod, vip, end)
    assert ended(node)
    again = node.run("pod_ingress", frame(pod, vip, syn()))
    assert (addresses(again.packet), ports(again.packet)) == ((pod, backend), (40000, 8080))
    assert ended(node) == 0
    assert node.tables["flows"].count() == 2


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
def test_a_new_connection_between_pods_begins_anew(node: Datapath, pod: str, vip: str, backend: str) -> None:
    life(node, pod, backend, "closed by the client")
    assert ended(node)
    node.run("pod_ingress", frame(pod, backend, syn()))
    assert ended(node) == 0
    assert node.tables["flows"].count() == 1
    assert vip != backend


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
def test_a_repeated_syn_keeps_its_backend(node: Datapath, pod: str, vip: str, backend: str) -> None:
    set_id = node.service(vip, 80, [(backend, 8080, True)])
    node.run("pod_ingress", frame(pod, vip, syn()))
    other = "fd00:2::9" if ":" in pod else REMOTE
    node.backends(set_id, [(backend, 8080, True), (other, 8080, False)])
    table = abi.Maglev(b"\1\0" * abi.MAGLEV_SLOTS)
    node.tables["maglevs"].update([(abi.MaglevKey(set_id, 0), table)])
    ((key, _),) = node.tables["services"].items()
    node.tables["services"].update([(key, abi.Service(set_id, 0, 2, 1, 0, 0, 0))])
    assert addresses(node.run("pod_ingress", frame(pod, vip, syn())).packet) == (pod, backend)
    assert addresses(node.run("pod_ingress", frame(pod, vip, syn(sport=40001))).packet) == (pod, other)


def test_the_last_packets_of_a_closed_connection_still_find_their_way(node: Datapath) -> None:
    node.service(VIP, 80, [(OTHER, 8080, True)])
    life(node, POD, VIP, "closed by the backend")
    done = node.run("pod_ingress", frame(POD, VIP, data(flags="A")))
    assert (addresses(done.packet), done.reason) == ((POD, OTHER), DropReason.DROP_NONE)


@shows("15 two services of one selector")
def test_two_services_of_one_backend_are_told_apart_by_the_source_port(node: Datapath) -> None:
    node.service(VIP, 80, [(OTHER, 8080, True)])
    node.service(VIP, 81, [(OTHER, 8080, True)])
    one = node.run("pod_ingress", frame(POD, VIP, syn(dport=80))).packet
    two = node.run("pod_ingress", frame(POD, VIP, syn(dport=81))).packet
    assert ports(one)[0] == 40000
    assert ports(two)[0] != 40000
    for handed, port in ((one, 80), (two, 81)):
        back = node.run("pod_egress", reply(handed, "SA")).packet
        assert (addresses(back), ports(back)) == ((VIP, POD), (port, 40000))


def test_a_second_service_takes_over_a_closed_connections_ports(node: Datapath) -> None:
    node.service(VIP, 80, [(OTHER, 8080, True)])
    node.service(VIP, 81, [(OTHER, 8080, True)])
    life(node, POD, VIP, "closed by the client")
    two = node.run("pod_ingress", frame(POD, VIP, syn(dport=81))).packet
    assert ports(two) == (40000, 8080)
    assert node.tables["flows"].count() == 2
