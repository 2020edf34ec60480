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

from agent.cookie import netns_cookie
from agent.rtnetlink import IFLA_IFNAME, message, packed
from maps.steps import Step, StepRefused
from maps.steps import run as steps_in_a_row

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if.h
NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
RTM_GETLINK = 18
IF_OPER_UP = 6
IFF_UP = 0x1
LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
LINK_SAID = struct.Struct("=iII6sBx")  # struct shim_device: index, MTU, peer, MAC, state
IFLA_EXT_MASK, NO_STATISTICS = 29, struct.pack("=I", 1 << 3)  # RTEXT_FILTER_SKIP_STATS
WAIT = struct.pack("=qq", 30, 0)  # struct timeval; the kernel answers within the write, but for a broken one


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to ask for; *doing* names it where it is refused."""

    kind: int
    flags: int
    body: bytes
    doing: str


@dataclass(frozen=True, slots=True)
class Link:
    """What the kernel tells of a device."""

    index: int
    mac: str
    mtu: int
    is_operational: bool  # up, and so is the other end
    peer: int  # of a veth: the other end's ifindex in its own namespace


class Socket:
    """A netlink socket of the network namespace in which the calling thread is now."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, WAIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Be done with it."""
        self._socket.close()

    def ask(self, *requests: Request) -> tuple[Link, ...]:
        """Have all requests done in their order; the links that were asked for.

        The kernel goes on behind a request that it refuses. So what must not happen without another is asked for later.

        Raises:
            OSError: the first refusal, after all were tried.
        """
        return run((self.asking(*requests),))

    def asking(self, *requests: Request) -> "Ask":
        """The same as one of several steps."""
        return Ask(self._socket.fileno(), requests)

    @property
    def cookie(self) -> int:
        """The cookie of the socket's network namespace."""
        return netns_cookie(self._socket)

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

    def step(self) -> Step:
        """As the kernel is to get it; of the requests before the last only refusals are told."""
        last = len(self.requests) - 1
        # what asks for a device is answered by it, all else by an acknowledgement
        flags = NLM_F_REQUEST | (NLM_F_ACK if self.requests[last].kind != RTM_GETLINK else 0)
        wanted = enumerate(self.requests)
        content = (message(r.kind, r.flags | (flags if i == last else NLM_F_REQUEST), i, r.body) for i, r in wanted)
        return Step(b"".join(content), self.fd, last=last)

    def doing(self, request: int) -> str:
        """What was refused."""
        return self.requests[request].doing


@dataclass(frozen=True, slots=True)
class Knob:
    """A knob under /proc/sys of the calling thread's namespace; one that the kernel lacks is passed over."""

    path: str
    value: str

    def step(self) -> Step:
        """As the kernel is to get it."""
        return Step(self.value.encode(), path=self.path.encode())

    def doing(self, _: int) -> str:
        """What was refused."""
        return f"set {self.path} to {self.value}"


def run(steps: Sequence[Ask | Knob]) -> tuple[Link, ...]:
    """Take the steps in their order, up to the first that is refused; the links that were asked for.

    Raises:
        OSError: the refusal.
    """
    try:
        said = steps_in_a_row([step.step() for step in steps])
    except StepRefused as refused:
        doing = steps[refused.step].doing(refused.request)
        raise OSError(refused.errno, f"{doing}: {os.strerror(refused.errno)}") from None
    return tuple(
        Link(i, mac.hex(":"), mtu, up == IF_OPER_UP, peer) for i, mtu, peer, mac, up in LINK_SAID.iter_unpack(said)
    )


def get_link(*, name: str = "", index: int = 0) -> Request:
    """What the kernel knows of a device, by its name or its ifindex."""
    body = LINK.pack(0, 0, index, 0, 0) + packed(IFLA_EXT_MASK, NO_STATISTICS)
    return Request(RTM_GETLINK, 0, body + packed_name(name) if name else body, "ask for a device")


def packed_name(name: str) -> bytes:
    """A device's name as an attribute."""
    return packed(IFLA_IFNAME, name.encode() + b"\0")
