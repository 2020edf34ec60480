"""Who may speak to whom is judged at both ends' pods, each by its own rules; unknown pods pass nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet6 import (
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from maps import abi
from maps.abi import DropReason
from tests.bpf.datapath import (
    GATEWAY_MAC,
    NODE,
    NODE6,
    OTHER,
    POD,
    POD6,
    POD_LINK,
    POD_MAC,
    REMOTE,
    REMOTE6,
    datagram,
    frame,
    syn,
)
from tests.bpf.policed import (
    BOTH,
    EGRESS,
    FIRST,
    INGRESS,
    NONE,
    PAIRS,
    SECOND,
    SERVED,
    TRANSPORTS,
    UNKNOWN,
    echo,
    one_cpu,
    policed,
    routes,
    sctp,
    sent,
    tcp,
)
from tests.bpf.rules import ACCEPT, ALL, DENY, EVERYBODY, NOTHING, Policed, said
from tests.bpf.rules import SCTP as SCTP_NUMBER
from tests.bpf.rules import TCP as TCP_NUMBER
from tests.bpf.rules import UDP as UDP_NUMBER

__all__ = ["one_cpu", "policed", "routes"]

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


@pytest.mark.parametrize(("pod", "other", "own", "remote", "client"), BOTH)
@pytest.mark.parametrize("l4", [*TRANSPORTS, pytest.param(None, id="ICMP")])
def test_a_pod_of_which_nothing_is_known_sends_and_gets_nothing(
    policed: Policed, pod: str, other: str, own: str, remote: str, client: str, l4: Callable[[], Packet] | None
) -> None:
    policed.pod(pod, known=False)
    kind = l4() if l4 else echo(pod)
    for peer in (other, own, remote, client):
        assert sent(policed, pod, peer, kind) is UNKNOWN
        assert sent(policed, peer, pod, kind) is UNKNOWN
    assert sent(policed, other, remote, kind) is NONE


@pytest.mark.parametrize(("pod", "other", "vip"), SERVED)
def test_nor_does_it_by_a_service(policed: Policed, pod: str, other: str, vip: str) -> None:
    policed.node.service(vip, 80, [(other, 8080, True)])
    policed.pod(pod, known=False)
    assert sent(policed, pod, vip, syn()) is UNKNOWN
    policed.pod(pod)
    policed.pod(other, known=False)
    assert sent(policed, pod, vip, syn(sport=40001)) is UNKNOWN


LINK = [
    pytest.param(Ether(src=POD_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=POD_MAC, psrc=POD, pdst=NODE), id="ARP"),
    pytest.param(
        frame(POD6, "ff02::1:ff00:11", ICMPv6ND_NS(tgt=NODE6) / ICMPv6NDOptSrcLLAddr(lladdr=POD_MAC), ttl=255),
        id="a solicitation",
    ),
    pytest.param(
        frame(POD_LINK, NODE6, ICMPv6ND_NS(tgt=NODE6) / ICMPv6NDOptSrcLLAddr(lladdr=POD_MAC), ttl=255),
        id="a probe of a known neighbour",
    ),
    pytest.param(frame(POD6, NODE6, ICMPv6ND_NA(tgt=POD6, R=0), ttl=255), id="an advertisement"),
    pytest.param(frame("::", "ff02::1:ff00:2", ICMPv6ND_NS(tgt=POD6), ttl=255), id="is my address free"),
    pytest.param(frame(POD_LINK, "ff02::16", ICMPv6MLReport2(), ttl=1), id="a listener's report"),
]


@pytest.mark.parametrize("packet", LINK)
def test_but_it_finds_its_neighbours(policed: Policed, packet: Packet) -> None:
    policed.pod(POD, known=False)
    assert policed.node.run("pod_ingress", bytes(packet)).reason is NONE


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(Ether(src=GATEWAY_MAC, dst=POD_MAC) / ARP(op=2, psrc=NODE, pdst=POD), id="an answer of ARP"),
        pytest.param(frame("fe80::fe", POD6, ICMPv6ND_NA(tgt=NODE6), mac=GATEWAY_MAC, ttl=255), id="an advertisement"),
        pytest.param(
            frame("fe80::fe", "ff02::1:ff00:2", ICMPv6ND_NS(tgt=POD6), mac=GATEWAY_MAC, ttl=255), id="a solicitation"
        ),
    ],
)
def test_and_an_isolated_pod_is_found_by_them(policed: Policed, packet: Packet) -> None:
    policed.pod(POD, ingress=NOTHING, egress=NOTHING)
    assert policed.node.run("pod_egress", bytes(packet)).reason is NONE


@pytest.mark.parametrize(("pod", "other", "own", "remote", "client"), BOTH)
@pytest.mark.parametrize("l4", TRANSPORTS)
def test_what_no_policy_selects_passes(
    policed: Policed, pod: str, other: str, own: str, remote: str, client: str, l4: Callable[[], Packet]
) -> None:
    for peer in (other, own, remote, client):
        assert sent(policed, pod, peer, l4()) is NONE
        assert sent(policed, peer, pod, l4()) is NONE


@pytest.mark.parametrize(("pod", "other"), PAIRS)
@pytest.mark.parametrize("l4", [*TRANSPORTS, pytest.param(None, id="ICMP")])
@pytest.mark.parametrize(
    ("sender", "receiver", "why"),
    [
        pytest.param({"egress": ALL}, {"ingress": ALL}, NONE, id="both accept"),
        pytest.param({"egress": NOTHING}, {"ingress": ALL}, EGRESS, id="the sender's egress denies"),
        pytest.param({"egress": ALL}, {"ingress": NOTHING}, INGRESS, id="the receiver's ingress denies"),
        pytest.param({"ingress": NOTHING}, {"egress": NOTHING}, NONE, id="the other directions deny"),
    ],
)
def test_each_end_is_judged_by_its_own_direction(
    policed: Policed,
    pod: str,
    other: str,
    l4: Callable[[], Packet] | None,
    sender: dict[str, Any],
    receiver: dict[str, Any],
    why: DropReason,
) -> None:
    policed.pod(pod, **sender)
    policed.pod(other, **receiver)
    assert sent(policed, pod, other, l4() if l4 else echo(pod)) is why


@pytest.mark.parametrize(
    ("rule", "protocol", "port", "passes"),
    [
        pytest.param(said(DENY, tcp(80, 90)), syn, 80, True, id="a range's first port"),
        pytest.param(said(DENY, tcp(80, 90)), syn, 90, True, id="its last port"),
        pytest.param(said(DENY, tcp(80, 90)), syn, 79, False, id="the port before"),
        pytest.param(said(DENY, tcp(80, 90)), syn, 91, False, id="the port behind"),
        pytest.param(said(DENY, tcp(80, 90)), datagram, 80, False, id="another protocol"),
        pytest.param(said(DENY, (UDP_NUMBER, 53, 53, ACCEPT)), datagram, 53, True, id="UDP"),
        pytest.param(said(DENY, (SCTP_NUMBER, 53, 53, ACCEPT)), sctp, 53, True, id="SCTP"),
        pytest.param(said(DENY, tcp(1, 65535)), syn, 65535, True, id="the last port of all"),
        pytest.param(said(DENY, tcp(0, 65535)), syn, 0, True, id="port 0, where all are meant"),
        pytest.param(said(DENY, *(tcp(at, at) for at in range(7))), syn, 6, True, id="the last of seven ranges"),
        pytest.param(said(ACCEPT, tcp(80, 80, DENY)), syn, 80, False, id="a port that is denied"),
        pytest.param(said(ACCEPT, tcp(80, 80, DENY)), syn, 81, True, id="and one that is not"),
    ],
)
@pytest.mark.parametrize(("pod", "other"), PAIRS)
def test_ports_are_judged_by_ranges(
    policed: Policed,
    pod: str,
    other: str,
    rule: abi.Rule,
    protocol: Callable[..., Packet],
    port: int,
    passes: bool,  # noqa: FBT001
) -> None:
    policed.pod(other, ingress={EVERYBODY: rule})
    assert (sent(policed, pod, other, protocol(dport=port)) is NONE) == passes


@pytest.mark.parametrize(
    ("protocol", "port", "passes"),
    [
        pytest.param(syn, 80, True, id="a port that the list has"),
        pytest.param(syn, 81, False, id="one that it has not"),
        pytest.param(syn, 1024, True, id="a block's first"),
        pytest.param(syn, 2047, True, id="a block's last"),
        pytest.param(syn, 1030, False, id="a narrower block within it"),
        pytest.param(syn, 2048, False, id="the port behind it"),
        pytest.param(datagram, 80, False, id="another protocol"),
    ],
)
@pytest.mark.parametrize(("pod", "other"), PAIRS)
def test_many_ranges_are_judged_by_a_list(
    policed: Policed,
    pod: str,
    other: str,
    protocol: Callable[..., Packet],
    port: int,
    passes: bool,  # noqa: FBT001
) -> None:
    policed.ports(5, [(TCP_NUMBER, 80, 16, ACCEPT), (TCP_NUMBER, 1024, 6, ACCEPT), (TCP_NUMBER, 1030, 16, DENY)])
    policed.ports(6, [(TCP_NUMBER, 81, 16, ACCEPT), (UDP_NUMBER, 80, 16, ACCEPT)])
    policed.pod(other, ingress={EVERYBODY: said(DENY, port_list=5)})
    assert (sent(policed, pod, other, protocol(dport=port)) is NONE) == passes


@pytest.mark.parametrize(("pod", "other", "own", "remote", "client"), BOTH)
def test_a_class_of_its_own_goes_before_everybody_s(
    policed: Policed, pod: str, other: str, own: str, remote: str, client: str
) -> None:
    policed.peer(remote, FIRST)
    policed.pod(other, peer_class=FIRST)
    policed.pod(
        pod, ingress={EVERYBODY: said(DENY), FIRST: said(ACCEPT)}, egress={EVERYBODY: said(ACCEPT), FIRST: said(DENY)}
    )
    assert sent(policed, remote, pod, syn()) is NONE
    assert sent(policed, other, pod, syn()) is NONE
    assert sent(policed, client, pod, syn()) is INGRESS
    assert sent(policed, pod, remote, syn(sport=40001)) is EGRESS
    assert sent(policed, pod, other, syn(sport=40001)) is EGRESS
    assert sent(policed, pod, client, syn(sport=40001)) is NONE
    assert sent(policed, pod, own, syn(sport=40001)) is NONE


@pytest.mark.parametrize(
    ("pod", "near", "far", "wide", "narrow"),
    [
        pytest.param(POD, "192.0.2.7", "198.51.100.7", "0.0.0.0/0", "192.0.2.0/24", id="IPv4"),
        pytest.param(POD6, "2001:db8::7", "2001:db9::7", "::/0", "2001:db8::/32", id="IPv6"),
    ],
)
def test_who_is_elsewhere_is_known_by_address_then_by_the_narrowest_range(
    policed: Policed, pod: str, near: str, far: str, wide: str, narrow: str
) -> None:
    policed.range(wide, FIRST)
    policed.range(narrow, SECOND)
    policed.pod(pod, ingress={EVERYBODY: said(DENY), FIRST: said(ACCEPT), SECOND: said(DENY)})
    assert sent(policed, far, pod, syn()) is NONE
    assert sent(policed, near, pod, syn()) is INGRESS
    policed.peer(near, FIRST)
    assert sent(policed, near, pod, syn(sport=40001)) is NONE
    policed.peer(far, EVERYBODY)
    assert sent(policed, far, pod, syn(sport=40001)) is INGRESS


@pytest.mark.parametrize(("pod", "other"), PAIRS)
def test_a_range_of_one_family_is_none_of_the_other(policed: Policed, pod: str, other: str) -> None:
    policed.range("0.0.0.0/0" if ":" in pod else "::/0", FIRST)
    policed.pod(pod, ingress={EVERYBODY: said(DENY), FIRST: said(ACCEPT)})
    assert sent(policed, REMOTE6 if ":" in pod else REMOTE, pod, syn()) is INGRESS
    assert other


def test_a_rule_set_that_is_not_there_lets_nothing_pass(policed: Policed) -> None:
    policed.pod(POD, ingress={FIRST: said(ACCEPT)})
    assert sent(policed, OTHER, POD, syn()) is UNKNOWN
