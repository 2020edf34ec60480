"""Packets to another node's pod pass the host's firewall by, both ways, unless they are to take the host's own way."""

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
@pytest.mark.parametrize("by_host", [pytest.param(False, id="past it"), pytest.param(True, id="by the host")])
def test_the_hosts_firewall_is_met_by_the_hosts_way_alone(version: int, *, by_host: bool) -> None:
    with with_agent("byhost", 1500, NetworkSettings(host_routing=by_host)) as nodes:
        to = address("far", version)
        assert answered(nodes, to)  # which makes the neighbours known too
        nodes.bed.run(NODES[0].name, "nft", "-f", "-", text=FIREWALL)
        assert answered(nodes, to) is not by_host
