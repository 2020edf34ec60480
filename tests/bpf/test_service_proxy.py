"""Who is served: everybody over another plugin's network, or nobody of ours where another proxy serves."""

from collections.abc import Iterator

import pytest
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from maps import abi
from maps.abi import RULES_FIRST, RULES_NONE, DropReason, FlowFlag, NodeFlag, PrefixFlag, Scope
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    LOOPBACK,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    OTHER_MAC,
    POD,
    POD6,
    POD_MAC,
    REMOTE,
    REMOTE6,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    TC_ACT_UNSPEC,
    VIP,
    VIP6,
    Datapath,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import UNREACHABLE, addresses, answer, icmp_error, ports
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

SERVES_ALL = NodeFlag.NODE_CHAINED | NodeFlag.NODE_SERVES_ALL
OTHER_PROXY = NodeFlag.NODE_OTHER_PROXY
FAMILIES = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])
TRANSPORTS = pytest.mark.parametrize(("protocol", "l4"), [(6, syn()), (17, datagram(dport=80))], ids=["TCP", "UDP"])
KINDS = pytest.mark.parametrize("l4", [syn(), datagram(dport=80)], ids=["TCP", "UDP"])
BEYOND = ("8.8.8.8", "2001:4860::8")  # by the default route


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    """The uplink, in a namespace that has routes."""
    with routed() as ifindex:
        yield ifindex


@pytest.fixture
def bridge(node: Datapath) -> Iterator[Datapath]:
    """The node with both pods on another plugin's bridge, as if behind one port, and nobody else who serves."""
    node.node(flags=SERVES_ALL)
    for address in (OTHER, OTHER6):
        node.endpoint(address, LOOPBACK, OTHER_MAC)
    node.chain(LOOPBACK)
    yield node
    node.chain()


@pytest.fixture
def beside(node: Datapath) -> Datapath:
    """The node with another proxy, for whom a service's address is kept."""
    node.node(flags=OTHER_PROXY | NodeFlag.NODE_MASQUERADE | NodeFlag.NODE_POLICY)
    for address in (VIP, VIP6):
        node.service_address(address)
    for network in ("10.244.0.0/16", "fd00::/64", "fd00:2::/64"):
        node.prefix(network, flags=PrefixFlag.PREFIX_NO_MASQUERADE)
    judge(node, POD_MAC)
    node.tables["pod_policies"].update([(node.attach(4242, OTHER_MAC), said(RULES_NONE, RULES_NONE))])
    return node


def said(ingress: int, egress: int) -> abi.PodPolicy:
    """A pod's rule sets."""
    return abi.PodPolicy(ingress, egress, abi.PodPolicyFlag(0), 0)


def judge(node: Datapath, mac: str, *, egress: int = RULES_NONE) -> None:
    """Give the pod under test rules of what it sends; RULES_FIRST lets nothing pass."""
    nothing = abi.Rule(0, 7, abi.PolicyVerdict.POLICY_DENY, 0, (abi.PortRange(0, 0, 0, 0, 0),) * abi.RULE_RANGES)
    node.tables["rules"].update([(abi.RuleKey(RULES_FIRST, 0), nothing)])
    node.tables["pod_policies"].update([(node.attach(LOOPBACK, mac), said(RULES_NONE, egress))])


def flags(node: Datapath) -> set[int]:
    """Of the flows that are known."""
    keep = FlowFlag.FLOW_BY_STACK | FlowFlag.FLOW_FORWARD | FlowFlag.FLOW_REVERSE
    return {int(flow.flags & keep) for _, flow in node.tables["flows"].items()}


