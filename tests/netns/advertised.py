"""A router on a device's link in a namespace, which says that it is the way out, and which addresses to take."""

import json
import socket
import subprocess
import time
from typing import Any

from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6NDOptPrefixInfo, IPv6
from scapy.layers.l2 import Ether

from agent.netlink.netns import inside

PREFIX = "fd66::/64"


def is_followed(netns: str, device: str, look: str) -> bool:
    """Whether an advertisement by a device's peer, ``<device>-peer``, is followed: what *look* shows is not empty.

    *netns* is a name of ``ip netns``, *look* what ``ip -6`` shows of the device behind its ``show dev``.
    """
    for _ in range(20):
        _advertise(netns, f"{device}-peer")
        if shown(netns, device, look):
            return True
        time.sleep(0.05)
    return False


def shown(netns: str, device: str, look: str) -> list[dict[str, Any]]:
    """What ``ip -6`` shows of a device: ``route default``, ``addr to fd66::/64``."""
    noun, _, more = look.partition(" ")
    command = ["ip", "-n", netns, "-j", "-6", noun, "show", "dev", device, *more.split()]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: list[dict[str, Any]] = json.loads(answer or "[]")
    return [one for one in found if one]


def _advertise(netns: str, device: str) -> None:
    head = Ether(src="02:00:00:00:00:99", dst="33:33:00:00:00:01") / IPv6(src="fe80::99", dst="ff02::1", hlim=255)
    prefix, _, length = PREFIX.partition("/")
    option = ICMPv6NDOptPrefixInfo(prefix=prefix, prefixlen=int(length), L=1, A=1)
    with inside(f"/run/netns/{netns}"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((device, 0))
        wire.send(bytes(head / ICMPv6ND_RA(routerlifetime=1800) / option))
