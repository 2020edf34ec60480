"""At the first node: clients outside keep their addresses up to another node's pod."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, IPOption
from scapy.layers.inet6 import ICMPv6PacketTooBig
from scapy.layers.l2 import Ether

from maps.abi import DropReason, FlowFlag, Scope, ServiceFlag
from tests.behaviours import shows
from tests.bpf.datapath import (
    CLIENT,
    GATEWAY_MAC,
    NODE,
    REMOTE,
    TC_ACT_REDIRECT,
    XDP_PASS,
    Datapath,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.forwarding.cluster import (
    DSR,
    FAMILIES,
    FAR,
    MTU,
    NODE_PORT,
    OPTION,
    ROUTER,
    ROUTER_MAC,
    TARGET,
    TRANSPORTS,
    UDP_HEADERS,
    V4,
    WAYS,
    Family,
    Kind,
    age,
    asked,
    flags_of,
    inside,
    offer,
    outer,
    told,
    wrapped,
)
from tests.bpf.packets import TOO_BIG, addresses, answer, icmp_error, icmp_sum_holds, ports, quoted_by
from tests.bpf.test_revision import lost_backend

pytestmark = [pytest.mark.kernel, pytest.mark.netns, pytest.mark.usefixtures("undisturbed")]


@WAYS
@TRANSPORTS
@FAMILIES
def test_the_client_keeps_its_address_to_the_other_nodes_pod(
    made: Datapath, family: Family, kind: Kind, flags: ServiceFlag
) -> None:
    offer(made, family, flags, kind)
    done = made.run("uplink_ingress", asked(family, kind(dport=NODE_PORT)))
    assert (done.verdict, outer(done.packet)) == (TC_ACT_REDIRECT, (NODE, FAR))
    inner = inside(done.packet)
    assert addresses(inner) == (family.client, family.remote)
    assert ports(inner) == (40000, TARGET)
    assert told(inner) == ((family.own, NODE_PORT) if flags == DSR else None)
    assert checksums_hold(done.packet)


@TRANSPORTS
@FAMILIES
def test_the_service_is_told_with_the_syn_or_with_each_datagram(ipip: Datapath, family: Family, kind: Kind) -> None:
    offer(ipip, family, DSR, kind)
    first = ipip.run("uplink_ingress", asked(family, kind(dport=NODE_PORT)))
    more = data if kind is syn else datagram
    then = ipip.run("uplink_ingress", asked(family, more(dport=NODE_PORT)))
    again = ipip.run("uplink_ingress", asked(family, kind(dport=NODE_PORT)))
    every = (family.own, NODE_PORT)
    assert told(inside(first.packet)) == told(inside(again.packet)) == every
    assert told(inside(then.packet)) == (None if kind is syn else every)
    assert addresses(inside(then.packet)) == (family.client, family.remote)
    assert checksums_hold(then.packet)


@WAYS
@TRANSPORTS
@FAMILIES
def test_answers_by_the_first_node_get_the_services_address(
    made: Datapath, family: Family, kind: Kind, flags: ServiceFlag
) -> None:
    """So also with DSR, whose answers come so where the pod's node does not know the flow any more."""
    offer(made, family, flags, kind)
    sent = made.run("uplink_ingress", asked(family, kind(dport=NODE_PORT)))
    inner = inside(sent.packet)
    back = frame(family.remote, family.client, answer(inner, ROUTER_MAC)[TCP if kind is syn else "UDP"])
    done = made.run("uplink_ingress", wrapped(back))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (family.own, family.client))
    assert ports(done.packet) == (NODE_PORT, 40000)
    assert checksums_hold(done.packet)


