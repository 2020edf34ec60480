"""Which of rtnetlink's notices may be about the node's own devices: those of pods' are passed over.

Only fixed headers and a device's name are read; ``local`` gets the state itself from a dump.
"""

import time
from typing import Self

from agent.model.attachment import is_veth_name
from agent.netlink.notices import Notice, Notices
from agent.netlink.rtnetlink import (
    ADDRESS,
    IFLA_IFNAME,
    LINK,
    NLMSG_OVERRUN,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELQDISC,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWQDISC,
    RTM_NEWROUTE,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
    RTMGRP_TC,
    TRAFFIC,
    attribute,
    text,
)

GATHER_S = 0.01  # a pod that comes is a dozen notices: one wake for them all

GROUPS = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE | RTMGRP_TC


class NodeNotices:
    """Hears of links, addresses, routes and queues in the network namespace it was made in."""

    def __init__(self) -> None:
        self._notices = Notices(GROUPS)
        self._pods: set[int] = set()  # ifindexes of pods' devices
        self._others: set[int] = set()  # and of those that were told to be the node's

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._notices.__exit__(None, None, None)

    def wait(self, timeout_s: float, wake_fd: int) -> bool:
        """Whether something of the node's own may have changed; False after *timeout_s* and when woken.

        Pods' notices are read and passed over; they do not put off the end of the wait.
        """
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            if not self._notices.wait(wake_fd, timeout_s=left_s, gather_s=GATHER_S):
                return False
            is_due = False
            for notice in self._notices.read():  # all of them: each may teach us an ifindex
                is_due |= self.concerns_node(notice)
            if is_due:
                return True
        return False

    def concerns_node(self, notice: Notice) -> bool:
        """Whether it may be about a device of the node; called for each notice, in their order."""
        kind, _, body = notice
        if kind == NLMSG_OVERRUN:
            return True
        if kind in (RTM_NEWROUTE, RTM_DELROUTE):
            return body[1] == 0  # rtm_dst_len: a default route
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            return ADDRESS.unpack_from(body)[4] not in self._pods
        if kind in (RTM_NEWQDISC, RTM_DELQDISC):
            return TRAFFIC.unpack_from(body)[1] not in self._pods
        return kind in (RTM_NEWLINK, RTM_DELLINK) and self._is_of_node(kind, body)

    def _is_of_node(self, kind: int, link: bytes) -> bool:
        index = LINK.unpack_from(link)[2]
        if not is_veth_name(text(attribute(link, LINK.size, IFLA_IFNAME))):
            self._pods.discard(index)
            self._others.add(index)
            return True
        if kind == RTM_NEWLINK:
            self._pods.add(index)
        else:
            self._pods.discard(index)
        was_other = index in self._others  # it was renamed to a pod's name
        self._others.discard(index)
        return was_other
