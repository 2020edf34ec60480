"""Packets to pods of another node bypass the host's firewall, both ways, unless host routing is on."""

import subprocess

import pytest

from agent.compile.settings import NetworkSettings
from bench.nodes import NODES, TwoNodes, address, with_agent

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

FIREWALL = """
table inet strict {
  chain forward {
    type filter hook forward priority 0; policy accept;
    icmp type echo-request drop
    icmpv6 type echo-request drop
  }
}
"""


def answered(nodes: TwoNodes, to: str) -> bool:
    """Whether a pod's echo request is answered."""
    command = ["nsenter", f"--net={nodes.bed.path('asking')}", "ping", "-q", "-c", "1", "-W", "1", to]
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize("version", [pytest.param(4, id="ipv4"), pytest.param(6, id="ipv6")])
@pytest.mark.parametrize("host_routing", [pytest.param(False, id="off"), pytest.param(True, id="on")])
def test_only_host_routing_passes_the_hosts_firewall(version: int, *, host_routing: bool) -> None:
    with with_agent("routing", 1500, NetworkSettings(host_routing=host_routing)) as nodes:
        to = address("far", version)
        assert answered(nodes, to)  # which makes the neighbours known too
        nodes.bed.run(NODES[0].name, "nft", "-f", "-", text=FIREWALL)
        assert answered(nodes, to) is not host_routing
