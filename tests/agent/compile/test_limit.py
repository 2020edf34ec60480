"""Pods' limits as records of their devices, and what the node's record says of them."""

from dataclasses import replace

import pytest

from agent.compile.context import node_context
from agent.compile.limit import LEAST_BURST_NS
from agent.compile.limit import limit_record as records
from agent.compile.node import node_records
from agent.compile.records import Records
from agent.compile.tunnel import TunnelLinks
from agent.model.attachment import Attachment, Limit, Veth
from agent.model.local import Device, Local
from agent.model.node import Node
from maps import abi
from maps.abi import MAPS
from tests.agent.compile.objects import HERE, SETTINGS

POD = Attachment("c1", "eth0", 1, 12, "/run/netns/a", 7, "02:00:00:00:00:01", Veth("swp1", 4))
SLOW = replace(POD, ingress_limit=Limit(8_000_000, 4_000_000), egress_limit=Limit(1000, 1))
TCP_RTO_MIN_NS = 200_000_000  # include/net/tcp.h
ETH0, ETH1 = Device(2, "eth0"), Device(3, "eth1", is_paced=True)


def unpacked(attachment: Attachment) -> dict[int, abi.AttachmentLimits]:
    found = records(attachment)
    return {abi.LIMITS.key.unpack(key): abi.AttachmentLimits.unpack(value) for key, value in found.items()}


def of_node(attachments: tuple[Attachment, ...], devices: tuple[Device, ...]) -> Records:
    local = Local(devices, attachments)
    return node_records(node_context(Node(HERE), local, {}), local, SETTINGS, TunnelLinks())


def test_a_burst_is_the_time_it_takes_at_the_rate() -> None:
    record = unpacked(SLOW)[12]
    assert record.ingress == abi.Limit(8_000_000, 500_000_000, 0)


@pytest.mark.parametrize("burst", [pytest.param(1, id="one that is too small"), pytest.param(0, id="none")])
def test_a_burst_is_as_long_as_tcp_waits_at_the_least(burst: int) -> None:
    record = unpacked(replace(SLOW, egress_limit=Limit(1000, burst)))[12]
    assert record.egress == abi.Limit(1000, LEAST_BURST_NS, 0)
    assert LEAST_BURST_NS > TCP_RTO_MIN_NS


def test_one_direction_may_be_free() -> None:
    assert unpacked(replace(SLOW, ingress_limit=None))[12].ingress == abi.Limit(0, 0, 0)


def test_devices_that_keep_time_stand_beside_pods_with_a_limit_alone() -> None:
    assert of_node((POD,), (ETH0, ETH1)).of_map("paced_devices") == {}
    (key,) = of_node((SLOW,), (ETH0, ETH1)).of_map("paced_devices")
    assert abi.PACED_DEVICES.key.unpack(key) == 3


def test_as_many_devices_may_keep_time_as_may_be_uplinks() -> None:
    """With net.core.default_qdisc=fq every function of a card does."""
    assert abi.PACED_DEVICES.max_entries == abi.UPLINKS.max_entries


@pytest.mark.parametrize(
    ("attachments", "devices", "wanted"),
    [
        pytest.param((POD,), (ETH1,), abi.NodeFlag(0), id="no pod has a limit"),
        pytest.param((SLOW,), (ETH0,), abi.NodeFlag.NODE_LIMITS, id="no device keeps time"),
        pytest.param((SLOW,), (ETH1,), abi.NodeFlag.NODE_LIMITS | abi.NodeFlag.NODE_PACED, id="one does"),
    ],
)
def test_the_nodes_record_says_whether_to_look(
    attachments: tuple[Attachment, ...], devices: tuple[Device, ...], wanted: abi.NodeFlag
) -> None:
    (packed,) = of_node(attachments, devices).of_map("node").values()
    assert abi.Node.unpack(packed).flags & ~abi.NodeFlag.NODE_MASQUERADE == wanted


def test_records_are_compared_without_what_was_counted() -> None:
    (resting,) = records(SLOW).values()
    counted = abi.AttachmentLimits.unpack(resting)
    counted = replace(counted, ingress=replace(counted.ingress, at_ns=5), egress=replace(counted.egress, at_ns=6))
    assert MAPS["limits"].at_rest(counted.pack()) == resting