@WAYS
@FAMILIES
@pytest.mark.parametrize(
    "whose",
    ["a pod here", "a process of the other node", "a pod of a node without a way", "nobody of the cluster"],
)
def test_other_backends_are_reached_as_ever(ipip: Datapath, family: Family, flags: ServiceFlag, whose: str) -> None:
    backend = {
        "a pod here": family.pod,
        "a process of the other node": family.far,
        "a pod of a node without a way": "10.244.9.9" if family.version == 4 else "fd00:9::9",
        "nobody of the cluster": ROUTER[family.version],
    }[whose]
    ipip.prefix("10.244.9.0/24", node_id=109)
    ipip.prefix("fd00:9::/64", node_id=109)
    offer(ipip, family, flags, backend=(backend, TARGET, whose == "a pod here"))
    done = ipip.run("uplink_ingress", asked(family, syn(dport=NODE_PORT)))
    inner = inside(done.packet) if IP in done.packet and done.packet[IP].proto in {4, 41} else done.packet
    assert addresses(inner) == (family.client if whose == "a pod here" else family.own, backend)
    assert flags_of(ipip) == {FlowFlag.FLOW_FORWARD, FlowFlag.FLOW_REVERSE}


@WAYS
@FAMILIES
@pytest.mark.parametrize("who", ["another node", "another node's pod"])
def test_who_is_of_the_cluster_is_seen_as_the_node(
    ipip: Datapath, family: Family, flags: ServiceFlag, who: str
) -> None:
    offer(ipip, family, flags)
    src = family.third if who == "another node" else ("10.244.3.9" if family.version == 4 else "fd00:3::9")
    done = ipip.run("uplink_ingress", frame(src, family.own, syn(dport=NODE_PORT), mac=ROUTER_MAC))
    assert addresses(inside(done.packet)) == (family.own, family.remote)


@FAMILIES
def test_one_source_port_towards_one_backend_by_two_services(ipip: Datapath, family: Family) -> None:
    """The backend has to see two ports: answers to the second come back by this node, which knows the client's."""
    offer(ipip, family, DSR)
    offer(ipip, family, DSR, port=NODE_PORT + 1)
    ipip.run("uplink_ingress", asked(family, syn(dport=NODE_PORT)))
    second = inside(ipip.run("uplink_ingress", asked(family, syn(dport=NODE_PORT + 1))).packet)
    assert (addresses(second), told(second)) == ((family.client, family.remote), None)
    assert ports(second)[0] != 40000
    back = frame(family.remote, family.client, answer(second, ROUTER_MAC)[TCP])
    done = ipip.run("uplink_ingress", wrapped(back))
    assert (addresses(done.packet), ports(done.packet)) == ((family.own, family.client), (NODE_PORT + 1, 40000))


@WAYS
@shows("68 a running flow of datagrams", FAMILIES)
def test_a_flow_of_datagrams_follows_its_service(made: Datapath, family: Family, flags: ServiceFlag) -> None:
    offer(made, family, flags, datagram)
    sent = asked(family, datagram(dport=NODE_PORT))
    for _ in range(3):
        assert addresses(inside(made.run("uplink_ingress", sent).packet)) == (family.client, family.remote)
    second = f"{family.remote[:-1]}8"
    lost_backend(made, made.set_ids, second)
    for _ in range(3):
        moved = inside(made.run("uplink_ingress", sent).packet)
        assert (addresses(moved), ports(moved)[1]) == ((family.client, second), 8053)
        assert (told(moved) is not None) is (flags == DSR), "the new backend's node is told the service"


@FAMILIES
def test_a_flow_seen_one_way_lives_as_its_client_goes_on(ipip: Datapath, family: Family) -> None:
    offer(ipip, family, DSR)
    ipip.run("uplink_ingress", asked(family, syn(dport=NODE_PORT)))
    age(ipip, 50)
    assert ipip.gc().flows == 2
    ipip.run("uplink_ingress", asked(family, data(dport=NODE_PORT, flags="A")))
    age(ipip, 3600)
    assert (ipip.gc().flows, ipip.gc().unanswered) == (2, 0)
    ipip.run("uplink_ingress", asked(family, data(dport=NODE_PORT, flags="FA")))
    age(ipip, 110)
    assert ipip.gc().flows == 2
    age(ipip, 30)
    assert ipip.gc().flows == 0


@FAMILIES
def test_a_flow_of_datagrams_seen_one_way_lives_as_its_client_goes_on(ipip: Datapath, family: Family) -> None:
    offer(ipip, family, DSR, datagram)
    sent = asked(family, datagram(dport=NODE_PORT))
    ipip.run("uplink_ingress", sent)
    for idle_s in (20, 100):
        age(ipip, idle_s)
        assert ipip.gc().flows == 2
        ipip.run("uplink_ingress", sent)
    age(ipip, 280)
    assert ipip.gc().flows == 2


