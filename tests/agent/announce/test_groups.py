"""Of which groups a device is a member for the sake of announced IPv6 addresses, in a network namespace."""

import socket
import subprocess
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address

import pytest

from agent.announce.groups import ROOM, Groups
from agent.compile.announce import Announcement
from tests.agent.kernel.nets import in_new_netns

pytestmark = pytest.mark.netns

PREFIX = "ff02::1:ff"


def ip(words: str) -> str:
    return subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True).stdout


def members(device: str) -> set[str]:
    """The groups of addresses that no device has; up0's own link-local one is of ff02::1:ff00:1."""
    found = {line.split()[1] for line in ip(f"-6 maddr show dev {device}").splitlines() if "inet6" in line}
    return {one for one in found if one.startswith(PREFIX)} - {f"{PREFIX}00:1"}


def uplink() -> None:
    ip("link add up0 type veth peer name up1")
    ip("link set up0 addrgenmode none")
    ip("link set up0 up")
    ip("addr add fe80::1/64 dev up0 nodad")


def announced(addresses: Iterable[str]) -> frozenset[Announcement]:
    index = socket.if_nametoindex("up0")
    return frozenset(Announcement(ip_address(one), "up0", index, bytes(6)) for one in addresses)


def test_the_groups_are_those_of_what_is_announced_each_once() -> None:
    def play() -> list[set[str]]:
        uplink()
        groups, seen = Groups(), []
        one, same, other = "2001:db8::aa:bb", "2001:db8:1::aa:bb", "2001:db8::cc:dd"
        for wanted in ((one, same, other, "203.0.113.1"), (same,), ()):
            groups.hold(announced(wanted))
            seen.append(members("up0"))
        return seen

    both = {f"{PREFIX}aa:bb", f"{PREFIX}cc:dd"}
    assert in_new_netns(play) == [both, {f"{PREFIX}aa:bb"}, set()]


def test_very_many_are_joined_and_left() -> None:
    def play() -> list[int]:
        uplink()
        groups, seen = Groups(), []
        for count in (3 * ROOM, 1, 2 * ROOM):
            groups.hold(announced(str(IPv6Address(0x20010DB8 << 96 | 0x10000 + n)) for n in range(count)))
            seen.append(len(members("up0")))
        groups.hold(frozenset())
        return seen

    assert in_new_netns(play) == [3 * ROOM, 1, 2 * ROOM]


def test_what_cannot_be_joined_is_tried_again_and_what_left_with_its_device_is_no_trouble() -> None:
    def play() -> tuple[set[str], set[str]]:
        uplink()
        groups, wanted = Groups(), announced(["2001:db8::aa:bb"])
        elsewhere = frozenset(Announcement(one.address, "up9", 999, bytes(6)) for one in wanted)
        groups.hold(wanted | elsewhere)
        groups.hold(wanted | elsewhere)
        first = members("up0")
        ip("link del up0")
        groups.hold(frozenset())
        uplink()
        groups.hold(announced(["2001:db8::cc:dd"]))
        second = members("up0")
        groups.hold(frozenset())
        return first, second

    assert in_new_netns(play) == ({f"{PREFIX}aa:bb"}, {f"{PREFIX}cc:dd"})
