"""Policy sees the backend and the client's own address; what was allowed is answered, until its rule goes."""

from collections.abc import Callable

import pytest
from scapy.packet import Packet

from maps.abi import EndpointFlag, NodeFlag, Scope
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    NODE,
    NODE6,
    OTHER,
    OTHER_MAC,
    POD,
    POD6,
    POD_MAC,
    TC_ACT_REDIRECT,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses, answer
from tests.bpf.policed import (
    EGRESS,
    FIRST,
    INGRESS,
    NOBODY,
    NONE,
    OWN,
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
from tests.bpf.rules import ACCEPT, ALL, DENY, EVERYBODY, NOTHING, Policed, Rules, said

__all__ = ["one_cpu", "policed", "routes"]

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


@pytest.mark.parametrize(("pod", "other", "vip"), SERVED)
@pytest.mark.parametrize("l4", [syn, datagram], ids=["TCP", "UDP"])
def test_a_pod_reaches_itself_by_its_service(
    policed: Policed, pod: str, other: str, vip: str, l4: Callable[..., Packet]
) -> None:
    policed.node.service(vip, 80, [(pod, 8080, True)], protocol=6 if l4 is syn else 17)
    policed.pod(pod, ingress=NOTHING, egress=NOTHING)
    done = policed.node.run("pod_ingress", frame(pod, vip, l4(dport=80)))
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, NONE)
    back = policed.node.run("pod_ingress", answer(done.packet, POD_MAC))
    assert (back.reason, addresses(back.packet)) == (NONE, (vip, pod))
    assert sent(policed, pod, pod, l4(dport=80)) is NONE
    policed.pod(other, egress=ALL)
    assert sent(policed, other, vip, l4(dport=80)) is INGRESS


@pytest.mark.parametrize(("pod", "further", "vip"), SERVED)
@pytest.mark.parametrize("l4", [syn, datagram], ids=["TCP", "UDP"])
def test_a_pod_reaches_itself_by_another_of_its_interfaces(
    policed: Policed, pod: str, further: str, vip: str, l4: Callable[..., Packet]
) -> None:
    """Under the node's address: under its own it would take it for a forgery."""
    policed.node.service(vip, 80, [(further, 8080, True)], protocol=6 if l4 is syn else 17)
    policed.pod(pod, egress=NOTHING)
    policed.pod(further, ingress=NOTHING)
    assert sent(policed, pod, vip, l4(dport=80)) is EGRESS, "which is another pod"
    policed.join(pod, further)
    policed.revise(policed.slot(pod))
    policed.revise(policed.slot(further))
    done = policed.node.run("pod_ingress", frame(pod, vip, l4(sport=40001, dport=80)))
    own = NODE6 if ":" in pod else NODE
    assert (done.reason, addresses(done.packet)) == (NONE, (own, further))
    back = policed.node.run("pod_ingress", answer(done.packet, OTHER_MAC))
    assert (back.reason, addresses(back.packet)) == (NONE, (vip, pod))


@pytest.mark.parametrize(("pod", "own", "another"), OWN)
@pytest.mark.parametrize("l4", [*TRANSPORTS, pytest.param(None, id="ICMP")])
def test_the_own_node_reaches_its_pod_by_each_of_its_addresses_and_is_answered(
    policed: Policed, pod: str, own: str, another: str, l4: Callable[[], Packet] | None
) -> None:
    policed.node.endpoint(another, 0, "", EndpointFlag.ENDPOINT_NODE | EndpointFlag.ENDPOINT_HELD)
    policed.pod(pod, ingress=NOTHING, egress=NOTHING)
    kind = l4() if l4 else echo(pod)
    for address in (own, another):
        assert sent(policed, address, pod, kind) is NONE
        if l4 is syn:
            for _ in range(3):
                assert sent(policed, pod, address, data(80, 40000)) is NONE, "an answer"
                assert sent(policed, address, pod, data()) is NONE
            assert sent(policed, pod, address, data(81, 40000)) is EGRESS, "no answer"


@pytest.mark.parametrize(("pod", "own", "another"), OWN)
@pytest.mark.parametrize("l4", [*TRANSPORTS, pytest.param(None, id="ICMP")])
def test_what_a_pod_asks_of_its_node_is_judged_established_too(
    policed: Policed, pod: str, own: str, another: str, l4: Callable[[], Packet] | None
) -> None:
    kind = l4() if l4 else echo(pod)
    assert another
    policed.pod(pod, egress=NOTHING)
    assert sent(policed, pod, own, kind) is EGRESS
    policed.pod(pod, egress=ALL)
    for _ in range(3):
        assert sent(policed, pod, own, kind) is NONE
    policed.pod(pod, egress=NOTHING)
    for _ in range(2):
        assert sent(policed, pod, own, data() if l4 is syn else kind) is EGRESS


