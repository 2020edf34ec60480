"""A netlink batch: requests for one or several sockets, and sysctls among them, done in one call while all goes well.

pyroute2 is right where time is no matter. What a pod waits for goes this way, since to build each of a dozen messages
out of dictionaries, and to wait for each by itself, was most of what ADD took.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from agent.netlink.requests import Request
from agent.netlink.rtnetlink import IF_OPER_UP, NLM_F_ACK, NLM_F_REQUEST, RTM_GETLINK, message
from maps.netlink import DeviceAnswer, End, Part, PartRefused, run


class Refused(OSError):  # noqa: N818  the name says what happened
    """The kernel refused a request or a sysctl of a batch, in the part of this number."""

    def __init__(self, number: int, text: str, part: int) -> None:
        super().__init__(number, text)
        self.part = part


@dataclass(frozen=True, slots=True)
class Link:
    """What the kernel tells of a device."""

    index: int
    mac: str
    mtu: int
    is_operational: bool  # up, and so is the other end
    peer: int  # of a veth: the other end's ifindex in its own namespace


@dataclass(frozen=True, slots=True)
class Messages:
    """A part: requests for one socket, by its descriptor; for *end* a device without number (0) stands in them."""

    fd: int
    requests: tuple[Request, ...]
    end: End = End.NOBODY

    def part(self) -> Part:
        """The part as the kernel is to get it; of the requests before the last only refusals are told."""
        last = len(self.requests) - 1
        # what asks for a device is answered by it, all else by an acknowledgement
        flags = NLM_F_REQUEST | (NLM_F_ACK if self.requests[last].kind != RTM_GETLINK else 0)
        wanted = enumerate(self.requests)
        content = (message(r.kind, r.flags | (flags if i == last else NLM_F_REQUEST), i, r.body) for i, r in wanted)
        return Part(b"".join(content), self.fd, last=last, end=self.end)

    def doing(self, request: int) -> str:
        """What was refused."""
        return str(self.requests[request])


@dataclass(frozen=True, slots=True)
class SetSysctl:
    """A part: a sysctl under /proc/sys to be set; one that the kernel lacks is passed over."""

    path: str
    value: str
    netns: int = -1  # whose sysctl it is, by a descriptor; -1: the calling thread's namespace

    def part(self) -> Part:
        """The part as the kernel is to get it."""
        return Part(self.value.encode(), path=self.path.encode(), netns=self.netns)

    def doing(self, _: int) -> str:
        """What was refused."""
        return f"set {self.path} to {self.value}"


Batch = Sequence[Messages | SetSysctl]


def run_batch(batch: Batch, *, alone: bool = False) -> tuple[Link, ...]:
    """Do the parts in their order, up to the first that is refused; the links that were asked for.

    Of those who ask to be *alone*, one is in work at a time.

    Raises:
        Refused: the refusal.
    """
    try:
        answers = run([each.part() for each in batch], alone=alone)
    except PartRefused as refused:
        doing = batch[refused.part].doing(refused.request)
        raise Refused(refused.errno, f"{doing}: {os.strerror(refused.errno)}", refused.part) from None
    return tuple(map(_link, answers))


def _link(answer: DeviceAnswer) -> Link:
    return Link(answer.index, answer.mac.hex(":"), answer.mtu, answer.state == IF_OPER_UP, answer.peer)
