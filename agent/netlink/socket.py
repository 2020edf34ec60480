"""A netlink socket to which many requests go at once: one write, and one read while all goes well.

pyroute2 is right where time is no matter. What a pod waits for goes this way, since to build each of a dozen messages
out of dictionaries, and to wait for each by itself, was most of what ADD took.
"""

import errno
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from agent.netlink.rtnetlink import IFLA_IFNAME, LINK, message, packed
from maps.steps import End, Step, StepRefused
from maps.steps import run as steps_in_a_row

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if.h
NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
RTM_GETLINK = 18
IF_OPER_UP = 6
IFF_UP = 0x1
LINK_SAID = struct.Struct("=iII6sBx")  # struct shim_device: index, MTU, peer, MAC, state
IFLA_EXT_MASK, NO_STATISTICS = 29, struct.pack("=I", 1 << 3)  # RTEXT_FILTER_SKIP_STATS
WAIT = struct.pack("=qq", 30, 0)  # struct timeval; the kernel answers within the write, but for a broken one


class Refused(OSError):  # noqa: N818  the name says what happened
    """The kernel refused one of several steps, of which *step* is the number."""

    def __init__(self, number: int, text: str, step: int) -> None:
        super().__init__(number, text)
        self.step = step


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to ask for; *doing* and *whose* name it where it is refused."""

    kind: int
    flags: int
    body: bytes
    doing: str
    whose: object = ""  # made text only then


@dataclass(frozen=True, slots=True)
class Link:
    """What the kernel tells of a device."""

    index: int
    mac: str
    mtu: int
    is_operational: bool  # up, and so is the other end
    peer: int  # of a veth: the other end's ifindex in its own namespace


class Socket:
    """A netlink socket of the network namespace in which it was made."""

    def __init__(self, fd: int = -1) -> None:
        """One by its descriptor, which stays its owner's; -1: a new one, where the calling thread is now."""
        self._socket = None if fd >= 0 else _new_socket()
        self._fd = self._socket.fileno() if self._socket else fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Be done with it."""
        if self._socket:
            self._socket.close()

    def ask(self, *requests: Request) -> tuple[Link, ...]:
        """Have all requests done in their order; the links that were asked for.

        The kernel goes on behind a request that it refuses. So what must not happen without another is asked for later.

        Raises:
            Refused: the first refusal, after all were tried.
        """
        return run((self.asking(*requests),))

    def asking(self, *requests: Request, end: End = End.NOBODY) -> "Ask":
        """The same as one of several steps; for *end* a device without number (0) stands in the requests."""
        return Ask(self._fd, requests, end)

    def find(self, *, name: str = "", index: int = 0) -> Link | None:
        """The device of this name, or of this ifindex; None when there is none."""
        try:
            return self.ask(get_link(name=name, index=index))[0]
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return None


@dataclass(frozen=True, slots=True)
class Ask:
    """Requests for a socket, by its descriptor."""

    fd: int
    requests: tuple[Request, ...]
    end: End = End.NOBODY

    def step(self) -> Step:
        """As the kernel is to get it; of the requests before the last only refusals are told."""
        last = len(self.requests) - 1
        # what asks for a device is answered by it, all else by an acknowledgement
        flags = NLM_F_REQUEST | (NLM_F_ACK if self.requests[last].kind != RTM_GETLINK else 0)
        wanted = enumerate(self.requests)
        content = (message(r.kind, r.flags | (flags if i == last else NLM_F_REQUEST), i, r.body) for i, r in wanted)
        return Step(b"".join(content), self.fd, last=last, end=self.end)

    def doing(self, request: int) -> str:
        """What was refused."""
        return f"{self.requests[request].doing} {self.requests[request].whose}".rstrip()


@dataclass(frozen=True, slots=True)
class Knob:
    """A knob under /proc/sys; one that the kernel lacks is passed over."""

    path: str
    value: str
    netns: int = -1  # whose knob it is, by a descriptor; -1: the calling thread's namespace

    def step(self) -> Step:
        """As the kernel is to get it."""
        return Step(self.value.encode(), path=self.path.encode(), netns=self.netns)

    def doing(self, _: int) -> str:
        """What was refused."""
        return f"set {self.path} to {self.value}"


def run(steps: Sequence[Ask | Knob], *, alone: bool = False) -> tuple[Link, ...]:
    """Take the steps in their order, up to the first that is refused; the links that were asked for.

    Of those who ask to be *alone*, one is in work at a time.

    Raises:
        Refused: the refusal.
    """
    try:
        said = steps_in_a_row([step.step() for step in steps], alone=alone)
    except StepRefused as refused:
        doing = steps[refused.step].doing(refused.request)
        raise Refused(refused.errno, f"{doing}: {os.strerror(refused.errno)}", refused.step) from None
    return tuple(
        Link(i, mac.hex(":"), mtu, up == IF_OPER_UP, peer) for i, mtu, peer, mac, up in LINK_SAID.iter_unpack(said)
    )


def _new_socket() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, WAIT)
    return made


def get_link(*, name: str = "", index: int = 0) -> Request:
    """What the kernel knows of a device, by its name or its ifindex."""
    body = LINK.pack(0, 0, index, 0, 0) + packed(IFLA_EXT_MASK, NO_STATISTICS)
    return Request(RTM_GETLINK, 0, body + packed_name(name) if name else body, "ask for a device")


def packed_name(name: str) -> bytes:
    """A device's name as an attribute."""
    return packed(IFLA_IFNAME, name.encode() + b"\0")
