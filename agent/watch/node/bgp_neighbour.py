"""Finds who is at the other end of an interface by which a BGPPeer is to be reached: its link-local address.

All nodes of the link are asked for an echo (RFC 4291 2.7.1, RFC 4443 4.1), every two seconds until one has answered and
seldom from then on. Of the answer the source alone counts, which may be routed nowhere. BGP itself tells who it is.
"""

import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address

from agent.log import logger
from agent.model.bgp import Neighbours, interfaces
from agent.threads import Threads, Worker
from agent.watch.decode.bgp_peer import BGP_PEER
from agent.watch.decode.node import NODE
from agent.watch.mirror import Mirror

log = logger(__name__)

FIRST_S, LATER_S = 2.0, 10.0  # between questions
START_S, PATIENCE_S = 0.1, 3.0  # between an agent's first ones; how long BGP waits for who does not answer these
ANSWER_S = 0.3  # for which answers are waited for
MOST_ANSWERS = 64
ECHO_REQUEST, ECHO_REPLY = 128, 129
ALL_NODES = "ff02::1"
_HEAD = struct.Struct("!BBHHH")  # type, code, checksum, which the kernel fills in, identifier, number
_IPV6_MULTICAST_HOPS = 1
_NEEDED = frozenset({NODE.name, BGP_PEER.name})  # by which the interfaces are known
# there is no such device, it is down, or it has no address yet
_NOBODY_THERE = frozenset({None, errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.ENETDOWN})


class NeighbourSource:
    """The thread that asks, on the interfaces that this node's BGPPeers name."""

    def __init__(
        self,
        node_name: str,
        mirror: Mirror,
        threads: Threads,
        held: Callable[[], Mapping[str, IPv6Address]] = dict,
    ) -> None:
        """*held* has with whom a session is established at an interface."""
        self._node, self._mirror, self._held = node_name, mirror, held
        self._found: dict[str, frozenset[IPv6Address]] = {}
        self._told: dict[str, frozenset[IPv6Address]] | None = None  # None: nothing yet
        self._known_at: float | None = None  # when the interfaces were, by the monotonic clock
        self._trouble = ""  # as last told
        self._asked_at: dict[str, float] = {}  # of the monotonic clock
        self._worker = Worker(threads, "watch-bgp-neighbours", self._run)

    def start(self) -> None:
        """Begin."""
        self._worker.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread."""
        self._worker.stop(timeout_s)

    def _run(self) -> None:
        while not self._worker.is_stopping:
            with self._worker.busy():
                self.look()
            self._worker.pause(START_S if self._told is None else FIRST_S)

    def look(self) -> None:
        """Ask where it is time to, and tell what is new. Who does not answer is still there, until another one is.

        Who has an established session stays, whoever answers: anybody on the link may. An agent that starts says
        nothing before all have answered, or had the time: sessions that BIRD has stay until then.
        """
        if not _NEEDED.issubset(self._mirror.cluster.listed):
            return
        now = time.monotonic()
        self._known_at = now if self._known_at is None else self._known_at
        held = self._held()
        self._found = {
            name: frozenset({held[name]}) if name in held else self._at(name, now) for name in self._interfaces()
        }
        has_all = all(self._found.values()) or now - self._known_at >= PATIENCE_S
        if self._found != self._told and (has_all or self._told is not None):
            self._told = self._found
            log.info("neighbours of BGP", found={name: len(those) for name, those in self._found.items()})
            self._mirror.set_bgp_neighbours(Neighbours(self._found))

    def _at(self, name: str, now: float) -> frozenset[IPv6Address]:
        found = self._found.get(name, frozenset())
        if found and now - self._asked_at.get(name, -LATER_S) < LATER_S:
            return found
        self._asked_at[name] = now
        answering = self._asked(name)
        is_there = len(found) == 1 and found <= answering
        return found if is_there else answering or found

    def _asked(self, name: str) -> frozenset[IPv6Address]:
        try:
            return frozenset(neighbours(name))
        except OSError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                log.warning("BGP's neighbours cannot be asked for", interface=name, why=error)
            return frozenset()

    def _interfaces(self) -> tuple[str, ...]:
        cluster = self._mirror.cluster
        node = cluster.nodes.get(self._node)
        return tuple(sorted(interfaces(cluster.bgp_peers.values(), dict(node.labels) if node else {})))


def neighbours(interface: str) -> tuple[IPv6Address, ...]:
    """The link-local addresses that answer on an interface; none where it is not there, or has no such address.

    Raises:
        OSError: the question cannot be sent, as without NET_RAW.
    """
    number = os.getpid() & 0xFFFF
    try:
        index = socket.if_nametoindex(interface)
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6) as end:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _IPV6_MULTICAST_HOPS)
            end.sendto(_HEAD.pack(ECHO_REQUEST, 0, 0, number, 1), (ALL_NODES, 0, 0, index))
            return tuple(sorted(_answers(end, number)))
    except OSError as error:
        if error.errno in _NOBODY_THERE:  # None: by its name
            return ()
        raise


def _answers(end: socket.socket, number: int) -> set[IPv6Address]:
    """From whom echoes of ours come."""
    found: set[IPv6Address] = set()
    deadline = time.monotonic() + ANSWER_S
    while (left_s := deadline - time.monotonic()) > 0 and len(found) < MOST_ANSWERS:
        end.settimeout(left_s)
        try:
            said, (text, *_) = end.recvfrom(64)
        except TimeoutError:
            break
        if len(said) >= _HEAD.size and _HEAD.unpack_from(said)[:2] == (ECHO_REPLY, 0):
            address = IPv6Address(text.partition("%")[0])
            if _HEAD.unpack_from(said)[3] == number and address.is_link_local:
                found.add(address)
    return found
