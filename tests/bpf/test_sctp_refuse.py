"""SCTP to a service without endpoints is refused by ABORT, as by an end that has no such association."""

import pytest
from scapy.layers.l2 import Ether
from scapy.layers.sctp import (
    SCTP,
    SCTPChunkAbort,
    SCTPChunkCookieAck,
    SCTPChunkError,
    SCTPChunkHeartbeatReq,
    SCTPChunkInit,
    SCTPChunkShutdownAck,
    SCTPChunkShutdownComplete,
)
from scapy.packet import Packet

from maps.abi import DropReason, Scope
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    NODE,
    NODE6,
    POD,
    POD6,
    POD_MAC,
    TC_ACT_REDIRECT,
    VIP,
    VIP6,
    Datapath,
    checksums_hold,
    frame,
)
from tests.bpf.packets import addresses, ip_of
from tests.bpf.sctp import INIT_TAG, NODE_PORT, NUMBER, PORT, TAG, chunk_of, init, payload, ports, to

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

HOOKS = [
    pytest.param("pod_ingress", POD, VIP, PORT, id="a pod's"),
    pytest.param("pod_ingress", POD6, VIP6, PORT, id="a pod's, IPv6"),
    pytest.param("uplink_ingress", CLIENT, NODE, NODE_PORT, id="from outside"),
    pytest.param("uplink_ingress", CLIENT6, NODE6, NODE_PORT, id="from outside, IPv6"),
    pytest.param("uplink_egress", NODE, VIP, PORT, id="the node's own"),
    pytest.param("uplink_egress", NODE6, VIP6, PORT, id="the node's own, IPv6"),
]


def refused(node: Datapath, program: str, src: str, dst: str, port: int, l4: Packet) -> Packet | DropReason:
    """How a service without endpoints answers; or why it does not."""
    under = {NODE: "0.0.0.0", NODE6: "::"}.get(dst, dst)
    scope = Scope.SCOPE_EXTERNAL if program == "uplink_ingress" else Scope.SCOPE_INTERNAL
    node.service(under, port, [], protocol=NUMBER, scope=scope)
    done = node.run(program, frame(src, dst, l4))
    if done.verdict != TC_ACT_REDIRECT:
        return done.reason
    assert done.reason is DropReason.DROP_NO_BACKEND
    assert (addresses(done.packet), ports(done.packet)) == ((dst, src), (port, 40000))
    assert (done.packet[Ether].dst, done.packet[Ether].src) == (POD_MAC, GATEWAY_MAC)
    assert len(done.packet) == 14 + len(ip_of(done.packet))
    assert checksums_hold(done.packet)
    return done.packet


@pytest.mark.parametrize(("program", "src", "dst", "port"), HOOKS)
@pytest.mark.parametrize(
    ("chunk", "tag", "octets"),
    [
        pytest.param(init(), INIT_TAG, bytes((6, 0, 0, 4)), id="INIT: ABORT under the tag that it names"),
        pytest.param(payload(400), TAG, bytes((6, 1, 0, 4)), id="data: ABORT under its own tag"),
        pytest.param(SCTPChunkHeartbeatReq(), TAG, bytes((6, 1, 0, 4)), id="HEARTBEAT: the same"),
        pytest.param(SCTPChunkShutdownAck(), TAG, bytes((14, 1, 0, 4)), id="SHUTDOWN ACK: SHUTDOWN COMPLETE"),
    ],
)
def test_a_service_without_endpoints_answers_as_who_has_no_association(
    node: Datapath, program: str, src: str, dst: str, port: int, chunk: Packet, tag: int, octets: bytes
) -> None:
    found = refused(node, program, src, dst, port, to(port, chunk))
    assert isinstance(found, Packet)
    assert (found[SCTP].tag, chunk_of(found)) == (tag, octets)


@pytest.mark.parametrize(
    "l4",
    [
        pytest.param(to(PORT, SCTPChunkAbort()), id="ABORT"),
        pytest.param(to(PORT, SCTPChunkShutdownComplete()), id="SHUTDOWN COMPLETE"),
        pytest.param(to(PORT, SCTPChunkCookieAck()), id="COOKIE ACK"),
        pytest.param(to(PORT, SCTPChunkError()), id="ERROR"),
        pytest.param(to(PORT, SCTPChunkInit(init_tag=0)), id="INIT without a tag"),
    ],
)
def test_what_is_never_answered_is_not(node: Datapath, l4: Packet) -> None:
    assert refused(node, "pod_ingress", POD, VIP, PORT, l4) is DropReason.DROP_NO_BACKEND_SILENT


def test_an_address_of_services_at_a_port_that_none_has_is_refused(node: Datapath) -> None:
    node.service_address(VIP)
    done = node.run("pod_ingress", frame(POD, VIP, to(PORT, init())))
    assert (done.verdict, done.reason, chunk_of(done.packet)) == (
        TC_ACT_REDIRECT,
        DropReason.DROP_NO_SERVICE,
        bytes((6, 0, 0, 4)),
    )
