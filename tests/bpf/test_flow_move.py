"""While flows are carried to other maps no connection begins with what goes on with one that is not known."""

import time
from dataclasses import replace

import pytest
from scapy.layers.inet import TCP
from scapy.packet import Packet

from maps import abi
from maps.abi import DropReason, FlowFlag, Scope
from tests.bpf.datapath import (
    CLIENT,
    NODE,
    OTHER,
    POD,
    REMOTE,
    TC_ACT_UNSPEC,
    VIP,
    XDP_PASS,
    Datapath,
    data,
    datagram,
    frame,
    syn,
)

pytestmark = pytest.mark.kernel

NODE_PORT = 30080
LONG = 1000  # units of a second and a bit; the agent says a few


def says(node: Datapath, left_s: int) -> None:
    """What the agent says: flows move for so long; negative: they did."""
    until_s = (time.monotonic_ns() >> abi.SEEN_BITS) + left_s
    node.tables["flow_moves"].update([(0, abi.FlowMove(until_s))])


@pytest.fixture
def moving(node: Datapath) -> Datapath:
    """A node whose flows are on their way."""
    node.service(VIP, 80, [(REMOTE, 8080, False)])
    node.service(NODE, NODE_PORT, [(REMOTE, 8080, False)], scope=Scope.SCOPE_EXTERNAL)
    says(node, LONG)
    return node


ANSWER = TCP(sport=80, dport=40000, flags="SA")


@pytest.mark.parametrize(
    ("program", "src", "dst", "segment"),
    [
        pytest.param("pod_ingress", POD, VIP, data(), id="a pod goes on with a service"),
        pytest.param("pod_ingress", POD, OTHER, ANSWER, id="a pod answers a pod"),
        pytest.param("pod_ingress", POD, CLIENT, data(), id="a pod goes on outside"),
        pytest.param("uplink_ingress", CLIENT, NODE, data(dport=NODE_PORT), id="a client goes on with a node port"),
        pytest.param("uplink_ingress", CLIENT, POD, ANSWER, id="somebody answers a pod"),
        pytest.param("uplink_egress", NODE, VIP, data(), id="the node goes on with a service"),
    ],
)
def test_what_goes_on_is_dropped_and_stored_nowhere(
    moving: Datapath, program: str, src: str, dst: str, segment: Packet
) -> None:
    done = moving.run(program, frame(src, dst, segment))
    assert done.reason is DropReason.DROP_FLOW_MOVES
    assert moving.tables["flows"].count() == 0
    says(moving, -2)
    assert moving.run(program, frame(src, dst, segment)).reason is not DropReason.DROP_FLOW_MOVES


@pytest.mark.parametrize("segment", [syn(), datagram(dport=80)], ids=["SYN", "UDP"])
def test_what_begins_begins(moving: Datapath, segment: Packet) -> None:
    moving.service(VIP, 80, [(REMOTE, 8080, False)], protocol=17)
    assert moving.run("pod_ingress", frame(POD, VIP, segment)).reason is DropReason.DROP_NONE
    assert moving.tables["flows"].count() == 2


def test_what_would_have_another_port_waits(moving: Datapath) -> None:
    """A flow that is on its way may have that port."""
    asked = frame(CLIENT, NODE, syn(dport=NODE_PORT))
    assert moving.run("uplink_ingress", asked).reason is DropReason.DROP_FLOW_MOVES
    assert moving.tables["flows"].count() == 0
    says(moving, -2)
    moving.run("uplink_ingress", asked)
    assert moving.tables["flows"].count() == 2


def test_what_the_node_itself_answers_waits(moving: Datapath) -> None:
    """A program that does not know the flow yet would let the answer go as it is, from the backend's port."""
    moving.service(VIP, 81, [(NODE, 8080, True)])
    moving.service(NODE, 30081, [(NODE, 8080, True)], scope=Scope.SCOPE_EXTERNAL)
    for program, asked in (
        ("pod_ingress", frame(POD, VIP, syn(dport=81))),
        ("uplink_ingress", frame(CLIENT, NODE, syn(dport=30081))),
    ):
        assert moving.run(program, asked).reason is DropReason.DROP_FLOW_MOVES
    assert moving.tables["flows"].count() == 0


def test_a_connection_that_is_known_goes_on(moving: Datapath) -> None:
    moving.run("pod_ingress", frame(POD, VIP, syn()))
    assert moving.run("pod_ingress", frame(POD, VIP, data())).reason is DropReason.DROP_NONE


def test_the_nodes_own_connections_go_on(moving: Datapath) -> None:
    """They have no entries; a port that only the node can have is no translated flow's."""
    assert moving.run("uplink_ingress", frame(CLIENT, NODE, data(dport=45000))).verdict == TC_ACT_UNSPEC
    assert moving.run("pod_ingress", frame(POD, NODE, data())).reason is DropReason.DROP_NONE


def test_xdp_leaves_it_to_tc(moving: Datapath) -> None:
    assert moving.run("uplink_xdp", frame(CLIENT, NODE, data(dport=NODE_PORT))).verdict == XDP_PASS
    assert moving.tables["flows"].count() == 0


def test_what_opens_a_connection_by_one_half_of_a_pair_waits_for_the_other(moving: Datapath) -> None:
    """Alone it is not closed: its backend would be asked, answer past it, and the whole pair begin anew elsewhere."""
    moving.run("pod_ingress", frame(POD, VIP, syn()))
    moving.run("pod_ingress", frame(POD, VIP, data(flags="FA")))
    flows = moving.tables["flows"]
    ((key, reverse),) = [(key, flow) for key, flow in flows.items() if flow.flags & FlowFlag.FLOW_REVERSE]
    flows.delete([key])
    assert moving.run("pod_ingress", frame(POD, VIP, data())).reason is DropReason.DROP_NONE
    assert moving.run("pod_ingress", frame(POD, VIP, syn())).reason is DropReason.DROP_FLOW_MOVES
    assert flows.count() == 1
    flows.update([(key, replace(reverse, flags=reverse.flags | FlowFlag.FLOW_FIN_REPLY))])
    assert moving.run("pod_ingress", frame(POD, VIP, syn())).reason is DropReason.DROP_NONE
    assert not any(flow.flags & FlowFlag.FLOW_FIN_REPLY for _, flow in flows.items()), "it begins anew"


def test_half_a_pair_whose_other_half_never_came_is_no_flow(moving: Datapath) -> None:
    says(moving, -2)
    moving.run("pod_ingress", frame(POD, VIP, syn()))
    flows = moving.tables["flows"]
    flows.delete([key for key, flow in flows.items() if flow.flags & FlowFlag.FLOW_REVERSE])
    assert moving.run("pod_ingress", frame(POD, VIP, syn())).reason is DropReason.DROP_NONE
    assert flows.count() == 2, "both halves"
