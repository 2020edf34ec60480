"""A namespace in which the node's uplink has routes, for programs that ask the kernel's tables."""

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bpf.datapath import GATEWAY_MAC

CLONE_NEWNET = 0x40000000
UNREACHED, UNREACHED6 = "203.0.113.9", "2001:db8:ffff::9"
# the names are the namespace's own; the gateways are never asked for
NETWORK = """
link add up0 type veth peer name up1
link set up0 up
link set up1 up
address add 10.88.0.11/24 dev up0
address add fd88::11/64 dev up0 nodad
route add default via 10.88.0.1
route add 10.244.2.0/24 via 10.88.0.12
route add blackhole 203.0.113.0/24
-6 route add default via fd88::1
-6 route add fd00:2::/64 via fd88::12
-6 route add blackhole 2001:db8:ffff::/48
"""
# under which MAC a router and another node are; of a device that has the MAC by which the tests' frames reach the node
ROUTER_MAC, NODE_2_MAC = "02:00:00:00:88:01", "02:00:00:00:88:12"
NEIGHBORS = f"""\
link set up0 address {GATEWAY_MAC}
neigh replace 10.88.0.1 lladdr {ROUTER_MAC} dev up0 nud permanent
neigh replace 10.88.0.12 lladdr {NODE_2_MAC} dev up0 nud permanent
neigh replace fd88::1 lladdr {ROUTER_MAC} dev up0 nud permanent
neigh replace fd88::12 lladdr {NODE_2_MAC} dev up0 nud permanent
"""


@contextmanager
def apart() -> Iterator[None]:
    """Run the calling thread in a namespace of its own, which ends with the block."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            yield
        finally:
            # a thread that can not come back must not go on
            if libc.setns(home, CLONE_NEWNET):
                os._exit(99)
    finally:
        os.close(home)


@contextmanager
def routed(more: str = "") -> Iterator[int]:
    """Run the calling thread in a namespace with an uplink; yields its ifindex. The namespace ends with the block.

    *more* are lines for ``ip``, after those of the network.
    """
    with apart():
        subprocess.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"], check=True)
        for line in (NETWORK + more).strip().splitlines():
            subprocess.run(["ip", *line.split()], check=True)
        yield socket.if_nametoindex("up0")
