"""Which netlink notices are worth a dump."""

import struct

import pytest

from agent.netlink.notices import Notices
from agent.netlink.rtnetlink import RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWQDISC, RTM_NEWROUTE


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body + b"\0" * (-len(body) % 4)


def link(kind: int, index: int, name: str) -> bytes:
    text = name.encode() + b"\0"
    attributes = struct.pack("=HHI", 8, 13, 0) + struct.pack("=HH", 4 + len(text), 3) + text
    return message(kind, struct.pack("=BxHiII", 0, 1, index, 0, 0) + attributes)


def address(index: int) -> bytes:
    return message(RTM_NEWADDR, struct.pack("=BBBBi", 2, 24, 0, 0, index))


def qdisc(index: int) -> bytes:
    return message(RTM_NEWQDISC, struct.pack("=BxxxiIII", 0, index, 0x10000, 0xFFFFFFFF, 1))


def route(prefix_length: int) -> bytes:
    return message(RTM_NEWROUTE, struct.pack("=BBBBBBBBI", 2, prefix_length, 0, 0, 254, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("heard", "concerns"),
    [
        pytest.param(link(RTM_NEWLINK, 2, "eth0"), True, id="a device of the node"),
        pytest.param(link(RTM_NEWLINK, 9, "swp0123456789"), False, id="a pod's device is passed over"),
        pytest.param(link(RTM_NEWLINK, 9, "swp01") + address(9), False, id="and so are its addresses"),
        pytest.param(link(RTM_NEWLINK, 9, "swp01") + link(RTM_DELLINK, 9, "swp01"), False, id="and its end"),
        pytest.param(link(RTM_NEWLINK, 9, "swp01") + address(2), True, id="one pod's notice hides no other"),
        pytest.param(link(RTM_DELLINK, 9, "swp01") + address(9), True, id="an ifindex may be given to another"),
        pytest.param(route(0), True, id="a default route"),
        pytest.param(route(32), False, id="a pod's route is passed over"),
        pytest.param(qdisc(2), True, id="another queue on a device of the node"),
        pytest.param(link(RTM_NEWLINK, 9, "swp01") + qdisc(9), False, id="on a pod's it is passed over"),
        pytest.param(b"", False, id="nothing at all"),
    ],
)
def test_what_concerns_the_node(heard: bytes, concerns: bool) -> None:  # noqa: FBT001
    with Notices() as notices:
        assert notices.concerns_node(heard) is concerns


def test_a_device_that_takes_a_pods_name_was_the_nodes_before() -> None:
    with Notices() as notices:
        assert notices.concerns_node(link(RTM_NEWLINK, 9, "veth9"))
        assert notices.concerns_node(link(RTM_NEWLINK, 9, "swp01"))
        assert not notices.concerns_node(link(RTM_NEWLINK, 9, "swp01"))
