"""Who begins flows without end has a share of the table and of ports, and leaves the others theirs."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from scapy.packet import Packet

from maps import abi, libbpf
from maps.abi import DropReason, NodeFlag
from tests.bpf.cpus import OWN_CPU, on_cpu
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    LOOPBACK,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    POD,
    POD6,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    VIP,
    VIP6,
    Datapath,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import answer, ports
from tests.bpf.seed import give_seed
from tests.bpf.test_gc import age, forget_caches
from tests.bpf.uplink import ROUTER_MAC, routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns, pytest.mark.usefixtures("undisturbed")]

ENTRIES = 2048
MOST = ENTRIES * abi.SHARE_TIMES // (1 + abi.SHARE_TIMES)  # that one alone can have
SLACK = ENTRIES // 10  # by which an estimate from where entries are put may be wrong: by half of it under few seeds
SECOND, SECOND6, SECOND_MAC = "10.244.1.4", "fd00::4", "02:00:00:00:00:04"
NAT = (1024, 2047)


@pytest.fixture(scope="module")
def small() -> Iterator[Datapath]:
    """A node with a small table, and an uplink behind whose other end a second pod is."""
    with routed():
        datapath = Datapath.load(sizes={"flows": ENTRIES})
        give_seed(datapath.objects["tc_pod"].map_fd("flow_seeds"), 0)
        yield datapath
        datapath.close()


@pytest.fixture
def node(small: Datapath) -> Iterator[Datapath]:
    """A node with two pods that asks, and a service of the third."""
    small.reset()
    small.node(flags=NodeFlag.NODE_MASQUERADE)
    device = second()
    for address in (SECOND, SECOND6):
        small.endpoint(address, device, SECOND_MAC)
    for vip, other in ((VIP, OTHER), (VIP6, OTHER6)):
        small.service(vip, 80, [(other, 8080, True)])
    with on_cpu(OWN_CPU):  # how full the table seems is a CPU's own
        small.gc()
        settle(small)
        yield small


def second() -> int:
    """The device of the second pod."""
    return socket.if_nametoindex("up1")


def owner(node: Datapath, device: int = LOOPBACK) -> int:
    """The index of a pod's share."""
    return abi.SHARE_PODS + node.slot(device)


def entries(node: Datapath, index: int) -> int:
    """What somebody has, as the programs see it."""
    share, walk = node.tables["shares"].get(index), node.tables["load_walks"].get(0)
    assert isinstance(share, abi.Share)
    assert isinstance(walk, abi.LoadWalk)
    behind = walk.run - share.entries.run
    return (share.entries.flows, share.entries.met, 0)[min(behind, 2)]


@dataclass(frozen=True)
class Flood:
    """New connections of one sender, each from a port of its own, as fast as they can be made."""

    program: int
    packet: bytes
    context: bytes
    at: int  # of the source port

    @classmethod
    def of(cls, node: Datapath, packet: Packet, device: int = LOOPBACK, program: str = "pod_ingress") -> "Flood":
        """One whose packets are like this one."""
        holder = "tc_pod" if program.startswith("pod") else "tc_uplink"
        context = b"\0" * 40 + device.to_bytes(4, "little") + b"\0" * 148
        at = 34 if packet.type == 0x0800 else 54
        return cls(node.objects[holder].program_fd(program), bytes(packet), context, at)

    def send(self, sports: range) -> int:
        """Begin flows; returns how many went on."""
        done = 0
        for sport in sports:
            raw = self.packet[: self.at] + sport.to_bytes(2, "big") + self.packet[self.at + 2 :]
            done += libbpf.test_run(self.program, raw, context=self.context).retval != TC_ACT_SHOT
        return done


def settle(node: Datapath) -> None:
    """Have the programs see the table as empty as it is, by flows of others that are gone again."""
    device, table = socket.if_nametoindex("up0"), node.tables["flows"]
    for flood in (
        Flood.of(node, frame(POD, OTHER, syn())),
        Flood.of(node, frame(CLIENT, POD, syn(), mac=ROUTER_MAC), device, "uplink_ingress"),
    ):
        flood.send(range(1, 500))
        table.delete([key for key, _ in table.items()])
    node.gc()
    node.gc()


FAMILIES = [
    pytest.param(POD, SECOND, VIP, id="IPv4"),
    pytest.param(POD6, SECOND6, VIP6, id="IPv6"),
]


def refused(node: Datapath, index: int) -> int:
    """New flows of somebody's that had no entry."""
    share = node.tables["shares"].get(index)
    assert isinstance(share, abi.Share)
    return share.refused


def reasons(node: Datapath) -> dict[str, int]:
    """What was dropped so far."""
    return {reason: n for (_, _, reason), n in node.counted().items() if reason != "DROP_NONE"}