@FAMILIES
@TRANSPORTS
def test_the_outside_reaches_a_pod_on_the_bridge_past_the_stack(
    bridge: Datapath, device: int, protocol: int, l4: Packet, *, v6: bool
) -> None:
    client, vip, pod = (CLIENT6, VIP6, OTHER6) if v6 else (CLIENT, VIP, OTHER)
    bridge.service(vip, 80, [(pod, 8080, True)], protocol=protocol, scope=Scope.SCOPE_EXTERNAL)
    there = bridge.run("uplink_ingress", frame(client, vip, l4), device)
    assert (there.verdict, there.packet[Ether].dst) == (TC_ACT_REDIRECT, OTHER_MAC)
    assert (addresses(there.packet), ports(there.packet)) == ((client, pod), (40000, 8080))
    assert checksums_hold(there.packet)
    back = bridge.run("pod_ingress", answer(there.packet, OTHER_MAC))
    assert (back.verdict, addresses(back.packet), ports(back.packet)) == (TC_ACT_REDIRECT, (vip, client), (80, 40000))
    assert checksums_hold(back.packet)


@FAMILIES
@TRANSPORTS
def test_the_node_reaches_a_pod_on_the_bridge_and_is_answered_by_loopback(
    bridge: Datapath, device: int, protocol: int, l4: Packet, *, v6: bool
) -> None:
    own, vip, pod = (NODE6, VIP6, OTHER6) if v6 else (NODE, VIP, OTHER)
    bridge.service(vip, 80, [(pod, 8080, True)], protocol=protocol)
    there = bridge.run("uplink_egress", frame(own, vip, l4), device)
    assert (there.verdict, addresses(there.packet), there.packet[Ether].dst) == (TC_ACT_REDIRECT, (own, pod), OTHER_MAC)
    back = bridge.run("pod_ingress", answer(there.packet, OTHER_MAC))
    # whatever rp_filter says on the bridge of a source that is elsewhere
    assert (back.verdict, back.packet[Ether].dst) == (TC_ACT_REDIRECT, "00:00:00:00:00:00")
    assert (addresses(back.packet), ports(back.packet)) == ((vip, own), (80, 40000))


@FAMILIES
@TRANSPORTS
def test_what_answers_a_pod_from_elsewhere_is_translated_at_its_device_alone(
    bridge: Datapath, device: int, protocol: int, l4: Packet, *, v6: bool
) -> None:
    pod, vip, remote = (POD6, VIP6, REMOTE6) if v6 else (POD, VIP, REMOTE)
    bridge.service(vip, 80, [(remote, 8080, False)], protocol=protocol)
    there = bridge.run("pod_ingress", frame(pod, vip, l4))
    assert (there.verdict, addresses(there.packet)) == (TC_ACT_OK, (pod, remote))
    for back in (answer(there.packet, GATEWAY_MAC), icmp_error(there.packet, UNREACHABLE, remote, mac=GATEWAY_MAC)):
        come = bridge.run("uplink_ingress", back, device)
        assert (come.verdict, bytes(come.packet)) == (TC_ACT_UNSPEC, bytes(back))
        assert addresses(bridge.run("pod_egress", back).packet) == (vip, pod)


@FAMILIES
def test_what_is_for_a_chained_pod_itself_is_left_to_the_stack(bridge: Datapath, device: int, *, v6: bool) -> None:
    client, pod, vip = (CLIENT6, OTHER6, VIP6) if v6 else (CLIENT, OTHER, VIP)
    sent = frame(client, pod, syn())
    done = bridge.run("uplink_ingress", sent, device)
    assert (done.verdict, dict(done.reasons), bytes(done.packet)) == (TC_ACT_UNSPEC, {}, bytes(sent))
    assert bridge.run("uplink_ingress", frame(pod, client, syn()), device).reason == DropReason.DROP_OWN_SOURCE
    bridge.service_address(vip)
    assert bridge.run("uplink_ingress", frame(client, vip, syn(dport=81)), device).reason == DropReason.DROP_NO_SERVICE


