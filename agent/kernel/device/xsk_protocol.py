"""What an application asks for its AF_XDP sockets, a message each, and what it is answered; pure.

It is the protocol of the AF_XDP plugins for Kubernetes, version 0.1, as DPDK's driver ``net_af_xdp`` speaks it with
``use_cni=1``: /connect, /version, /xsk_map_fd, perhaps /config_busy_poll, /fin. A message is a SEQPACKET's packet; a
descriptor goes beside it. Who asks is known by the network namespace of its socket, and not by the host name that it
says, so nothing has to come before anything else, and as often as one likes: containers start again.

Source: DPDK 24.11, drivers/net/af_xdp and doc/guides/howto/af_xdp_dp; afxdp-plugins-for-kubernetes, internal/udsserver.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

VERSION = "0.1"
LONGEST = 256  # octets of a message; DPDK's are 255 at most
_BUSY_POLL = range(1 << 16)  # microseconds, packets


class Gives(Enum):
    """What goes beside an answer."""

    NOTHING = auto()
    MAP = auto()  # of the interface's sockets


@dataclass(frozen=True, slots=True)
class BusyPoll:
    """How the kernel is to poll for a socket."""

    timeout_us: int
    budget: int


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer."""

    text: str
    gives: Gives = Gives.NOTHING
    is_last: bool = False


def answer(message: bytes, interface: str, set_busy_poll: Callable[[BusyPoll], bool]) -> Answer:
    """What a message from the pod that has *interface* is answered.

    *set_busy_poll* has the socket that came beside the message polled, and tells whether that could be done.
    """
    word, *arguments = message.rstrip(b"\0").decode(errors="replace").split(",")
    match word, arguments:
        case "/connect", [_]:
            return Answer("/host_ok")
        case "/version", []:
            return Answer(VERSION)
        case "/xsk_map_fd", [name]:
            return Answer("/fd_ack", Gives.MAP) if name == interface else Answer("/fd_nak")
        case "/config_busy_poll", [timeout, budget]:
            wanted = _busy_poll(timeout, budget)
            is_done = wanted is not None and set_busy_poll(wanted)
            return Answer("/config_busy_poll_ack" if is_done else "/config_busy_poll_nak")
        case "/fin", []:
            return Answer("/fin_ack", is_last=True)
    return Answer("/nak")


def brings_socket(message: bytes) -> bool:
    """Whether a socket comes beside a message, where it is as it should be."""
    return message.startswith(b"/config_busy_poll,")


def refused(message: bytes) -> Answer:
    """What somebody is answered whose namespace is not the pod's."""
    return Answer("/host_nak" if message.startswith(b"/connect") else "/nak", is_last=True)


def _busy_poll(timeout: str, budget: str) -> BusyPoll | None:
    if not (timeout.isascii() and timeout.isdigit() and budget.isascii() and budget.isdigit()):
        return None
    found = BusyPoll(int(timeout), int(budget))
    return found if found.timeout_us in _BUSY_POLL and found.budget in _BUSY_POLL else None
