"""What the kernel lists, whole or not at all."""

import errno
import socket
import struct

import pytest

from agent.netlink.dump import ATTEMPTS, Dump
from agent.netlink.rtnetlink import NLM_F_DUMP_INTR, NLMSG_DONE, RTM_GETLINK, RTM_NEWLINK, message
from agent.netlink.socket import Socket

DONE = message(NLMSG_DONE, 0, 1, bytes(4))


def test_what_the_kernel_refuses_is_told() -> None:
    with Dump() as dump:
        with pytest.raises(OSError, match="netlink") as refused:
            dump.read(RTM_GETLINK + 1000, bytes(16))
        assert refused.value.errno == errno.EOPNOTSUPP
        assert dump.read(RTM_GETLINK, bytes(16)), "the socket is as good as before"


def test_a_list_that_changed_while_it_was_given_is_asked_for_again() -> None:
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    changed = message(RTM_NEWLINK, NLM_F_DUMP_INTR, 1, b"old.")
    for answer in (message(RTM_NEWLINK, 0, 1, b"one."), changed + DONE, message(RTM_NEWLINK, 0, 2, b"new."), DONE):
        kernel.send(answer)
    with Dump(Socket(ours.fileno())) as dump:
        assert dump.read(RTM_GETLINK, b"") == [b"new."]
    kernel.close()
    ours.close()


def test_a_list_that_never_stands_still_is_taken_as_it_is() -> None:
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for n in range(ATTEMPTS):
        kernel.send(message(RTM_NEWLINK, NLM_F_DUMP_INTR, n, b"old%d" % n) + DONE)
    with Dump(Socket(ours.fileno())) as dump:
        assert dump.read(RTM_GETLINK, b"") == [b"old%d" % (ATTEMPTS - 1)]
    kernel.close()
    ours.close()


def test_a_kernel_that_stays_silent_is_an_error() -> None:
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("=qq", 0, 1000))
    with Dump(Socket(ours.fileno())) as dump, pytest.raises(BlockingIOError):
        dump.read(RTM_GETLINK, b"")
    kernel.close()
    ours.close()
