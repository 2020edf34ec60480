"""What a pod's device tells its link of the pod's addresses: they may have been another's before, with another MAC.

The kernel does so when a device comes up, which ours does before it has addresses, and for IPv6 behind a check for
duplicates, which ours have not; and a card's link is there some time later.

Source: RFC 5227, section 3 ("ARP announcement"); RFC 4861, section 7.2.6.
"""

import fcntl
import socket
import struct
import time

from agent.announce.frames import claims
from agent.log import logger
from agent.netlink.netns import NoSuchNetns, inside, open_netns
from agent.pods.device.ipam import interfaces
from agent.pods.device.record import DeviceRecord

log = logger(__name__)

LINK_S = 1.0  # an ADD waits so long for the card's link, and not for ever
LOOK_S = 0.01
TIMES = 2  # a frame may be lost while the device's queue begins
_SIOCGIFFLAGS, _IFF_RUNNING = 0x8913, 0x40  # linux/sockios.h, linux/if.h
_IFREQ = struct.Struct("16sH22x")  # struct ifreq: name, flags


def claim_addresses(record: DeviceRecord, within_s: float = LINK_S) -> None:
    """Tell neighbours of a pod's addresses on its device; where that cannot be, they find out by themselves."""
    frames = [
        frame
        for one in interfaces(record.given)
        for frame in claims(one.ip, bytes.fromhex(record.mac.replace(":", "")))
    ]
    if not frames:
        return
    try:
        with _socket(record) as raw:
            until = time.monotonic() + within_s
            while not _has_link(raw, record.interface):
                if time.monotonic() > until:
                    log.info("device has no link yet; its addresses are not announced", interface=record.interface)
                    return
                time.sleep(LOOK_S)
            for _ in range(TIMES):
                for frame in frames:
                    raw.sendto(frame, (record.interface, 0))
                time.sleep(LOOK_S)
    except (NoSuchNetns, OSError) as error:
        log.info("addresses of a device are not announced", interface=record.interface, why=error)


def _socket(record: DeviceRecord) -> socket.socket:
    """One that is in the pod's namespace, whichever thread uses it."""
    with open_netns(record.netns, may_be_host=False) as there:
        if there.cookie != record.netns_cookie:
            raise NoSuchNetns(f"{record.netns}: is another's now")
        with inside(f"/proc/self/fd/{there.fd}"):
            return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)


def _has_link(raw: socket.socket, interface: str) -> bool:
    asked = _IFREQ.pack(interface.encode(), 0)
    flags: int = _IFREQ.unpack(fcntl.ioctl(raw, _SIOCGIFFLAGS, asked))[1]
    return bool(flags & _IFF_RUNNING)
