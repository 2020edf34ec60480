"""What a node holds that an agent could leave behind."""

import os

from agent.kernel.programs.hooks import SOCKET_HOOKS
from maps import libbpf
from tests.netns.agents import Node


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
        "cgroup": [len(_attached(node, kind)) for kind in SOCKET_HOOKS.values()],
        "nft": node.run("nft", "list", "ruleset"),
    }


def sysctls(node: Node) -> list[str]:
    """Those of the namespace's network layer."""
    return [line for line in node.run("sysctl", "-a").splitlines() if line.startswith("net.ipv")]


def _attached(node: Node, kind: libbpf.AttachType) -> tuple[int, ...]:
    folder = os.open(node.cgroup, os.O_RDONLY)
    try:
        return libbpf.program_query(folder, kind)
    finally:
        os.close(folder)