@pytest.mark.parametrize(("pod", "other_pod", "vip"), FAMILIES)
@pytest.mark.parametrize("l4", [syn(), datagram(dport=80)], ids=["TCP", "UDP"])
def test_a_pod_that_floods_takes_nothing_from_another(
    node: Datapath, pod: str, other_pod: str, vip: str, l4: Packet
) -> None:
    protocol = 6 if "TCP" in l4 else 17
    node.service(vip, 80, [(OTHER if vip == VIP else OTHER6, 8080, True)], protocol=protocol)
    handed = node.run("pod_ingress", frame(pod, vip, syn(sport=9)))
    assert handed.verdict == TC_ACT_REDIRECT or protocol == 17
    before = reasons(node).get("DROP_FLOW_SHARE", 0)
    refused_before = refused(node, owner(node))
    begun = Flood.of(node, frame(pod, vip, l4)).send(range(10, 3010))
    assert MOST - SLACK < 2 * begun < MOST + SLACK
    late = frame(pod, vip, l4.copy())
    late["TCP" if protocol == 6 else "UDP"].sport = 4000
    assert node.run("pod_ingress", late).reason is DropReason.DROP_FLOW_SHARE
    lost = 3000 - begun
    assert reasons(node)["DROP_FLOW_SHARE"] - before == lost + 1
    assert refused(node, owner(node)) - refused_before == lost + 1
    of_another = frame(other_pod, vip, l4, mac=SECOND_MAC)
    assert Flood.of(node, of_another, second()).send(range(10, 110)) == 100, "each has an entry"
    assert refused(node, owner(node, second())) == 0


@pytest.mark.parametrize(("pod", "vip"), [pytest.param(POD, VIP, id="IPv4"), pytest.param(POD6, VIP6, id="IPv6")])
def test_connections_of_a_pod_that_has_more_than_its_share_live_on(node: Datapath, pod: str, vip: str) -> None:
    handed = node.run("pod_ingress", frame(pod, vip, syn(sport=9)))
    node.run("pod_egress", answer(handed.packet, "02:00:00:00:00:02", "SA"))
    node.run("pod_ingress", frame(pod, vip, data(sport=9)))
    begun = Flood.of(node, frame(pod, vip, syn())).send(range(10, 3010))
    assert begun < 3000
    node.gc()
    age(node, 13)
    run = node.gc()
    forget_caches(node)
    assert (run.flows, run.unanswered) == (2, 0), "the unanswered ones have ended"
    assert node.run("pod_ingress", frame(pod, vip, data(sport=9))).verdict == TC_ACT_REDIRECT


def test_under_pressure_who_has_few_keeps_even_what_is_unanswered(node: Datapath) -> None:
    flood = Flood.of(node, frame(POD, VIP, syn())).send(range(10, 3010))
    kept = Flood.of(node, frame(SECOND, VIP, syn(), mac=SECOND_MAC), second()).send(range(10, 60))
    node.gc()
    node.gc()
    age(node, 5)
    run = node.gc()
    assert (flood * 2 > MOST - SLACK, kept, run.flows) == (True, 50, 100)
    assert entries(node, owner(node, second())) == 100


def test_what_is_carried_as_it_is_goes_on_without_an_entry(node: Datapath) -> None:
    known = node.tables["flows"]
    assert Flood.of(node, frame(POD, OTHER, syn())).send(range(10, 3010)) == 3000
    assert abs(known.count() - MOST) < SLACK
    assert refused(node, owner(node)) == 3000 - known.count()


def test_a_pod_may_begin_flows_again_when_its_others_have_ended(node: Datapath) -> None:
    flood = Flood.of(node, frame(POD, VIP, syn()))
    assert flood.send(range(10, 3010)) < 3000
    node.gc()
    age(node, 13)
    node.gc()
    flood.send(range(3010, 3110))  # by which the program sees how the table is now
    assert flood.send(range(3110, 3210)) == 100


def test_many_that_flood_leave_room_for_one_more(node: Datapath) -> None:
    first = Flood.of(node, frame(POD, VIP, syn())).send(range(10, 3010))
    device = socket.if_nametoindex("up0")
    outside = Flood.of(node, frame(CLIENT, POD, syn(), mac=ROUTER_MAC), device, "uplink_ingress").send(range(10, 3010))
    assert first < 3000
    assert abi.SHARE_LEAST < outside < ENTRIES - 2 * first + SLACK
    assert refused(node, abi.SHARE_OUTSIDE) == 3000 - outside
    assert Flood.of(node, frame(SECOND, VIP, syn(), mac=SECOND_MAC), second()).send(range(10, 60)) == 50


@pytest.mark.parametrize(
    ("client", "own"), [pytest.param(CLIENT, NODE, id="IPv4"), pytest.param(CLIENT6, NODE6, id="IPv6")]
)
def test_who_floods_from_outside_is_somebody_of_its_own(node: Datapath, client: str, own: str) -> None:
    any_address, backend = ("0.0.0.0", POD) if client == CLIENT else ("::", POD6)
    node.service(any_address, 30080, [(backend, 8080, True)], scope=abi.Scope.SCOPE_EXTERNAL)
    device = socket.if_nametoindex("up0")
    packet = frame(client, own, syn(dport=30080), mac=ROUTER_MAC)
    begun = Flood.of(node, packet, device, "uplink_ingress").send(range(10, 3010))
    assert MOST - SLACK < 2 * begun < MOST + SLACK
    assert entries(node, abi.SHARE_OUTSIDE) == 2 * begun
    assert entries(node, owner(node)) == 0
    vip = VIP if client == CLIENT else VIP6
    asking = frame(POD if client == CLIENT else POD6, vip, syn())
    assert Flood.of(node, asking).send(range(10, 110)) == 100


