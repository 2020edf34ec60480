"""Packets without a flow, and errors, are judged; who is denied, by whom and why, is kept and counted."""

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import (
    IPv6,
)
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Packet

from maps import abi
from maps.abi import NodeFlag
from tests.bpf.datapath import (
    CLIENT,
    OTHER,
    OTHER6,
    OTHER_MAC,
    POD,
    POD6,
    POD_LINK,
    POD_MAC,
    REMOTE,
    REMOTE6,
    TC_ACT_REDIRECT,
    addr,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import TOO_BIG, UNREACHABLE, addresses, answer, icmp_error, ports
from tests.bpf.policed import (
    BOTH,
    EGRESS,
    INGRESS,
    NONE,
    PAIRS,
    UNKNOWN,
    echo,
    one_cpu,
    policed,
    question,
    routes,
    sent,
    tcp,
)
from tests.bpf.rules import ACCEPT, ALL, DENY, EVERYBODY, NOTHING, Policed, said
from tests.bpf.rules import TCP as TCP_NUMBER
from tests.bpf.rules import UDP as UDP_NUMBER
from tests.bpf.test_fragment import fragments

__all__ = ["one_cpu", "policed", "routes"]

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


@pytest.mark.parametrize(("pod", "other", "own", "remote", "client"), BOTH)
@pytest.mark.parametrize(
    "kind", [pytest.param(None, id="ICMP that is no echo"), pytest.param(GRE(), id="another protocol")]
)
@pytest.mark.parametrize(
    ("rule", "passes"),
    [
        pytest.param(said(ACCEPT), True, id="a rule without ports"),
        pytest.param(said(DENY, *((of, 0, 65535, ACCEPT) for of in (6, 17, 132))), False, id="rules for every port"),
        pytest.param(said(ACCEPT, *((of, 0, 65535, DENY) for of in (6, 17, 132))), True, id="ports that are denied"),
    ],
)
def test_what_has_no_ports_is_judged_by_rules_without_ports(
    policed: Policed,
    pod: str,
    other: str,
    own: str,
    remote: str,
    client: str,
    kind: Packet | None,
    rule: abi.Rule,
    passes: bool,  # noqa: FBT001
) -> None:
    l4 = kind or question(pod)
    policed.pod(other, ingress={EVERYBODY: rule})
    policed.pod(pod, egress={EVERYBODY: rule})
    assert sent(policed, pod, remote, l4) is (NONE if passes else EGRESS)
    assert sent(policed, remote, other, l4) is (NONE if passes else INGRESS)
    assert sent(policed, client, other, l4) is (NONE if passes else INGRESS)
    assert sent(policed, own, other, l4) is NONE
    policed.pod(pod)
    assert sent(policed, pod, other, l4) is (NONE if passes else INGRESS)


@pytest.mark.parametrize(("pod", "other"), PAIRS)
@pytest.mark.parametrize(("port", "passes"), [pytest.param(53, True, id="allowed"), pytest.param(54, False, id="not")])
def test_later_fragments_have_their_first_one_s_verdict(
    policed: Policed,
    pod: str,
    other: str,
    port: int,
    passes: bool,  # noqa: FBT001
) -> None:
    policed.pod(other, ingress={EVERYBODY: said(DENY, (UDP_NUMBER, 53, 53, ACCEPT))})
    done = [policed.node.run("pod_ingress", each).verdict for each in fragments(pod, other, 7, dport=port)]
    assert len(done) > 2
    assert {verdict == TC_ACT_REDIRECT for verdict in done} == {passes}


@pytest.mark.parametrize(
    ("src", "dst", "l4", "ttl"),
    [
        pytest.param(POD, OTHER, syn(), 1, id="TTL 1"),
        pytest.param(POD6, OTHER6, syn(), 1, id="hop limit 1"),
        pytest.param(POD, OTHER, GRE(), 1, id="TTL 1 and no ports"),
        pytest.param(POD, CLIENT, datagram(), 1, id="traceroute"),
        pytest.param(POD, "224.0.0.251", datagram(dport=5353), 255, id="multicast"),
        pytest.param(POD6, "ff02::fb", datagram(dport=5353), 255, id="IPv6 multicast"),
        pytest.param(POD, "255.255.255.255", datagram(dport=67), 64, id="broadcast"),
        pytest.param(POD, "169.254.169.254", syn(), 64, id="a cloud's metadata"),
        pytest.param(POD6, "fe80::fe", syn(), 64, id="a link-local address"),
        pytest.param(POD_LINK, "fe80::fe", echo(POD6), 64, id="link-local to link-local"),
        pytest.param(POD6, "ff02::1", echo(POD6), 255, id="a ping of all on the link"),
    ],
)
def test_what_the_stack_would_take_is_judged_before(policed: Policed, src: str, dst: str, l4: Packet, ttl: int) -> None:
    assert sent(policed, src, dst, l4, ttl) is NONE
    policed.pod(POD, egress=NOTHING)
    assert sent(policed, src, dst, l4, ttl) is EGRESS


@pytest.mark.parametrize(("pod", "other"), PAIRS)
@pytest.mark.parametrize("kind", [UNREACHABLE, TOO_BIG], ids=["unreachable", "too big"])
def test_errors_about_an_allowed_flow_pass_both_ways(
    policed: Policed, pod: str, other: str, kind: dict[int, tuple[int, int]]
) -> None:
    policed.pod(pod, ingress=NOTHING, egress=ALL)
    policed.pod(other, ingress=ALL, egress=NOTHING)
    there = frame(pod, other, datagram())
    assert policed.node.run("pod_ingress", there).reason is NONE
    assert policed.node.run("pod_ingress", icmp_error(there, kind, other, mac=OTHER_MAC)).reason is NONE
    back = answer(there, OTHER_MAC)
    assert policed.node.run("pod_ingress", back).reason is NONE
    assert policed.node.run("pod_ingress", icmp_error(back, kind, pod, mac=POD_MAC)).reason is NONE
    router = "fd88::77" if ":" in pod else "10.88.0.77"
    assert policed.node.run("uplink_ingress", icmp_error(there, kind, router, mac=OTHER_MAC)).reason is NONE


@pytest.mark.parametrize(("pod", "other"), PAIRS)
def test_errors_about_a_flow_that_is_denied_or_unknown_are_packets_without_ports(
    policed: Policed, pod: str, other: str
) -> None:
    there = frame(pod, other, datagram())
    error = icmp_error(there, UNREACHABLE, other, mac=OTHER_MAC)
    policed.pod(other, egress=NOTHING)
    assert policed.node.run("pod_ingress", error).reason is EGRESS, "of no flow"
    policed.pod(other, ingress=ALL, egress=NOTHING)
    assert policed.node.run("pod_ingress", there).reason is NONE
    assert policed.node.run("pod_ingress", error).reason is NONE
    policed.pod(other, ingress=NOTHING, egress=NOTHING)
    assert policed.node.run("pod_ingress", error).reason is EGRESS, "of a flow that is denied by now"
    policed.pod(other, ingress=NOTHING, egress=ALL)
    assert policed.node.run("pod_ingress", error).reason is NONE, "its sender may send what has no ports"
    policed.pod(pod, ingress=NOTHING)
    assert policed.node.run("pod_ingress", error).reason is INGRESS


@pytest.mark.parametrize(
    ("pod", "other", "remote"),
    [pytest.param(POD, OTHER, REMOTE, id="IPv4"), pytest.param(POD6, OTHER6, REMOTE6, id="IPv6")],
)
def test_an_error_by_a_pod_that_is_no_end_of_the_flow_is_nobody_s(
    policed: Policed, pod: str, other: str, remote: str
) -> None:
    there = frame(pod, remote, datagram())
    assert policed.node.run("pod_ingress", there).reason is NONE
    policed.pod(other, egress=NOTHING)
    assert policed.node.run("pod_ingress", icmp_error(there, UNREACHABLE, other, mac=OTHER_MAC)).reason is EGRESS


@pytest.mark.parametrize(("pod", "other"), PAIRS)
def test_an_audited_pod_s_packets_pass_and_are_counted_and_kept(policed: Policed, pod: str, other: str) -> None:
    before = policed.counted(9, abi.Direction.DIRECTION_INGRESS)
    policed.pod(other, ingress={EVERYBODY: said(DENY, policy=9)}, audited=True)
    policed.forget_drops()
    assert sent(policed, pod, other, syn()) is NONE
    accepted, denied, audited = before
    assert policed.counted(9, abi.Direction.DIRECTION_INGRESS) == (accepted, denied, audited + 1)
    (kept,) = policed.drops()
    assert (kept.reason, kept.flags, kept.policy) == (INGRESS, abi.DropFlag.DROP_AUDITED, 9)
    assert (kept.sender, kept.receiver) == (policed.slot(pod), policed.slot(other))
    policed.pod(pod, egress=NOTHING)
    assert sent(policed, pod, other, syn(sport=40001)) is EGRESS, "who is not audited is judged as ever"


@pytest.mark.parametrize(("pod", "other"), PAIRS)
def test_what_is_audited_is_kept_under_the_policy_that_would_deny_it(policed: Policed, pod: str, other: str) -> None:
    policed.pod(pod, egress={EVERYBODY: said(DENY, policy=9)}, audited=True)
    policed.pod(other, ingress={EVERYBODY: said(ACCEPT, policy=3)})
    policed.forget_drops()
    assert sent(policed, pod, other, syn()) is NONE
    (kept,) = policed.drops()
    assert (kept.reason, kept.policy) == (EGRESS, 9), "not the other end's, which accepts"


@pytest.mark.parametrize(("pod", "other"), PAIRS)
def test_each_drop_is_kept_with_its_reason_ends_and_policy(policed: Policed, pod: str, other: str) -> None:
    policed.pod(pod, egress={EVERYBODY: said(DENY, policy=5)})
    policed.forget_drops()
    assert sent(policed, pod, other, syn()) is EGRESS
    policed.pod(pod)
    policed.pod(other, ingress={EVERYBODY: said(DENY, tcp(81, 81, DENY), policy=5, ports_of=6)})
    assert sent(policed, pod, other, syn(dport=81)) is INGRESS
    policed.pod(other, known=False)
    assert sent(policed, pod, other, syn(dport=82)) is UNKNOWN
    kept = {event.dport: event for event in policed.drops()}
    assert {port: (event.reason, event.flags) for port, event in kept.items()} == {
        80: (EGRESS, 0),
        81: (INGRESS, 0),
        82: (UNKNOWN, 0),
    }
    assert (kept[80].policy, kept[81].policy) == (5, 6)
    ends = {(event.src, event.dst, event.sender, event.receiver, event.protocol) for event in kept.values()}
    assert ends == {(addr(pod), addr(other), policed.slot(pod), policed.slot(other), TCP_NUMBER)}


def test_verdicts_are_counted_by_policy_and_direction(policed: Policed) -> None:
    both = list(abi.Direction)[:2]
    before = {(policy, way): policed.counted(policy, way) for policy in (3, 4) for way in both}
    policed.pod(POD, egress={EVERYBODY: said(ACCEPT, policy=3)})
    policed.pod(OTHER, ingress={EVERYBODY: said(DENY, tcp(80, 80), policy=3, ports_of=4)})
    assert sent(policed, POD, OTHER, syn(dport=80)) is NONE
    assert sent(policed, POD, OTHER, data(dport=80)) is NONE, "not judged again"
    assert sent(policed, POD, OTHER, syn(dport=81)) is INGRESS
    assert sent(policed, POD, OTHER, syn(dport=81)) is INGRESS
    more = {at: tuple(now - old for now, old in zip(policed.counted(*at), before[at], strict=True)) for at in before}
    assert more == {
        (3, abi.Direction.DIRECTION_EGRESS): (3, 0, 0),
        (3, abi.Direction.DIRECTION_INGRESS): (0, 2, 0),
        (4, abi.Direction.DIRECTION_INGRESS): (1, 0, 0),
        (4, abi.Direction.DIRECTION_EGRESS): (0, 0, 0),
    }


@pytest.mark.parametrize(("pod", "other", "own", "remote", "client"), BOTH)
def test_who_is_denied_is_told_where_that_is_asked_for(
    policed: Policed, pod: str, other: str, own: str, remote: str, client: str
) -> None:
    assert own
    policed.flags(NodeFlag.NODE_POLICY_REJECT, revision=2)
    policed.pod(pod, ingress=NOTHING, egress=NOTHING)
    bare = TCP(sport=40000, dport=80, flags="S", seq=1000)
    for program, src, dst, why in (
        ("pod_ingress", pod, remote, EGRESS),
        ("uplink_ingress", client, pod, INGRESS),
        ("pod_ingress", other, pod, INGRESS),
    ):
        mac = POD_MAC if src == pod else OTHER_MAC
        done = policed.node.run(program, frame(src, dst, bare, mac=mac))
        assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, why)
        assert (addresses(done.packet), ports(done.packet)) == ((dst, src), (80, 40000))
        assert str(done.packet[TCP].flags) == "RA"
        assert done.packet[Ether].dst == mac
        assert checksums_hold(done.packet)
        told = policed.node.run(program, frame(src, dst, datagram(), mac=mac))
        assert (told.verdict, told.reason) == (TC_ACT_REDIRECT, why)
        assert addresses(told.packet) == (dst, src)
        assert bytes(told.packet[IPv6 if ":" in pod else IP].payload)[:2] == bytes(UNREACHABLE[6 if ":" in pod else 4])


def test_a_pod_of_which_nothing_is_known_is_told_nothing(policed: Policed) -> None:
    policed.flags(NodeFlag.NODE_POLICY_REJECT, revision=2)
    policed.pod(POD, known=False)
    for src, dst in ((POD, OTHER), (OTHER, POD)):
        mac = POD_MAC if src == POD else OTHER_MAC
        done = policed.node.run("pod_ingress", frame(src, dst, syn(), mac=mac))
        assert (done.verdict != TC_ACT_REDIRECT, done.reason) == (True, UNKNOWN)