@pytest.mark.parametrize(
    ("loopback", "own", "pod"),
    [pytest.param("127.0.0.1", NODE, POD, id="IPv4"), pytest.param("::1", NODE6, POD6, id="IPv6")],
)
def test_loopback_is_the_own_node_which_reaches_a_pod_by_a_host_port(
    policed: Policed, loopback: str, own: str, pod: str
) -> None:
    policed.node.service(loopback, 8080, [(pod, 80, True)])
    policed.pod(pod, ingress=NOTHING, egress=NOTHING)
    asked = policed.node.run("uplink_egress", frame(loopback, loopback, syn(dport=8080), mac=NOBODY, to=NOBODY))
    assert (asked.reason, addresses(asked.packet)) == (NONE, (own, pod))
    back = policed.node.run("pod_ingress", answer(asked.packet, POD_MAC))
    assert (back.reason, addresses(back.packet)) == (NONE, (loopback, loopback))


@pytest.mark.parametrize(("pod", "other", "vip"), SERVED)
@pytest.mark.parametrize(
    ("port", "passes"), [pytest.param(8080, True, id="the backend's"), pytest.param(80, False, id="the service's")]
)
@pytest.mark.parametrize("end", ["egress", "ingress"])
def test_a_service_is_judged_by_its_backend_s_port(
    policed: Policed,
    pod: str,
    other: str,
    vip: str,
    port: int,
    passes: bool,  # noqa: FBT001
    end: str,
) -> None:
    policed.node.service(vip, 80, [(other, 8080, True)])
    rules: Rules = {EVERYBODY: said(DENY, tcp(port, port))}
    why = EGRESS if end == "egress" else INGRESS
    if end == "egress":
        policed.pod(pod, egress=rules)
    else:
        policed.pod(other, ingress=rules)
    assert sent(policed, pod, vip, syn()) is (NONE if passes else why)


@pytest.mark.parametrize(("pod", "other", "vip"), SERVED)
@pytest.mark.parametrize(
    "flags",
    [pytest.param(NodeFlag(0), id="as it is"), pytest.param(NodeFlag.NODE_MASQUERADE_ALL, id="masqueraded always")],
)
def test_and_by_its_backend_s_address_and_the_client_s_own(
    policed: Policed, pod: str, other: str, vip: str, flags: NodeFlag
) -> None:
    policed.flags(flags)
    policed.node.service(vip, 80, [(other, 8080, True)])
    policed.peer(vip, SECOND)
    policed.pod(pod, peer_class=FIRST, egress={EVERYBODY: said(DENY), SECOND: said(ACCEPT)})
    policed.pod(other, peer_class=FIRST, ingress={EVERYBODY: said(DENY), FIRST: said(ACCEPT)})
    assert sent(policed, pod, vip, syn()) is EGRESS
    policed.pod(pod, peer_class=FIRST, egress={EVERYBODY: said(DENY), FIRST: said(ACCEPT)})
    assert sent(policed, pod, vip, syn(sport=40001)) is NONE
    policed.pod(pod)
    assert sent(policed, pod, vip, syn(sport=40002)) is INGRESS


@pytest.mark.parametrize(
    ("client", "own", "pod", "any_address"),
    [pytest.param(CLIENT, NODE, POD, "0.0.0.0", id="IPv4"), pytest.param(CLIENT6, NODE6, POD6, "::", id="IPv6")],
)
@pytest.mark.parametrize("l4", [syn, datagram], ids=["TCP", "UDP"])
def test_a_node_port_s_client_outside_is_judged_by_its_own_address(
    policed: Policed, client: str, own: str, pod: str, any_address: str, l4: Callable[..., Packet]
) -> None:
    protocol = 6 if l4 is syn else 17
    policed.node.service(any_address, 30080, [(pod, 8080, True)], protocol=protocol, scope=Scope.SCOPE_EXTERNAL)
    policed.flags(NodeFlag.NODE_MASQUERADE, revision=2)
    policed.peer(client, FIRST)
    policed.pod(pod, ingress={EVERYBODY: said(ACCEPT), FIRST: said(DENY)}, egress=NOTHING)
    assert sent(policed, client, own, l4(dport=30080)) is INGRESS
    policed.pod(pod, ingress={EVERYBODY: said(DENY), FIRST: said(DENY, (protocol, 8080, 8080, ACCEPT))}, egress=NOTHING)
    done = policed.node.run("uplink_ingress", frame(client, own, l4(sport=40001, dport=30080)))
    assert done.reason is NONE
    back = policed.node.run("pod_ingress", answer(done.packet, POD_MAC))
    assert (back.reason, addresses(back.packet)) == (NONE, (own, client))
    policed.pod(pod, ingress=NOTHING, egress=ALL)
    again = data if l4 is syn else datagram
    assert sent(policed, client, own, again(sport=40001, dport=30080)) is INGRESS
    assert policed.node.run("pod_ingress", answer(done.packet, POD_MAC, "A")).reason is INGRESS


