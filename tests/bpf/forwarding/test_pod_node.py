"""At the pod's node: answers to clients outside go by the first node, or straight to them as from the service."""

import time

import pytest
from scapy.layers.inet import ICMP, TCP
from scapy.layers.inet6 import ICMPv6PacketTooBig
from scapy.layers.l2 import Ether

from maps import abi
from maps.abi import DropReason, FlowFlag, NodeFlag
from tests.bpf.datapath import (
    NODE,
    POD_MAC,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    TC_ACT_UNSPEC,
    Datapath,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.forwarding.cluster import (
    ASKED,
    ASKED_PORT,
    CLIENTS,
    FAMILIES,
    FAR,
    MTU,
    ROUTER,
    ROUTER_MAC,
    STRANGER,
    TARGET,
    THIRD,
    TRANSPORTS,
    UDP_HEADERS,
    Family,
    Kind,
    cluster,
    flags_of,
    inside,
    outer,
    telling,
    told,
    wrapped,
)
from tests.bpf.packets import (
    TOO_BIG,
    UNREACHABLE,
    addresses,
    answer,
    icmp_error,
    icmp_sum_holds,
    ip_of,
    ports,
    quoted_by,
)
from tests.bpf.rules import ACCEPT, DENY, EVERYBODY, Policed, said

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


@TRANSPORTS
@FAMILIES
def test_the_pod_answers_by_the_node_that_asked(made: Datapath, family: Family, kind: Kind) -> None:
    sent = frame(family.client, family.pod, kind(dport=TARGET))
    done = made.run("uplink_ingress", wrapped(sent))
    assert (done.verdict, done.packet[Ether].dst) == (TC_ACT_REDIRECT, POD_MAC)
    assert addresses(done.packet) == (family.client, family.pod)
    back = made.run("pod_ingress", answer(done.packet, POD_MAC))
    assert (back.verdict, outer(back.packet)) == (TC_ACT_REDIRECT, (NODE, FAR))
    assert addresses(inside(back.packet)) == (family.pod, family.client)
    assert checksums_hold(back.packet)


@TRANSPORTS
@FAMILIES
def test_the_pods_node_answers_as_the_service(made: Datapath, family: Family, kind: Kind) -> None:
    sent = frame(family.client, family.pod, kind(dport=TARGET), mac=ROUTER_MAC)
    done = made.run("uplink_ingress", wrapped(telling(family, kind(dport=TARGET))))
    assert (done.verdict, done.packet[Ether].dst) == (TC_ACT_REDIRECT, POD_MAC)
    assert bytes(ip_of(done.packet).payload)[:16] == bytes(ip_of(sent).payload)[:16]  # TCP's before sum and options
    assert (addresses(done.packet), len(done.packet), told(done.packet)) == (addresses(sent), len(sent), None)
    assert checksums_hold(done.packet)
    for _ in range(2):  # with what follows, which tells nothing
        back = made.run("pod_ingress", answer(done.packet, POD_MAC))
        assert (back.verdict, addresses(back.packet)) == (TC_ACT_REDIRECT, (ASKED[family.version], family.client))
        assert ports(back.packet) == (ASKED_PORT, 40000)
        assert checksums_hold(back.packet)
        made.run("uplink_ingress", wrapped(frame(family.client, family.pod, data(dport=TARGET, flags="A"))))
    assert made.tables["flows"].count() == (1 if kind is syn else 2)


@FAMILIES
def test_the_pods_first_segment_promises_what_the_tunnel_carries(made: Datapath, family: Family) -> None:
    """What the client sends comes by it, whichever way the answers go."""
    done = made.run("uplink_ingress", wrapped(telling(family, syn(dport=TARGET))))
    back = made.run("pod_ingress", answer(done.packet, POD_MAC))
    assert dict(back.packet[TCP].options[:1]) == {"MSS": MTU - (40 if family.version == 4 else 60)}


@FAMILIES
@pytest.mark.parametrize("how", ["natively", "from who is no node", "by a pod"])
def test_only_a_node_says_which_service_was_asked(ipip: Datapath, family: Family, how: str) -> None:
    packet = telling(family, datagram(dport=TARGET), src=family.other if how == "by a pod" else "")
    if how == "from who is no node":
        packet = wrapped(packet, STRANGER)
        done = ipip.run("uplink_ingress", packet)
        assert (done.verdict, bytes(done.packet)) == (TC_ACT_UNSPEC, bytes(packet))
        assert ipip.tables["flows"].count() == 0
        return
    ipip.run("pod_ingress" if how == "by a pod" else "uplink_ingress", packet)
    back = ipip.run("pod_ingress", frame(family.pod, family.client, datagram(TARGET, 40000)))
    assert family.pod in addresses(back.packet)
    assert not any(flags & FlowFlag.FLOW_DSR for flags in flags_of(ipip))


@FAMILIES
@pytest.mark.parametrize("with_option", [False, True], ids=["tunnel", "dsr"])
def test_a_node_speaks_for_who_is_outside_and_to_our_pods_alone(
    made: Datapath, family: Family, *, with_option: bool
) -> None:
    made.service_address(family.vip)
    theirs = ("10.244.3.9", "10.244.2.99") if family.version == 4 else ("fd00:3::9", "fd00:2::99")
    senders = [family.pod, family.other, family.own, family.third, theirs[0], family.vip]
    senders += ["127.0.0.1", "224.0.0.5"] if family.version == 4 else ["::1", "ff02::5", "fe80::7"]
    for src in senders:
        inner = telling(family, datagram(), src=src) if with_option else frame(src, family.pod, datagram())
        done = made.run("uplink_ingress", wrapped(inner))
        assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_TUNNEL_INNER), src
    for dst in (family.own, family.remote, theirs[1], ROUTER[family.version]):
        done = made.run("uplink_ingress", wrapped(frame(family.client, dst, datagram())))
        assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_TUNNEL_INNER), dst
    assert made.tables["flows"].count() == 0


