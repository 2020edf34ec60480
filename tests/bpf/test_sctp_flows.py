"""SCTP is tracked by its chunks: what begins an association, how long it is kept, and when it is over."""

import pytest
from scapy.layers.sctp import (
    SCTPChunkAbort,
    SCTPChunkHeartbeatReq,
    SCTPChunkInitAck,
    SCTPChunkShutdown,
    SCTPChunkShutdownAck,
)
from scapy.packet import Packet

from maps.abi import DropReason, NodeFlag, Scope
from tests.bpf.datapath import OTHER, POD, TC_ACT_SHOT, VIP, Datapath, checksums_hold, frame
from tests.bpf.packets import addresses
from tests.bpf.sctp import (
    BACKEND_PORT,
    FAMILIES,
    NODE_PORT,
    NUMBER,
    PORT,
    Family,
    answer,
    device,
    init,
    payload,
    ports,
    to,
)
from tests.bpf.test_flow_move import says
from tests.bpf.test_gc import age, left

__all__ = ["device"]

pytestmark = [pytest.mark.kernel, pytest.mark.netns, pytest.mark.usefixtures("undisturbed")]

STRAY = [
    pytest.param(SCTPChunkHeartbeatReq(), id="HEARTBEAT, as of another path of an association"),
    pytest.param(SCTPChunkInitAck(), id="INIT ACK"),
    pytest.param(SCTPChunkAbort(), id="ABORT"),
]


@FAMILIES
@pytest.mark.parametrize("chunk", STRAY)
def test_what_begins_no_association_is_translated_nowhere(
    node: Datapath, device: int, f: Family, chunk: Packet
) -> None:
    node.node(flags=NodeFlag.NODE_MASQUERADE)
    node.service(f.under, NODE_PORT, [(f.backend, BACKEND_PORT, True)], protocol=NUMBER, scope=Scope.SCOPE_EXTERNAL)
    node.service(f.vip, PORT, [(f.backend, BACKEND_PORT, True)], protocol=NUMBER)
    for program, src, dst, port in (
        ("uplink_ingress", f.client, f.own, NODE_PORT),
        ("pod_ingress", f.pod, f.vip, PORT),
        ("pod_ingress", f.pod, f.client, PORT),
    ):
        done = node.run(program, frame(src, dst, to(port, chunk)), device if program.startswith("uplink") else 1)
        assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_STRAY_SEGMENT)
    assert left(node) == 0


@FAMILIES
def test_what_goes_on_after_its_flow_was_lost_has_a_backend(node: Datapath, f: Family) -> None:
    node.service(f.vip, PORT, [(f.backend, BACKEND_PORT, True)], protocol=NUMBER)
    done = node.run("pod_ingress", frame(f.pod, f.vip, to(PORT, payload())))
    assert (addresses(done.packet), checksums_hold(done.packet)) == ((f.pod, f.backend), True)


@FAMILIES
def test_an_association_stays_with_a_backend_that_left_and_a_new_one_does_not(node: Datapath, f: Family) -> None:
    set_id = node.service(f.vip, PORT, [(f.backend, BACKEND_PORT, True)], protocol=NUMBER)
    node.run("pod_ingress", frame(f.pod, f.vip, to(PORT, init())))
    node.backends(set_id, [(f.backend, BACKEND_PORT + 1, True)])
    node.node(revision=2)
    assert ports(node.run("pod_ingress", frame(f.pod, f.vip, to(PORT, payload()))).packet)[1] == BACKEND_PORT
    other = frame(f.pod, f.vip, to(PORT, init(), sport=40001))
    assert ports(node.run("pod_ingress", other).packet)[1] == BACKEND_PORT + 1


def test_what_goes_on_waits_while_flows_move(node: Datapath) -> None:
    node.service(VIP, PORT, [(OTHER, BACKEND_PORT, True)], protocol=NUMBER)
    says(node, 3)
    assert node.run("pod_ingress", frame(POD, VIP, to(PORT, payload()))).reason is DropReason.DROP_FLOW_MOVES
    assert node.run("pod_ingress", frame(POD, VIP, to(PORT, init()))).reason is DropReason.DROP_NONE


SHUTDOWN, ABORT = SCTPChunkShutdown(), SCTPChunkAbort()
STATES = [
    pytest.param([init()], [], 60, id="unanswered: a minute"),
    pytest.param([init()], [SCTPChunkInitAck()], 210, id="answered: three minutes and a half"),
    pytest.param([init(), SHUTDOWN], [SCTPChunkInitAck()], 210, id="one end shuts down: the same"),
    pytest.param([init(), SHUTDOWN], [SCTPChunkInitAck(), SCTPChunkShutdownAck()], 10, id="both have: ten seconds"),
    pytest.param([init(), ABORT], [SCTPChunkInitAck()], 60, id="aborted: a minute"),
    pytest.param([init()], [ABORT], 10, id="refused: ten seconds"),
]


@pytest.mark.parametrize(("asked", "answered", "timeout_s"), STATES)
def test_a_flow_ends_after_the_time_of_its_state(
    node: Datapath, asked: list[Packet], answered: list[Packet], timeout_s: int
) -> None:
    node.service(VIP, PORT, [(OTHER, BACKEND_PORT, True)], protocol=NUMBER)
    handed = node.run("pod_ingress", frame(POD, VIP, to(PORT, asked[0]))).packet
    for chunk in answered[:1]:
        node.run("pod_egress", answer(handed, chunk))
    for chunk in asked[1:]:
        node.run("pod_ingress", frame(POD, VIP, to(PORT, chunk)))
    for chunk in answered[1:]:
        node.run("pod_egress", answer(handed, chunk))
    age(node, timeout_s - 2)
    node.gc()
    assert left(node) == 2
    age(node, 4)
    node.gc()
    assert left(node) == 0


def test_an_association_that_is_over_begins_anew_with_another_backend(node: Datapath) -> None:
    set_id = node.service(VIP, PORT, [(OTHER, BACKEND_PORT, True)], protocol=NUMBER)
    handed = node.run("pod_ingress", frame(POD, VIP, to(PORT, init()))).packet
    node.run("pod_egress", answer(handed, ABORT))
    node.backends(set_id, [(OTHER, BACKEND_PORT + 1, True)])
    assert ports(node.run("pod_ingress", frame(POD, VIP, to(PORT, init()))).packet)[1] == BACKEND_PORT + 1