@pytest.mark.parametrize(
    ("pod", "client"), [pytest.param(POD, CLIENT, id="IPv4"), pytest.param(POD6, CLIENT6, id="IPv6")]
)
def test_a_pod_that_is_masqueraded_is_judged_by_where_it_goes(policed: Policed, pod: str, client: str) -> None:
    policed.flags(NodeFlag.NODE_MASQUERADE, revision=2)
    policed.peer(client, FIRST)
    policed.pod(pod, ingress=NOTHING, egress={EVERYBODY: said(ACCEPT), FIRST: said(DENY, tcp(443, 443))})
    assert sent(policed, pod, client, syn(dport=80)) is EGRESS
    done = policed.node.run("pod_ingress", frame(pod, client, syn(dport=443)))
    assert done.reason is NONE
    assert addresses(done.packet)[0] in {NODE, NODE6}
    back = policed.node.run("uplink_ingress", answer(done.packet, OTHER_MAC))
    assert (back.reason, addresses(back.packet)) == (NONE, (client, pod))
    policed.pod(pod, egress=NOTHING)
    assert policed.node.run("uplink_ingress", answer(done.packet, OTHER_MAC, "A")).reason is EGRESS


@pytest.mark.parametrize(("pod", "other", "vip"), SERVED)
@pytest.mark.parametrize("l4", [syn, datagram], ids=["TCP", "UDP"])
def test_a_flow_beside_another_is_judged_as_that_one(
    policed: Policed, pod: str, other: str, vip: str, l4: Callable[..., Packet]
) -> None:
    protocol = 6 if l4 is syn else 17
    policed.node.service(vip, 80, [(other, 8080, True)], protocol=protocol)
    policed.pod(other, ingress={EVERYBODY: said(DENY, (protocol, 8080, 8080, ACCEPT))}, egress=NOTHING)
    for dst, port in ((vip, 80), (other, 8080)):
        assert sent(policed, pod, dst, l4(dport=port)) is NONE
    policed.pod(other, ingress=NOTHING)
    again = data if l4 is syn else datagram
    for dst, port in ((vip, 80), (other, 8080)):
        assert sent(policed, pod, dst, again(dport=port)) is INGRESS


@pytest.mark.parametrize(("pod", "other"), PAIRS)
def test_sctp_is_tracked(policed: Policed, pod: str, other: str) -> None:
    policed.pod(other, ingress=ALL, egress=NOTHING)
    done = policed.node.run("pod_ingress", frame(pod, other, sctp()))
    assert (done.reason, addresses(done.packet)) == (NONE, (pod, other))
    assert sent(policed, other, pod, sctp(80, 40000)) is NONE, "an answer"
    assert sent(policed, other, pod, sctp(81, 40000)) is EGRESS, "no answer"


@pytest.mark.parametrize(("pod", "other"), PAIRS)
@pytest.mark.parametrize("rounds", [1, 4], ids=["by the table", "by a copy, or a shortcut"])
def test_answers_pass_and_end_with_the_rule(policed: Policed, pod: str, other: str, rounds: int) -> None:
    policed.pod(pod, ingress=NOTHING, egress=ALL)
    policed.pod(other, ingress=ALL, egress=NOTHING)
    assert sent(policed, pod, other, syn()) is NONE
    for _ in range(rounds):
        assert sent(policed, other, pod, data(80, 40000)) is NONE
        assert sent(policed, pod, other, data()) is NONE
    assert sent(policed, other, pod, data(81, 40000)) is EGRESS, "a flow of its own"
    policed.pod(other, ingress=NOTHING, egress=ALL)
    for _ in range(2):
        assert sent(policed, pod, other, data()) is INGRESS
        assert sent(policed, other, pod, data(80, 40000)) is INGRESS
    policed.pod(other, ingress=ALL, egress=NOTHING)
    for _ in range(2):
        assert sent(policed, other, pod, data(80, 40000)) is NONE
        assert sent(policed, pod, other, data()) is NONE


@pytest.mark.parametrize(("pod", "other"), PAIRS)
@pytest.mark.parametrize("rounds", [0, 4], ids=["by the table", "by a copy, or a shortcut"])
def test_who_has_a_slot_now_inherits_no_verdict(policed: Policed, pod: str, other: str, rounds: int) -> None:
    policed.pod(other, ingress=ALL)
    assert sent(policed, pod, other, syn()) is NONE
    for _ in range(rounds):
        assert sent(policed, other, pod, data(80, 40000)) is NONE
        assert sent(policed, pod, other, data()) is NONE
    policed.pod(other, known=False)
    assert sent(policed, pod, other, data()) is UNKNOWN
    assert sent(policed, other, pod, data(80, 40000)) is UNKNOWN


def test_a_change_of_one_pod_leaves_another_s_copies(policed: Policed) -> None:
    policed.pod(OTHER, ingress=ALL)
    sent(policed, POD, OTHER, syn())
    sent(policed, OTHER, POD, data(80, 40000))
    sent(policed, POD, OTHER, data())
    flows = policed.node.tables["flows"]
    flows.delete([key for key, _ in flows.items()])
    policed.node.tables["rules"].delete([key for key, _ in policed.node.tables["rules"].items()])
    assert sent(policed, POD, OTHER, data()) is NONE, "nobody is asked again"
    policed.revise(policed.slot(OTHER))
    assert sent(policed, POD, OTHER, data()) is UNKNOWN
