"""What a node holds that an agent could leave behind."""

import os
import socket
import time
from collections.abc import Callable
from typing import TypeVar

from agent.kernel.programs.clsact import name_of
from agent.kernel.programs.hooks import SOCKET_HOOKS
from agent.netlink import netns as namespace
from maps import libbpf
from tests.netns.agents import Node

T = TypeVar("T")


def listing(node: Node) -> dict[str, object]:
    """What a clean-up must give back; the namespace's sysctls whole."""
    return {
        "files": sorted(str(p) for p in node.root.rglob("*") if "/bpf/" not in str(p)),
        "pins": sorted(p.name for p in node.bpffs.iterdir()),
        "links": node.ip("-o link"),
        "routes": node.ip("route show table all") + node.ip("-6 route show table all"),
        "sysctls": sysctls(node),
        "rules": node.ip("rule show") + node.ip("-6 rule show"),
        "neighbours": node.ip("neigh show nud permanent"),
        "qdiscs": node.run("tc", "qdisc", "show"),
        "programs": programs(node),
        "cgroup": [len(_attached(node, kind)) for kind in SOCKET_HOOKS.values()],
        "nft": node.run("nft", "list", "ruleset"),
    }


def settled(look: Callable[[], T]) -> T:
    """What it says as soon as it says the same a second later: an agent that runs has written all that it had to."""
    found = look()
    while True:  # pytest's own limit ends it
        time.sleep(1.0)
        before, found = found, look()
        if before == found:
            return found


def sysctls(node: Node) -> list[str]:
    """Those of the namespace's network layer."""
    return [line for line in node.run("sysctl", "-a").splitlines() if line.startswith("net.ipv")]


def programs(node: Node) -> list[str]:
    """Those on the namespace's devices by tcx, each with its device; by clsact they are told by the qdiscs."""
    found = []
    with namespace.inside(f"/run/netns/{node.name}"):
        for ifindex, device in socket.if_nameindex():
            for kind in (libbpf.AttachType.TCX_INGRESS, libbpf.AttachType.TCX_EGRESS):
                found += [f"{device} {name_of(program)}" for program in libbpf.program_query(ifindex, kind)]
    return sorted(found)


def _attached(node: Node, kind: libbpf.AttachType) -> tuple[int, ...]:
    folder = os.open(node.cgroup, os.O_RDONLY)
    try:
        return libbpf.program_query(folder, kind)
    finally:
        os.close(folder)
