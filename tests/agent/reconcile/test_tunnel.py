"""The maps of what lies between nodes, the tunnel and the wires, as rounds of the loop bring them about."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from agent.compile.tunnel import Between
from agent.model.attachment import Veth
from agent.model.local import Device, Local
from agent.model.node import Node
from agent.options.config import Encapsulation
from agent.reconcile.sync import Settings, Sync
from maps import abi
from maps.errors import MapFull
from tests.agent.compile.objects import HERE, attachment, cluster
from tests.agent.reconcile.kernels import TUNNEL_IFINDEX, MemoryKernel, Stopped, brought

FAR = Node("far", (ip_address("198.51.100.2"),), (ip_network("10.2.0.0/24"),))
VXLAN = Settings(HERE, between=Between(Encapsulation.VXLAN, vni=7))
UPLINK = Device(3, "eth0", mtu=1500, default_route=True)
BETWEEN = ("remotes", "prefixes", "node")


def writes(kernel: MemoryKernel) -> list[tuple[str, str]]:
    """What was written to the maps of what lies between nodes, and to the node's, in order; then forgotten."""
    found = [(name, what) for name, what in kernel.fuse.writes if name in BETWEEN]
    kernel.fuse.writes.clear()
    return found


def test_a_remote_is_there_before_a_prefix_names_it_and_flows_are_told_last() -> None:
    kernel = MemoryKernel()
    sync = brought(kernel, cluster(), Sync(kernel, VXLAN))
    before = kernel.node.generation
    writes(kernel)
    brought(kernel, cluster(FAR), sync)
    order = [name for name, what in writes(kernel) if what == "write"]
    assert [name for name in BETWEEN if name in order] == list(dict.fromkeys(order))
    assert kernel.node.generation == before + 1
    assert (kernel.node.tunnel_ifindex, kernel.node.tunnel_vni) == (TUNNEL_IFINDEX, 7)
    brought(kernel, cluster(), sync)
    assert kernel.held("remotes") == {}
    assert kernel.node.generation == before + 2


def test_nothing_new_between_nodes_writes_nothing() -> None:
    kernel = MemoryKernel()
    sync = brought(kernel, cluster(FAR), Sync(kernel, VXLAN))
    writes(kernel)
    brought(kernel, cluster(FAR), sync)
    assert [(name, what) for name, what in writes(kernel) if name != "node"] == []


def test_an_agent_that_restarts_keeps_a_remotes_id() -> None:
    kernel = MemoryKernel()
    near = replace(FAR, name="a", internal_ips=(ip_address("198.51.100.9"),), pod_cidrs=())
    brought(kernel, cluster(near, FAR), Sync(kernel, VXLAN))
    held = kernel.held("remotes")
    brought(kernel, cluster(FAR), Sync(kernel, VXLAN))
    assert kernel.held("remotes").items() <= held.items()


def test_back_to_native_nothing_names_the_tunnel_any_more() -> None:
    kernel = MemoryKernel()
    brought(kernel, cluster(FAR), Sync(kernel, VXLAN))
    brought(kernel, cluster(FAR), Sync(kernel, Settings(HERE)))
    assert kernel.node.tunnel_ifindex == 0
    assert kernel.held("remotes") == {}
    assert {prefix.remote_id for prefix in kernel.held("prefixes").values()} == {0, abi.REMOTE_ROUTED}
    assert kernel.tunnel is None


def test_an_agent_that_restarts_does_not_forget_the_tunnel_before_it_has_synced() -> None:
    kernel = MemoryKernel()
    brought(kernel, cluster(FAR), Sync(kernel, VXLAN))
    held = kernel.held("prefixes")
    brought(kernel, cluster(synced=False), Sync(kernel, VXLAN))
    assert kernel.node.tunnel_ifindex == TUNNEL_IFINDEX
    assert kernel.held("prefixes") == held


def test_what_does_not_fit_is_refused_with_the_flag_that_helps() -> None:
    kernel = MemoryKernel(prefixes=1)
    with pytest.raises(MapFull, match="--max-prefixes"):
        brought(kernel, cluster(FAR), Sync(kernel, VXLAN))
    assert kernel.held("prefixes") == {}


def test_after_a_write_that_failed_the_next_round_writes_what_is_missing() -> None:
    kernel = MemoryKernel()
    sync = brought(kernel, cluster(), Sync(kernel, VXLAN))
    kernel.fuse.left = 1
    with pytest.raises(Stopped):
        brought(kernel, cluster(FAR), sync)
    kernel.fuse.left = None
    brought(kernel, cluster(FAR), sync)
    assert len(kernel.held("remotes")) == 1
    assert 1 in {prefix.remote_id for prefix in kernel.held("prefixes").values()}


def test_wires_are_looked_at_in_the_first_round_and_when_something_was_lost() -> None:
    kernel = MemoryKernel()
    local = Local(attachments=(attachment(),), netns_cookie=1)
    sync = brought(kernel, cluster(local=local))
    assert kernel.mended == 1
    brought(kernel, cluster(local=local), sync)
    assert kernel.mended == 1
    sync.look_again()
    brought(kernel, cluster(local=local), sync)
    assert kernel.mended == 2


def test_pods_get_the_mtu_of_the_way_out_once_and_again_when_it_changes() -> None:
    kernel, first = MemoryKernel(), attachment()
    second = replace(first, container_id="other", link=Veth("swpother", first.link.ifindex + 1))
    local = Local(devices=(UPLINK,), attachments=(first,), netns_cookie=1)
    sync = brought(kernel, cluster(FAR, local=local), Sync(kernel, VXLAN))
    brought(kernel, cluster(FAR, local=local), sync)
    brought(kernel, cluster(FAR, local=replace(local, attachments=(first, second))), sync)
    wider = replace(local, devices=(replace(UPLINK, mtu=9000),), attachments=(second,))
    brought(kernel, cluster(FAR, local=wider), sync)
    names = {first.link.host_device}, {second.link.host_device}
    assert kernel.mtus == [(names[0], 1450), (names[1], 1450), (names[1], 8950)]
    assert sync.pod_mtu == 8950