@FAMILIES
def test_answers_follow_the_client_to_another_node(ipip: Datapath, family: Family) -> None:
    """As when the one that it asked is gone, and the network leads to another."""
    packet = frame(family.client, family.pod, data(dport=TARGET))
    for node in (FAR, THIRD, FAR):
        done = ipip.run("uplink_ingress", wrapped(packet, node))
        back = ipip.run("pod_ingress", answer(done.packet, POD_MAC, "A"))
        assert outer(back.packet) == (NODE, node)
    assert ipip.tables["flows"].count() == 1


@FAMILIES
def test_flows_are_what_they_were_after_a_change_of_the_node(made: Datapath, carrier: int, family: Family) -> None:
    told_of = made.run("uplink_ingress", wrapped(telling(family, syn(sport=40001, dport=TARGET))))
    plain = made.run("uplink_ingress", wrapped(frame(family.client, family.pod, syn(dport=TARGET))))
    made.node(revision=2, tunnel=carrier, flags=NodeFlag.NODE_IPIP)
    made.forget_locations()
    back = made.run("pod_ingress", answer(plain.packet, POD_MAC))
    assert (outer(back.packet), addresses(inside(back.packet))) == ((NODE, FAR), (family.pod, family.client))
    back = made.run("pod_ingress", answer(told_of.packet, POD_MAC))
    assert (addresses(back.packet), ports(back.packet)) == ((ASKED[family.version], family.client), (ASKED_PORT, 40001))


@FAMILIES
def test_while_flows_move_to_other_maps_a_connections_packet_begins_none(ipip: Datapath, family: Family) -> None:
    until_s = (time.monotonic_ns() >> abi.SEEN_BITS) + 1000
    ipip.tables["flow_moves"].update([(0, abi.FlowMove(until_s))])
    late = ipip.run("uplink_ingress", wrapped(frame(family.client, family.pod, data(dport=TARGET))))
    assert late.reason == DropReason.DROP_FLOW_MOVES
    for inner in (telling(family, syn(dport=TARGET)), frame(family.client, family.pod, datagram(dport=TARGET))):
        assert ipip.run("uplink_ingress", wrapped(inner)).verdict == TC_ACT_REDIRECT


@FAMILIES
def test_a_full_table_lets_no_answer_out_as_the_pods(one_bucket: Datapath, carrier: int, family: Family) -> None:
    cluster(one_bucket, carrier, natively=False)
    one_bucket.fill_flows(0)
    for inner in (telling(family, datagram()), frame(family.client, family.pod, datagram())):
        done = one_bucket.run("uplink_ingress", wrapped(inner))
        assert done.reason == DropReason.DROP_CONNTRACK_FULL


