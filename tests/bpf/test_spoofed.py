"""A packet that is dropped for its source has changed nothing: no flow, no copy of one, no other map."""

import os
from collections.abc import Mapping

import pytest
from scapy.packet import Packet

from maps import abi, mapio
from maps.abi import DropReason, NodeFlag, PrefixFlag
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    LOOPBACK,
    OTHER,
    OTHER6,
    OTHER_MAC,
    OTHER_POD_DEVICE,
    POD_MAC,
    REMOTE,
    REMOTE6,
    TC_ACT_SHOT,
    VIP,
    VIP6,
    Datapath,
    data,
    datagram,
    frame,
    syn,
)

pytestmark = pytest.mark.kernel

UDP = 17
# the pod that is spoofed, and whom it talks to outside
OUTSIDE = [pytest.param(OTHER, CLIENT, id="IPv4"), pytest.param(OTHER6, CLIENT6, id="IPv6")]
# the same pod, a service, and its backend on another node: whom the pod asked, whom the spoofed packet is sent to
THROUGH_SERVICE = [
    pytest.param(OTHER, VIP, REMOTE, VIP, id="IPv4, to the service"),
    pytest.param(OTHER6, VIP6, REMOTE6, VIP6, id="IPv6, to the service"),
    pytest.param(OTHER, VIP, REMOTE, REMOTE, id="IPv4, straight to the backend"),
    pytest.param(OTHER6, VIP6, REMOTE6, REMOTE6, id="IPv6, straight to the backend"),
]
SPOOFED = [
    pytest.param(1, DropReason.DROP_SOURCE_MAC, id="from another MAC"),
    pytest.param(2, DropReason.DROP_SOURCE_ADDRESS, id="from another pod's device, after an endpoint has changed"),
]
# counters and the ring of drops say that the packet was dropped, and nothing else does
COUNTED = frozenset({"counters", "drops"})
LONG_AGO = 20  # in seen_s's unit


def state(node: Datapath) -> Mapping[str, object]:
    """All that the programs keep between packets: every map of Python's, the copies of flows and their epoch."""
    found: dict[str, object] = {
        name: sorted(map(repr, table.items())) for name, table in node.tables.items() if name not in COUNTED
    }
    found["epoch"] = mapio.lookup(node.copies, bytes(4), 8)
    for name, octets in (
        ("flow_caches", abi.MAPS["flow_caches"].value.SIZE),
        ("cache_sets", abi.MAPS["cache_sets"].value.SIZE),
        ("shortcuts", abi.MAPS["shortcuts"].value.SIZE),
        ("shortcut_tags", abi.MAPS["shortcut_tags"].value.SIZE),
    ):
        found[name] = list(
            mapio.read(node.objects["tc_pod"].map_fd(name), 4, octets, node.objects["tc_pod"].max_entries(name))
        )
    return found


def talk(node: Datapath, *packets: Packet) -> None:
    """The other pod sends these; then its device is another one, and none of its flows was seen lately."""
    for address in (OTHER, OTHER6):
        node.endpoint(address, LOOPBACK, OTHER_MAC)
    node.node(flags=NodeFlag.NODE_MASQUERADE)
    for packet in packets:
        node.run("pod_ingress", packet)  # the flow is kept, though nothing has a route here
    for address in (OTHER, OTHER6):
        node.endpoint(address, OTHER_POD_DEVICE, OTHER_MAC)
    flows = node.tables["flows"]
    aged = [
        (key, abi.Flow(**{f: getattr(flow, f) for f in abi.Flow.__slots__} | {"seen_s": flow.seen_s - LONG_AGO}))
        for key, flow in flows.items()
    ]
    assert aged
    flows.update(aged)
    mapio.update(node.copies, bytes(4), os.urandom(8), 1)  # a copy would hide that the table is written


def assert_unchanged(node: Datapath, spoofed: Packet, revision: int, reason: DropReason) -> None:
    """The packet is dropped for its source, and nothing is known of it."""
    node.node(revision=revision, flags=NodeFlag.NODE_MASQUERADE)
    before = state(node)
    done = node.run("pod_ingress", spoofed)
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, reason)
    assert state(node) == before


@pytest.mark.parametrize(("revision", "reason"), SPOOFED)
@pytest.mark.parametrize(("pod", "client"), OUTSIDE)
@pytest.mark.parametrize(
    ("flags", "last"),
    [
        pytest.param("R", "PA", id="RST"),
        pytest.param("FA", "PA", id="FIN"),
        pytest.param("PA", "PA", id="data, long after the last packet"),
        pytest.param("S", "R", id="SYN on a closed flow"),
    ],
)
def test_a_tcp_flow_stays_as_it_was(
    node: Datapath, pod: str, client: str, flags: str, last: str, revision: int, reason: DropReason
) -> None:
    talk(node, frame(pod, client, syn(), mac=OTHER_MAC), frame(pod, client, data(flags=last), mac=OTHER_MAC))
    assert_unchanged(node, frame(pod, client, data(flags=flags), mac=POD_MAC), revision, reason)


@pytest.mark.parametrize(("revision", "reason"), SPOOFED)
@pytest.mark.parametrize(("pod", "service", "backend", "to"), THROUGH_SERVICE)
def test_a_udp_flow_stays_as_it_was(
    node: Datapath, pod: str, service: str, backend: str, to: str, revision: int, reason: DropReason
) -> None:
    for pods in ("10.244.2.0/24", "fd00:2::/64"):
        node.prefix(pods, flags=PrefixFlag.PREFIX_NO_MASQUERADE)
    node.service(service, 53, [(backend, 53, False)], protocol=UDP)
    talk(node, frame(pod, service, datagram(), mac=OTHER_MAC))
    if to == backend:
        reason = DropReason.DROP_SOURCE_ADDRESS  # whose flow it would be is not known, so the endpoints are asked
    assert_unchanged(node, frame(pod, to, datagram(), mac=POD_MAC), revision, reason)
