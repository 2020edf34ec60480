"""Where addresses are is remembered, one to a place, until the node's state has another revision."""

from ipaddress import IPv4Address

import pytest

from maps import abi
from maps.abi import DropReason
from tests.bpf.cpus import OWN_CPU, on_cpu
from tests.bpf.datapath import (
    LOOPBACK,
    OTHER,
    OTHER_MAC,
    OTHER_POD_DEVICE,
    POD,
    POD_MAC,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    Datapath,
    addr,
    datagram,
    frame,
)

pytestmark = pytest.mark.kernel

LATE = "10.244.1.77"  # no pod's, at first
LATE_MAC = "02:00:00:00:00:77"
MANY = IPv4Address("10.245.0.0")


def moves(node: Datapath, address: str, ifindex: int, mac: str) -> None:
    """An address is elsewhere, and the revision is not yet raised."""
    node.tables["endpoints"].update([(addr(address), abi.Endpoint(node.attach(ifindex, mac), 0))])


def test_an_address_is_asked_for_again_when_the_revision_is_raised(node: Datapath) -> None:
    with on_cpu(OWN_CPU):
        for sport in (41000, 41001):
            assert node.run("pod_ingress", frame(POD, LATE, datagram(sport=sport))).verdict == TC_ACT_OK
        moves(node, LATE, OTHER_POD_DEVICE, LATE_MAC)
        node.node(revision=2)
        done = node.run("pod_ingress", frame(POD, LATE, datagram(sport=41002)))
        assert (done.verdict, done.packet.dst) == (TC_ACT_REDIRECT, LATE_MAC)
        moves(node, LATE, OTHER_POD_DEVICE, OTHER_MAC)
        node.node(revision=3)
        assert node.run("pod_ingress", frame(POD, LATE, datagram(sport=41003))).packet.dst == OTHER_MAC


def test_a_pod_sends_from_an_address_that_was_nobodys(node: Datapath) -> None:
    with on_cpu(OWN_CPU):
        sent = frame(LATE, OTHER, datagram(), mac=LATE_MAC)
        assert node.run("pod_ingress", sent).reason is DropReason.DROP_SOURCE_ADDRESS
        moves(node, LATE, LOOPBACK, LATE_MAC)
        node.node(revision=2)
        assert node.run("pod_ingress", sent).verdict == TC_ACT_REDIRECT


def test_an_address_that_is_a_pods_no_more_is_no_senders(node: Datapath) -> None:
    with on_cpu(OWN_CPU):
        assert node.run("pod_ingress", frame(POD, OTHER, datagram(sport=41000))).verdict == TC_ACT_REDIRECT
        node.tables["endpoints"].delete([addr(POD)])
        node.node(revision=2)
        done = node.run("pod_ingress", frame(POD, OTHER, datagram(sport=41001)))
        assert done.reason is DropReason.DROP_SOURCE_ADDRESS


def test_addresses_that_share_a_place_are_kept_apart(node: Datapath) -> None:
    pods = {str(MANY + i): f"02:01:00:00:{i >> 8:02x}:{i & 255:02x}" for i in range(200)}  # of 1024 places
    for address, mac in pods.items():
        moves(node, address, OTHER_POD_DEVICE, mac)
    with on_cpu(OWN_CPU):
        for address, mac in pods.items():
            assert node.run("pod_ingress", frame(POD, address, datagram())).packet.dst == mac
        assert node.run("pod_ingress", frame(POD, OTHER, datagram(), mac=POD_MAC)).packet.dst == OTHER_MAC