def test_the_node_is_somebody_of_its_own(node: Datapath) -> None:
    Flood.of(node, frame(NODE, VIP, syn()), socket.if_nametoindex("up0"), "uplink_egress").send(range(10, 60))
    assert entries(node, abi.SHARE_NODE) == 100
    node.gc()
    assert entries(node, abi.SHARE_NODE) == 100


def test_a_connection_that_begins_again_counts_once(node: Datapath) -> None:
    for _ in range(3):
        node.run("pod_ingress", frame(POD, VIP, syn()))
        node.run("pod_ingress", frame(POD, VIP, data(flags="R")))
    assert entries(node, owner(node)) == 2


def garbage(share: abi.Share) -> abi.Share:
    """A count that somebody has left wrong."""
    return replace(share, entries=replace(share.entries, flows=share.entries.flows + 777))


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(garbage, id="one too high"),
        pytest.param(lambda s: replace(s, entries=replace(s.entries, flows=0)), id="one too low"),
        pytest.param(lambda _: abi.Share.unpack(bytes(abi.Share.SIZE)), id="one of a new map"),
    ],
)
def test_a_run_of_gc_puts_counts_right(node: Datapath, harm: Callable[[abi.Share], abi.Share]) -> None:
    Flood.of(node, frame(POD, VIP, syn())).send(range(10, 110))
    Flood.of(node, frame(POD, OTHER, syn())).send(range(10, 60))
    shares, index = node.tables["shares"], owner(node)
    assert entries(node, index) == 250
    share = shares.get(index)
    assert isinstance(share, abi.Share)
    shares.update([(index, harm(share))])
    node.gc()
    assert entries(node, index) == 250
    age(node, 1000)
    node.gc()
    node.gc()
    assert entries(node, index) == 0


def test_a_slot_that_another_pod_has_now_inherits_nothing(node: Datapath) -> None:
    Flood.of(node, frame(POD, VIP, syn())).send(range(10, 110))
    slot = node.slot(LOOPBACK)
    holder = node.tables["attachments"].get(slot)
    assert isinstance(holder, abi.Attachment)
    node.tables["attachments"].update([(slot, replace(holder, revision=holder.revision + 5))])
    node.gc()
    assert entries(node, owner(node)) == 200, "policy that has changed makes nobody another"
    node.tables["attachments"].update([(slot, replace(holder, revision=holder.revision + (1 << 20)))])
    try:
        node.gc()
        assert entries(node, owner(node)) == 0
    finally:
        node.tables["attachments"].update([(slot, holder)])


SERVERS = [pytest.param(POD, SECOND, CLIENT, id="IPv4"), pytest.param(POD6, SECOND6, CLIENT6, id="IPv6")]


@pytest.mark.parametrize(("pod", "other_pod", "server"), SERVERS)
@pytest.mark.parametrize("l4", [syn(), datagram()], ids=["TCP", "UDP"])
@pytest.mark.parametrize("first", [pytest.param(30000, id="drawn"), pytest.param(NAT[0], id="its own")])
def test_a_pod_takes_half_of_the_ports_towards_a_server(
    node: Datapath, pod: str, other_pod: str, server: str, l4: Packet, first: int
) -> None:
    node.node(nat=NAT, flags=NodeFlag.NODE_MASQUERADE)
    span = NAT[1] - NAT[0] + 1
    flood, began = Flood.of(node, frame(pod, server, l4)), 0
    for _ in range(3):
        began += flood.send(range(first, first + span))
        first += span
    taken = span // 2 + (abi.SHARE_LEAST if first < 30000 else 0)
    used = {f.to_sport for key, f in node.tables["flows"].items() if f.flags & abi.FlowFlag.FLOW_FORWARD}
    assert 0.8 * span / 2 < len(used) <= taken
    share = node.tables["shares"].get(owner(node))
    assert isinstance(share, abi.Share)
    assert share.portless > 0
    of_another = frame(other_pod, server, l4, mac=SECOND_MAC)
    assert Flood.of(node, of_another, second()).send(range(40000, 40050)) == 50


def test_a_socket_has_one_port_whomever_it_asks(node: Datapath) -> None:
    sent = [node.run("pod_ingress", frame(POD, f"198.51.100.{n}", datagram(sport=45000))).packet for n in range(1, 9)]
    assert len({ports(packet)[0] for packet in sent}) == 1


def test_a_calm_table_limits_nobody(node: Datapath) -> None:
    """A pod alone may have two thirds and more."""
    assert Flood.of(node, frame(POD, VIP, syn())).send(range(10, 10 + ENTRIES // 3)) == ENTRIES // 3
