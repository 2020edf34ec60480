"""Connections of clients outside go on when their packets come in by another node than before."""

import pytest
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from maps.abi import FlowFlag, Scope, ServiceFlag
from tests.bpf.datapath import NODE, POD_MAC, TC_ACT_REDIRECT, Datapath, data, datagram, frame, syn
from tests.bpf.forwarding.cluster import (
    ASKED,
    ASKED_PORT,
    DSR,
    FAMILIES,
    FAR,
    NODE_PORT,
    ROUTER_MAC,
    TARGET,
    THIRD,
    WAYS,
    Family,
    asked,
    flags_of,
    inside,
    offer,
    outer,
    telling,
    told,
    wrapped,
)
from tests.bpf.packets import addresses, answer, ports

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


def offered_here(node: Datapath, family: Family, flags: ServiceFlag, port: int = ASKED_PORT) -> None:
    """The service that the other node was asked for, whose backend is this node's pod."""
    backend, asked_for = (family.pod, TARGET, True), ASKED[family.version]
    node.service(asked_for, port, [backend], scope=Scope.SCOPE_EXTERNAL, flags=flags)


def to_service(family: Family, l4: Packet) -> Packet:
    """What the client sends, as the network brings it to this node."""
    return frame(family.client, ASKED[family.version], l4, mac=ROUTER_MAC)


@FAMILIES
def test_a_connection_whose_first_node_is_gone_goes_on_by_the_pods_own(made: Datapath, family: Family) -> None:
    """With `dsr`: with `tunnel` nobody here knows of which service it is."""
    offered_here(made, family, DSR)
    made.run("uplink_ingress", wrapped(telling(family, syn(dport=TARGET))))
    for segment in ("PA", "A"):
        done = made.run("uplink_ingress", to_service(family, data(dport=ASKED_PORT, flags=segment)))
        assert (done.verdict, done.packet[Ether].dst) == (TC_ACT_REDIRECT, POD_MAC)
        assert (addresses(done.packet), ports(done.packet)) == ((family.client, family.pod), (40000, TARGET))
        back = made.run("pod_ingress", answer(done.packet, POD_MAC, "A"))
        assert (addresses(back.packet), ports(back.packet)) == (
            (ASKED[family.version], family.client),
            (ASKED_PORT, 40000),
        )
    assert flags_of(made) == {FlowFlag.FLOW_FORWARD, FlowFlag.FLOW_REVERSE}
    assert made.tables["flows"].count() == 2


@WAYS
@FAMILIES
def test_a_connection_of_the_pods_own_node_goes_on_by_another(
    made: Datapath, family: Family, flags: ServiceFlag
) -> None:
    offered_here(made, family, flags)
    made.run("uplink_ingress", to_service(family, syn(dport=ASKED_PORT)))
    for node in (FAR, THIRD):
        later = frame(family.client, family.pod, data(dport=TARGET, flags="PA"))
        done = made.run("uplink_ingress", wrapped(later, node))
        assert (done.verdict, done.packet[Ether].dst) == (TC_ACT_REDIRECT, POD_MAC)
        assert (addresses(done.packet), ports(done.packet)) == ((family.client, family.pod), (40000, TARGET))
        back = made.run("pod_ingress", answer(done.packet, POD_MAC, "A"))
        assert (back.verdict, addresses(back.packet)) == (TC_ACT_REDIRECT, (ASKED[family.version], family.client))
        assert ports(back.packet) == (ASKED_PORT, 40000)


@WAYS
@FAMILIES
def test_a_connection_under_way_that_comes_in_here_goes_to_its_pod(
    made: Datapath, family: Family, flags: ServiceFlag
) -> None:
    """Another node had it before, of which nothing is known here; the pod's node knows the service already."""
    offer(made, family, flags)
    done = made.run("uplink_ingress", asked(family, data(dport=NODE_PORT, flags="PA")))
    assert (done.verdict, outer(done.packet)) == (TC_ACT_REDIRECT, (NODE, FAR))
    inner = inside(done.packet)
    assert (addresses(inner), ports(inner)) == ((family.client, family.remote), (40000, TARGET))
    assert told(inner) is None


@FAMILIES
@pytest.mark.parametrize("segment", ["S", "PA"], ids=["opens", "goes on"])
def test_a_connection_to_another_service_takes_no_other_ones_place(
    made: Datapath, family: Family, segment: str
) -> None:
    offered_here(made, family, DSR, ASKED_PORT + 1)
    made.run("uplink_ingress", wrapped(telling(family, syn(dport=TARGET))))
    done = made.run("uplink_ingress", to_service(family, data(dport=ASKED_PORT + 1, flags=segment)))
    assert addresses(done.packet) == (family.client, family.pod)
    assert ports(done.packet)[0] != 40000
    back = made.run("pod_ingress", frame(family.pod, family.client, data(sport=TARGET, dport=40000, flags="A")))
    assert (addresses(back.packet), ports(back.packet)) == (
        (ASKED[family.version], family.client),
        (ASKED_PORT, 40000),
    )


@FAMILIES
def test_a_client_that_asks_another_service_is_answered_by_that(ipip: Datapath, family: Family) -> None:
    for port in (ASKED_PORT, ASKED_PORT + 1):
        done = ipip.run("uplink_ingress", wrapped(telling(family, datagram(dport=TARGET), port=port)))
        back = ipip.run("pod_ingress", answer(done.packet, POD_MAC))
        assert ports(back.packet) == (port, 40000)
    assert flags_of(ipip) == {FlowFlag.FLOW_REVERSE | FlowFlag.FLOW_DSR}
