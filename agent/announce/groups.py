"""The multicast groups in which neighbours are asked for announced IPv6 addresses, as members of which hosts hear it.

Network cards and switches (MLD snooping) pass on what is for a group that somebody has joined. The addresses are on no
device, so the kernel joins none for them.

Source: RFC 4291 2.7.1, RFC 4861 7.2.1, RFC 4541.
"""

import socket
import struct
from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv6Address

from agent.announce.frames import solicited
from agent.compile.announce import Announcement
from agent.log import logger

log = logger(__name__)

ROOM = 128  # memberships of one socket: the kernel counts them towards net.core.optmem_max
_MEMBERSHIP = struct.Struct("@16sI")  # struct ipv6_mreq

Key = tuple[int, IPv6Address]  # ifindex and group


class Groups:
    """Those that one thread has joined, in its network namespace; they end with the process."""

    def __init__(self) -> None:
        self._joined: dict[Key, socket.socket] = {}
        self._members: Counter[socket.socket] = Counter()  # how many each holds
        self._wanted: frozenset[Announcement] = frozenset()
        self._lost: frozenset[Key] = frozenset()  # could not be joined

    def hold(self, wanted: frozenset[Announcement]) -> None:
        """Be a member of the groups of these alone; what cannot be joined is tried with the next call."""
        if wanted is self._wanted and not self._lost:
            return
        keys = frozenset(_keys(wanted))
        for key in self._joined.keys() - keys:
            self._leave(key)
        lost = frozenset(key for key in keys - self._joined.keys() if not self._join(key))
        if lost - self._lost:
            log.warning("groups of announced IPv6 addresses cannot be joined; tried again", groups=len(lost))
        self._wanted, self._lost = wanted, lost

    def _join(self, key: Key) -> bool:
        index, group = key
        end = self._room()
        try:
            end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, _MEMBERSHIP.pack(group.packed, index))
        except OSError:
            self._close_unused(end)
            return False
        self._joined[key] = end
        self._members[end] += 1
        return True

    def _leave(self, key: Key) -> None:
        index, group = key
        end = self._joined.pop(key)
        self._members[end] -= 1
        try:
            end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, _MEMBERSHIP.pack(group.packed, index))
        except OSError as error:  # it left with its device
            log.debug("a group was left with its device", ifindex=index, why=error)
        self._close_unused(end)

    def _room(self) -> socket.socket:
        """One that has room."""
        with_room = (end for end, count in self._members.items() if count < ROOM)
        return next(with_room, None) or socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def _close_unused(self, end: socket.socket) -> None:
        if not self._members[end]:
            del self._members[end]
            end.close()


def _keys(wanted: Iterable[Announcement]) -> Iterable[Key]:
    """Several addresses may have one group."""
    return ((one.ifindex, solicited(one.address)) for one in wanted if isinstance(one.address, IPv6Address))
