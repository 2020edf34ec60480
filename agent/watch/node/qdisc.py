"""Which devices send each packet when the packet's time has come: those whose queues are all ``fq``.

Asked by ``local``. A device with several transmit queues has an ``mq`` at its root and a qdisc below it for each.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.netlink.dump import Dump
from agent.netlink.rtnetlink import RTM_GETQDISC, TCA_KIND, TRAFFIC, attribute, text

ROOT = 0xFFFFFFFF  # TC_H_ROOT
KEEPS_TIME = "fq"  # etf does too, by another clock
SEVERAL = "mq"


@dataclass(frozen=True, slots=True)
class Qdisc:
    """A qdisc of a device."""

    ifindex: int
    handle: int
    parent: int  # the class it is in; ROOT: none
    kind: str


def qdiscs(dump: Dump) -> Iterator[Qdisc]:
    """Those of this network namespace."""
    for body in dump.read(RTM_GETQDISC, bytes(TRAFFIC.size)):
        _, ifindex, handle, parent, _ = TRAFFIC.unpack_from(body)
        yield Qdisc(ifindex, handle, parent, text(attribute(body, TRAFFIC.size, TCA_KIND)))


def paced(found: Iterable[Qdisc]) -> frozenset[int]:
    """The devices, by ifindex."""
    every: dict[int, list[Qdisc]] = defaultdict(list)
    for qdisc in found:
        every[qdisc.ifindex].append(qdisc)
    return frozenset(ifindex for ifindex, those in every.items() if _is_paced(those))


def _is_paced(those: list[Qdisc]) -> bool:
    root = next((qdisc for qdisc in those if qdisc.parent == ROOT), None)
    if root is None or root.kind != SEVERAL:
        return root is not None and root.kind == KEEPS_TIME
    below = [qdisc.kind for qdisc in those if qdisc.parent >> 16 == root.handle >> 16 and qdisc is not root]
    return set(below) == {KEEPS_TIME}
