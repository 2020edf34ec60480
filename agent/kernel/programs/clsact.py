"""Programs that are on devices by clsact, which holds filters: ours have handle and priority 1.

pyroute2 is imported late: that costs 0.2 s, and where tcx is seldom anybody needs it.
"""

import os
import socket
from collections.abc import Container, Iterator
from contextlib import suppress

from agent.netlink.rtnetlink import CLSACT_EGRESS, CLSACT_INGRESS
from maps import libbpf

SIDES = (CLSACT_INGRESS, CLSACT_EGRESS)


def clsact(names: Container[str]) -> Iterator[tuple[int, str]]:
    """The devices with a filter of ours, and which: in our place, and one of our programs' names."""
    for ifindex, _ in socket.if_nameindex():
        for is_ingress in (True, False):
            program = holder(ifindex, ingress=is_ingress)
            if program is not None and program in names:
                yield ifindex, program


def holder(ifindex: int, *, ingress: bool) -> str | None:
    """The program that has our place, by its name; None where the place is free."""
    program = libbpf.tc_query(ifindex, ingress)
    return name_of(program) if program else None


def remove_empty_clsact(ifindex: int) -> None:
    """Take the qdisc away that our filters needed, unless somebody's filters are on it."""
    from pyroute2 import IPRoute  # noqa: PLC0415  it costs 0.2 s
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    with IPRoute() as netlink, suppress(NetlinkError):  # the device left, or has no clsact
        if not any(tuple(netlink.get_filters(index=ifindex, parent=side)) for side in SIDES):
            netlink.tc("del", "clsact", ifindex)


def filters(ifindex: int, side: str, ours: Container[int | None]) -> Iterator[str]:
    """Filters on clsact, those of other kinds than BPF too."""
    from pyroute2 import IPRoute  # noqa: PLC0415  it costs 0.2 s
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    is_egress = side == "egress"
    our_place = (1, 1) if libbpf.tc_query(ifindex, ingress=not is_egress) in ours else None
    with IPRoute() as netlink, suppress(NetlinkError):
        for f in tuple(netlink.get_filters(index=ifindex, parent=SIDES[is_egress])):
            priority = f["info"] >> 16
            if f["handle"] and (f["handle"], priority) != our_place:
                yield f"tc filter {f.get_attr('TCA_KIND')} of priority {priority}"


def name_of(program_id: int) -> str:
    """A loaded program's name; it may have none."""
    program = libbpf.program_by_id(program_id)
    try:
        return libbpf.program_info(program).name
    finally:
        os.close(program)