@FAMILIES
@KINDS
def test_what_is_for_another_proxy_is_left_as_it_is_by_all_programs(
    beside: Datapath, device: int, l4: Packet, *, v6: bool
) -> None:
    pod, own, client, vip = (POD6, NODE6, CLIENT6, VIP6) if v6 else (POD, NODE, CLIENT, VIP)
    judge(beside, POD_MAC, egress=RULES_FIRST)
    beside.uplink(device, NODE, NODE6)
    for program, source, verdict in (
        ("pod_ingress", pod, TC_ACT_OK),
        ("uplink_ingress", client, TC_ACT_UNSPEC),
        ("uplink_egress", own, TC_ACT_UNSPEC),
    ):
        sent = frame(source, vip, l4)
        done = beside.run(program, sent, LOOPBACK if program == "pod_ingress" else device)
        assert (done.verdict, bytes(done.packet)) == (verdict, bytes(sent)), program
    assert flags(beside) == {FlowFlag.FLOW_BY_STACK}
    # its answer, as the stack translates that back
    back = answer(frame(pod, vip, l4), GATEWAY_MAC)
    assert beside.run("pod_egress", back).verdict == TC_ACT_OK
    # what it did not translate is judged as it leaves
    assert beside.run("uplink_egress", frame(pod, vip, l4), device).reason == DropReason.DROP_POLICY_EGRESS


@FAMILIES
@KINDS
def test_whom_the_other_proxy_chose_is_judged_where_the_packet_comes_by(
    beside: Datapath, device: int, l4: Packet, *, v6: bool
) -> None:
    pod, other, remote = (POD6, OTHER6, REMOTE6) if v6 else (POD, OTHER, REMOTE)
    hooks = (("pod_egress", other, LOOPBACK), ("uplink_egress", remote, device), ("tunnel_egress", remote, device))
    judge(beside, POD_MAC, egress=RULES_FIRST)
    for program, to, ifindex in hooks:
        done = beside.run(program, frame(pod, to, l4), ifindex)
        assert done.reason == DropReason.DROP_POLICY_EGRESS, program
    judge(beside, POD_MAC)
    for program, to, ifindex in hooks[:2]:
        sent = frame(pod, to, l4)
        done = beside.run(program, sent, ifindex)
        assert (done.verdict, bytes(done.packet)) == (TC_ACT_OK if to == other else TC_ACT_UNSPEC, bytes(sent))
    # what answers goes by the stack, which knows whom the pod asked
    back = answer(frame(pod, remote, l4), GATEWAY_MAC)
    come = beside.run("uplink_ingress", back, device)
    assert (come.verdict, bytes(come.packet)) == (TC_ACT_UNSPEC, bytes(back))
    assert flags(beside) == {FlowFlag.FLOW_BY_STACK}


@FAMILIES
def test_who_is_beyond_the_cluster_sees_the_node_and_answers_by_the_stack(
    beside: Datapath, device: int, *, v6: bool
) -> None:
    pod, own, beyond = (POD6, NODE6, BEYOND[1]) if v6 else (POD, NODE, BEYOND[0])
    beside.uplink(device, NODE, NODE6)
    for l4 in (data(flags="S"), datagram(dport=80)):
        there = beside.run("uplink_egress", frame(pod, beyond, l4), device)
        assert (there.verdict, addresses(there.packet)) == (TC_ACT_REDIRECT, (own, beyond))
        assert checksums_hold(there.packet)
        for back in (answer(there.packet, GATEWAY_MAC), icmp_error(there.packet, UNREACHABLE, beyond, mac=GATEWAY_MAC)):
            come = beside.run("uplink_ingress", back, device)
            assert (come.verdict, addresses(come.packet)) == (TC_ACT_UNSPEC, (beyond, pod))
    assert flags(beside) == {
        FlowFlag.FLOW_BY_STACK | FlowFlag.FLOW_FORWARD,
        FlowFlag.FLOW_BY_STACK | FlowFlag.FLOW_REVERSE,
    }


@FAMILIES
def test_what_a_forwarded_packet_of_others_meets_is_nothing(beside: Datapath, device: int, *, v6: bool) -> None:
    client, beyond = (CLIENT6, BEYOND[1]) if v6 else (CLIENT, BEYOND[0])
    sent = frame(client, beyond, syn())
    done = beside.run("uplink_egress", sent, device)
    assert (done.verdict, dict(done.reasons), bytes(done.packet)) == (TC_ACT_UNSPEC, {}, bytes(sent))
    assert beside.tables["flows"].count() == 0
