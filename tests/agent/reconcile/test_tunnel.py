"""Other nodes' remotes and prefixes, the tunnel and the MTU of pods, as rounds bring them about."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from agent.compile.settings import NetworkSettings, Settings
from agent.model.local import Device, Local
from agent.model.node import Node
from agent.options.choices import Encapsulation
from maps.errors import MapFull
from tests.agent.compile.objects import HERE, attachment, cluster
from tests.agent.reconcile.kernels import MemoryKernel, Stopped, brought, started

FAR = Node("far", (ip_address("198.51.100.2"),), (ip_network("10.2.0.0/24"),))
VXLAN = Settings(HERE, network=NetworkSettings(Encapsulation.VXLAN, vni=7))
TUNNEL_IFINDEX = 99
WITH_TUNNEL = Local((Device(TUNNEL_IFINDEX, "swtunnel"),), netns_cookie=1)
UPLINK = Device(3, "eth0", mtu=1500, default_route=True)
MAPS = ("remotes", "prefixes", "node")


def writes(kernel: MemoryKernel) -> list[tuple[str, str]]:
    """What was written to these maps, in order; then forgotten."""
    found = [(name, what) for name, what in kernel.fuse.writes if name in MAPS]
    kernel.fuse.writes.clear()
    return found


def test_a_remote_is_there_before_a_prefix_names_it_and_flows_are_told_last() -> None:
    kernel = MemoryKernel()
    rounds = brought(kernel, cluster(), started(kernel, VXLAN))
    before = kernel.node.revision
    writes(kernel)
    brought(kernel, cluster(FAR, local=WITH_TUNNEL), rounds)
    order = [name for name, what in writes(kernel) if what == "write"]
    assert [name for name in MAPS if name in order] == list(dict.fromkeys(order))
    assert kernel.node.revision == before + 1
    assert (kernel.node.tunnel_ifindex, kernel.node.tunnel_vni) == (TUNNEL_IFINDEX, 7)
    brought(kernel, cluster(local=WITH_TUNNEL), rounds)
    assert kernel.held("remotes") == {}
    assert kernel.node.revision == before + 2


def test_nothing_new_between_nodes_writes_nothing() -> None:
    kernel = MemoryKernel()
    rounds = brought(kernel, cluster(FAR), started(kernel, VXLAN))
    writes(kernel)
    brought(kernel, cluster(FAR), rounds)
    assert [(name, what) for name, what in writes(kernel) if name != "node"] == []


def test_an_agent_that_restarts_keeps_a_remotes_id() -> None:
    kernel = MemoryKernel()
    near = replace(FAR, name="a", internal_ips=(ip_address("198.51.100.9"),), pod_cidrs=())
    brought(kernel, cluster(near, FAR), started(kernel, VXLAN))
    held = kernel.held("remotes")
    brought(kernel, cluster(FAR), started(kernel, VXLAN))
    assert kernel.held("remotes").items() <= held.items()


def test_back_to_native_nothing_names_the_tunnel_any_more() -> None:
    kernel = MemoryKernel()
    brought(kernel, cluster(FAR, local=WITH_TUNNEL), started(kernel, VXLAN))
    assert kernel.node.tunnel_ifindex == TUNNEL_IFINDEX
    brought(kernel, cluster(FAR, local=WITH_TUNNEL), started(kernel))
    assert kernel.node.tunnel_ifindex == 0
    assert kernel.held("remotes") == {}
    assert {prefix.remote_id for prefix in kernel.held("prefixes").values()} == {0}
    assert len(kernel.tunnel.applied) == 1


def test_an_agent_that_restarts_does_not_forget_the_tunnel_before_it_has_synced() -> None:
    kernel = MemoryKernel()
    brought(kernel, cluster(FAR, local=WITH_TUNNEL), started(kernel, VXLAN))
    held = kernel.held("prefixes")
    brought(kernel, cluster(synced=False, local=WITH_TUNNEL), started(kernel, VXLAN))
    assert kernel.node.tunnel_ifindex == TUNNEL_IFINDEX
    assert kernel.held("prefixes") == held


def test_what_does_not_fit_is_refused_with_the_flag_that_helps() -> None:
    kernel = MemoryKernel(prefixes=1)
    with pytest.raises(MapFull, match="--max-prefixes"):
        brought(kernel, cluster(FAR), started(kernel, VXLAN))
    assert kernel.held("remotes") == {}


def test_after_a_write_that_failed_the_next_round_writes_what_is_missing() -> None:
    kernel = MemoryKernel()
    rounds = brought(kernel, cluster(), started(kernel, VXLAN))
    kernel.fuse.left = 1
    with pytest.raises(Stopped):
        brought(kernel, cluster(FAR), rounds)
    kernel.fuse.left = None
    brought(kernel, cluster(FAR), rounds)
    assert len(kernel.held("remotes")) == 1
    assert 1 in {prefix.remote_id for prefix in kernel.held("prefixes").values()}


def test_pods_have_the_mtu_of_the_way_out_and_follow_it() -> None:
    kernel = MemoryKernel()
    local = Local(devices=(UPLINK,), attachments=(attachment(),), netns_cookie=1)
    rounds = brought(kernel, cluster(FAR, local=local), started(kernel, VXLAN))
    brought(kernel, cluster(FAR, local=replace(local, devices=(replace(UPLINK, mtu=9000),))), rounds)
    assert kernel.mtu.applied == [1450, 8950]
