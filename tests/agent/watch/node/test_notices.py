"""Which netlink notices are worth a dump."""

import os
import struct
import subprocess
import threading

import pytest

from agent.netlink.rtnetlink import (
    NLMSG_OVERRUN,
    RTM_DELLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWQDISC,
    RTM_NEWROUTE,
    messages,
)
from agent.watch.node.notices import NodeNotices
from tests.agent.kernel.nets import in_new_netns

POD = "swp0000000001"  # as a pod's device is called


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


def _concerns(notices: NodeNotices, heard: bytes) -> bool:
    told = [notices.concerns_node(notice) for notice in messages(heard)]  # each may teach an ifindex
    return any(told)


@pytest.mark.parametrize(
    ("heard", "concerns"),
    [
        pytest.param(link(RTM_NEWLINK, 2, "eth0"), True, id="a device of the node"),
        pytest.param(link(RTM_NEWLINK, 9, "swp0123456789"), False, id="a pod's device is passed over"),
        pytest.param(link(RTM_NEWLINK, 9, POD) + address(9), False, id="and so are its addresses"),
        pytest.param(link(RTM_NEWLINK, 9, POD) + link(RTM_DELLINK, 9, POD), False, id="and its end"),
        pytest.param(link(RTM_NEWLINK, 9, POD) + address(2), True, id="one pod's notice hides no other"),
        pytest.param(link(RTM_NEWLINK, 9, "swp1") + address(9), True, id="a switch's port is the node's"),
        pytest.param(link(RTM_DELLINK, 9, POD) + address(9), True, id="an ifindex may be given to another"),
        pytest.param(route(0), True, id="a default route"),
        pytest.param(route(32), False, id="a pod's route is passed over"),
        pytest.param(qdisc(2), True, id="another queue on a device of the node"),
        pytest.param(link(RTM_NEWLINK, 9, POD) + qdisc(9), False, id="on a pod's it is passed over"),
        pytest.param(message(NLMSG_OVERRUN, b""), True, id="notices that were lost"),
        pytest.param(b"", False, id="nothing at all"),
    ],
)
def test_what_concerns_the_node(heard: bytes, concerns: bool) -> None:  # noqa: FBT001
    with NodeNotices() as notices:
        assert _concerns(notices, heard) is concerns


def test_a_device_that_takes_a_pods_name_was_the_nodes_before() -> None:
    with NodeNotices() as notices:
        assert _concerns(notices, link(RTM_NEWLINK, 9, "veth9"))
        assert _concerns(notices, link(RTM_NEWLINK, 9, POD))
        assert not _concerns(notices, link(RTM_NEWLINK, 9, POD))


@pytest.mark.netns
def test_notices_of_pods_do_not_put_off_the_end_of_the_wait() -> None:
    def play() -> None:
        ip(f"link add {POD} type bridge", f"link set {POD} up")
        wake, waker = os.pipe()
        stopped = threading.Event()
        with NodeNotices() as notices:
            notices.wait(0.1, wake)
            ip(f"link set {POD} mtu 1400")  # teaches the ifindex
            chatter = threading.Thread(target=_chatter, args=(stopped,))
            chatter.start()
            assert not notices.wait(0.5, wake)  # it would last as long as the chatter
            stopped.set()
            chatter.join()
        os.close(wake)
        os.close(waker)

    in_new_netns(play)


def _chatter(stopped: threading.Event) -> None:
    """A pod's route comes and goes, in the namespace of the thread that began this one."""
    while not stopped.wait(0.05):
        ip(f"route add 10.0.0.9/32 dev {POD}", f"route del 10.0.0.9/32 dev {POD}")


def ip(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