@FAMILIES
@pytest.mark.parametrize("over", [0, 1], ids=["fits", "does not"])
@WAYS
def test_a_client_is_told_what_fits_with_the_option(
    made: Datapath, family: Family, flags: ServiceFlag, over: int
) -> None:
    """Whether it lets its datagrams be fragmented or not: the stack would not know what to do with the fragments."""
    offer(made, family, flags, datagram)
    mtu = MTU - (OPTION[family.version] if flags == DSR else 0)
    sent = asked(family, datagram(dport=NODE_PORT, size=mtu - UDP_HEADERS[family.version] + over))
    done = made.run("uplink_ingress", sent)
    if not over:
        assert (done.verdict, outer(done.packet)) == (TC_ACT_REDIRECT, (NODE, FAR))
        return
    assert done.reason == DropReason.DROP_TOO_BIG
    assert (done.packet[Ether].dst, addresses(done.packet)) == (ROUTER_MAC, (family.own, family.client))
    assert (done.packet[ICMP].nexthopmtu if family.version == 4 else done.packet[ICMPv6PacketTooBig].mtu) == mtu


@WAYS
@FAMILIES
def test_an_error_from_the_clients_side_reaches_the_pods_node(
    made: Datapath, family: Family, flags: ServiceFlag
) -> None:
    offer(made, family, flags)
    made.run("uplink_ingress", asked(family, syn(dport=NODE_PORT)))
    about = frame(family.own, family.client, data(sport=NODE_PORT, dport=40000))
    error = icmp_error(about, TOO_BIG, ROUTER[family.version], mac=ROUTER_MAC)
    done = made.run("uplink_ingress", error)
    assert (done.verdict, outer(done.packet)) == (TC_ACT_REDIRECT, (NODE, FAR))
    inner = inside(done.packet)
    assert addresses(inner) == (ROUTER[family.version], family.remote)
    assert (quoted_by(inner).src, quoted_by(inner).dst) == (family.remote, family.client)
    assert ports(quoted_by(inner)) == (TARGET, 40000)
    assert icmp_sum_holds(inner)


def test_a_header_full_of_options_goes_without_ours(ipip: Datapath) -> None:
    """Then answers come back by this node."""
    offer(ipip, V4, DSR)
    full = IP(src=CLIENT, dst=NODE, options=[IPOption(b"\x01")] * 36) / syn(dport=NODE_PORT)
    done = ipip.run("uplink_ingress", Ether(bytes(Ether(src=ROUTER_MAC, dst=GATEWAY_MAC) / full)))
    inner = inside(done.packet)
    assert (addresses(inner), inner[IP].ihl) == ((CLIENT, REMOTE), 14)
    assert checksums_hold(done.packet)


@WAYS
@TRANSPORTS
@FAMILIES
def test_xdp_leaves_it_to_tc(made: Datapath, family: Family, kind: Kind, flags: ServiceFlag) -> None:
    offer(made, family, flags, kind)
    sent = asked(family, kind(dport=NODE_PORT))
    for _ in range(2):  # what begins, and what is known
        done = made.run("uplink_xdp", sent)
        assert (done.verdict, bytes(done.packet)) == (XDP_PASS, bytes(sent))
        made.run("uplink_ingress", sent)


def test_xdp_chooses_nobody_for_it(ipip: Datapath) -> None:
    """Else schedulers that take turns would skip one with each flow."""
    ipip.service(
        V4.anywhere, NODE_PORT, [(REMOTE, TARGET, False)], scope=Scope.SCOPE_EXTERNAL, affinity_s=60, flags=DSR
    )
    sent = asked(V4, syn(dport=NODE_PORT))
    assert ipip.run("uplink_xdp", sent).verdict == XDP_PASS
    assert ipip.tables["affinities"].count() == 0
    ipip.run("uplink_ingress", sent)
    assert ipip.tables["affinities"].count() == 1
