"""Who asks a service may ask its backend from the same port too: both live, whichever came first and whichever ends."""

from collections.abc import Callable

import pytest
from scapy.layers.inet import UDP
from scapy.packet import Packet

from maps.abi import FlowFlag, Scope
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    LOOPBACK,
    NODE,
    NODE6,
    OTHER_MAC,
    POD,
    POD6,
    TC_ACT_REDIRECT,
    Datapath,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import FAMILIES, addresses, answer, ports

pytestmark = pytest.mark.kernel

KINDS = [pytest.param(datagram, id="UDP"), pytest.param(syn, id="TCP")]
PORT = 8080


def more(kind: Callable[..., Packet]) -> Callable[..., Packet]:
    """What makes the packets that follow a flow's first one."""
    return data if kind is syn else kind


def protocol(kind: Callable[..., Packet]) -> int:
    return 17 if UDP in kind() else 6


def ask(node: Datapath, src: str, dst: str, l4: Packet, program: str = "pod_ingress") -> Packet:
    """A packet, as it is handed on."""
    done = node.run(program, frame(src, dst, l4), LOOPBACK)
    assert checksums_hold(done.packet)
    return done.packet


def answered(node: Datapath, handed: Packet, program: str = "pod_egress") -> tuple[tuple[str, str], tuple[int, int]]:
    """The backend's answer to a packet, as its client sees it."""
    back = node.run(program, answer(handed, OTHER_MAC)).packet
    assert checksums_hold(back)
    return addresses(back), ports(back)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", ["service", "backend"])
@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
def test_a_service_and_its_backend_are_asked_from_one_port(
    node: Datapath, pod: str, vip: str, backend: str, first: str, kind: Callable[..., Packet]
) -> None:
    node.service(vip, 80, [(backend, PORT, True)], protocol=protocol(kind))

    def both(of: Callable[..., Packet]) -> tuple[Packet, Packet]:
        sent = {"service": (vip, of(dport=80)), "backend": (backend, of(dport=PORT))}
        second = next(name for name in sent if name != first)
        handed = {name: ask(node, pod, *sent[name]) for name in (first, second)}
        return handed["service"], handed["backend"]

    by_service, straight = both(kind)
    for _ in range(3):
        assert addresses(by_service) == addresses(straight) == (pod, backend)
        assert ports(by_service)[0] != ports(straight)[0], "the backend tells them apart"
        assert answered(node, by_service) == ((vip, pod), (80, 40000))
        assert answered(node, straight) == ((backend, pod), (PORT, 40000))
        again = both(more(kind))
        assert [ports(one) for one in again] == [ports(by_service), ports(straight)]
        by_service, straight = again


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
def test_the_flow_beside_outlives_the_other_and_gives_way_to_a_new_one(
    node: Datapath, pod: str, vip: str, backend: str, kind: Callable[..., Packet]
) -> None:
    node.service(vip, 80, [(backend, PORT, True)], protocol=protocol(kind))
    ask(node, pod, vip, kind(dport=80))
    straight = ask(node, pod, backend, kind(dport=PORT))
    flows = node.tables["flows"]
    flows.delete([key for key, flow in flows.items() if not flow.flags & FlowFlag.FLOW_BESIDE])
    assert flows.count() == 2
    assert ports(ask(node, pod, backend, more(kind)(dport=PORT))) == ports(straight)
    assert answered(node, straight) == ((backend, pod), (PORT, 40000))
    by_service = ask(node, pod, vip, kind(dport=80))
    assert ports(by_service)[0] != ports(straight)[0]
    assert ports(ask(node, pod, backend, more(kind)(dport=PORT))) == ports(straight)
    assert flows.count() == 4
    node.gc()
    assert flows.count() == 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("client", "own", "pod", "any_address"),
    [pytest.param(CLIENT, NODE, POD, "0.0.0.0", id="IPv4"), pytest.param(CLIENT6, NODE6, POD6, "::", id="IPv6")],
)
def test_so_are_a_node_port_and_its_pod_from_outside(
    node: Datapath, client: str, own: str, pod: str, any_address: str, kind: Callable[..., Packet]
) -> None:
    node.service(any_address, 30080, [(pod, PORT, True)], protocol=protocol(kind), scope=Scope.SCOPE_EXTERNAL)
    for of in (kind, more(kind)):
        by_service = ask(node, client, own, of(dport=30080), "uplink_ingress")
        straight = ask(node, client, pod, of(dport=PORT), "uplink_ingress")
        assert addresses(by_service) == addresses(straight) == (client, pod)
        assert ports(by_service)[0] != ports(straight)[0]
        back = {}
        for name, handed in (("service", by_service), ("pod", straight)):
            back[name] = node.run("pod_ingress", answer(handed, "02:00:00:00:00:01")).packet
        assert (addresses(back["service"]), ports(back["service"])) == ((own, client), (30080, 40000))
        assert (addresses(back["pod"]), ports(back["pod"])) == ((pod, client), (PORT, 40000))


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
def test_a_segment_that_opens_nothing_begins_no_flow_beside_another(
    node: Datapath, pod: str, vip: str, backend: str
) -> None:
    node.service(vip, 80, [(backend, PORT, True)])
    ask(node, pod, vip, syn(dport=80))
    done = node.run("pod_ingress", frame(pod, backend, data(dport=PORT)))
    assert (done.verdict, addresses(done.packet), ports(done.packet)) == (
        TC_ACT_REDIRECT,
        (pod, backend),
        (40000, PORT),
    )
    assert node.tables["flows"].count() == 2