@FAMILIES
@pytest.mark.parametrize("with_option", [False, True], ids=["tunnel", "dsr"])
def test_the_pods_error_about_what_it_was_sent_goes_as_its_answers(
    made: Datapath, family: Family, *, with_option: bool
) -> None:
    sent = datagram(dport=TARGET)
    inner = telling(family, sent) if with_option else frame(family.client, family.pod, sent)
    done = made.run("uplink_ingress", wrapped(inner))
    back = made.run("pod_ingress", icmp_error(done.packet, UNREACHABLE, family.pod))
    if with_option:
        assert addresses(back.packet) == (ASKED[family.version], family.client)
        assert ports(quoted_by(back.packet)) == (40000, ASKED_PORT)
        assert icmp_sum_holds(back.packet)
    else:
        assert outer(back.packet) == (NODE, FAR)
        assert addresses(inside(back.packet)) == (family.pod, family.client)


@FAMILIES
@pytest.mark.parametrize("with_option", [False, True], ids=["tunnel", "dsr"])
def test_an_error_about_an_answer_reaches_the_pod(made: Datapath, family: Family, *, with_option: bool) -> None:
    sent = syn(dport=TARGET)
    made.run(
        "uplink_ingress", wrapped(telling(family, sent) if with_option else frame(family.client, family.pod, sent))
    )
    about = frame(family.pod, family.client, data(sport=TARGET, dport=40000))
    error = icmp_error(about, TOO_BIG, ROUTER[family.version], mac=ROUTER_MAC)
    done = made.run("uplink_ingress", wrapped(error))
    assert (done.verdict, done.packet[Ether].dst) == (TC_ACT_REDIRECT, POD_MAC)
    assert addresses(done.packet) == (ROUTER[family.version], family.pod)
    assert (quoted_by(done.packet).src, ports(quoted_by(done.packet))) == (family.pod, (TARGET, 40000))


@FAMILIES
@pytest.mark.parametrize("with_option", [False, True], ids=["tunnel", "dsr"])
def test_policy_at_the_pod_judges_the_clients_own_address(
    made: Datapath, carrier: int, family: Family, *, with_option: bool
) -> None:
    """What is dropped begins no flow, and so it is when a flow's pod has other rules."""
    policed = Policed(made)
    made.node(tunnel=carrier, flags=NodeFlag.NODE_IPIP | NodeFlag.NODE_POLICY)
    policed.peer(family.client, CLIENTS)
    sent = datagram(dport=TARGET)
    packet = wrapped(telling(family, sent) if with_option else frame(family.client, family.pod, sent))
    slot = policed.slot(family.pod)
    held = made.tables["attachments"].get(slot)
    try:
        for verdict, reason in ((DENY, DropReason.DROP_POLICY_INGRESS), (ACCEPT, DropReason.DROP_NONE)) * 2:
            policed.pod(
                family.pod, ingress={EVERYBODY: said(DENY if verdict == ACCEPT else ACCEPT), CLIENTS: said(verdict)}
            )
            assert made.run("uplink_ingress", packet).reason == reason
    finally:
        made.tables["attachments"].update([(slot, held)])
        made.tables["pod_policies"].update([(slot, abi.PodPolicy(0, 0, abi.PodPolicyFlag(0), 0))])


@FAMILIES
def test_a_pod_is_told_what_fits_the_way_back(made: Datapath, family: Family) -> None:
    """Where its interface carries more than the tunnel, as --mtu may have it."""
    done = made.run("uplink_ingress", wrapped(frame(family.client, family.pod, datagram(dport=TARGET))))
    size = MTU - UDP_HEADERS[family.version] + 1
    back = frame(family.pod, family.client, datagram(TARGET, 40000, size))
    assert addresses(done.packet) == (family.client, family.pod)
    told_so = made.run("pod_ingress", back)
    assert told_so.reason == DropReason.DROP_TOO_BIG
    assert addresses(told_so.packet) == (family.client, family.pod)
    icmp = told_so.packet
    assert (icmp[ICMP].nexthopmtu if family.version == 4 else icmp[ICMPv6PacketTooBig].mtu) == MTU
