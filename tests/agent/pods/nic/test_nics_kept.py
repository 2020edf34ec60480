"""What devices of the node are to be while their pods live: of one mode above a device, and as they were given."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.model.nic import IpvlanMode, NicKind, NicSpec
from agent.pods.errors import DeviceInUse, DeviceUnusable
from tests.agent.pods.nic.nic_node import MASTER, SPARE, NicNode
from tests.agent.pods.nic.test_nics import IPVLAN, KEY, other_pod, request


@pytest.fixture
def node(tmp_path: Path) -> NicNode:
    return NicNode(tmp_path)


def test_all_ipvlan_devices_above_one_device_have_one_mode(node: NicNode) -> None:
    agent = node.agent()
    agent.add(request(IPVLAN))
    with pytest.raises(DeviceUnusable, match="mode: eth1 has ipvlan devices of mode l2, default/c1's"):
        agent.add(other_pod(replace(IPVLAN, ipvlan_mode=IpvlanMode.L3)))
    assert node.devices.modes[MASTER] is IpvlanMode.L2
    agent.add(other_pod(IPVLAN))
    agent.delete(("c2", "net1"))
    agent.add(other_pod(replace(IPVLAN, device=SPARE, ipvlan_mode=IpvlanMode.L3)))
    agent.delete(("c2", "net1"))
    node.devices.end_netns("/run/netns/p1")
    assert agent.add(other_pod(replace(IPVLAN, ipvlan_mode=IpvlanMode.L3))).mode is IpvlanMode.L3


def test_a_mode_that_somebody_has_switched_is_told_by_check_and_set_back(node: NicNode) -> None:
    agent = node.agent()
    record = agent.add(request(replace(IPVLAN, ipvlan_mode=IpvlanMode.L3)))
    node.devices.modes[MASTER] = IpvlanMode.L2
    assert list(agent.check(record)) == ["net1 is of mode l2, not l3"]
    node.devices.keeps = "Operation not permitted"
    agent.collect()
    (told,) = agent.problems("n1")
    assert (told.kind, told.name, "not permitted" in told.text) == ("Pod", record.pod, True)
    node.devices.keeps = ""
    agent.collect()
    assert (node.devices.modes[MASTER], list(agent.problems("n1"))) == (IpvlanMode.L3, [])


def test_what_a_device_has_lost_is_told_by_check_and_set_again(node: NicNode) -> None:
    agent = node.agent()
    record = agent.add(request())
    node.devices.gone["/run/netns/p1", record.ifindex] = ("has not the route to 10.8.0.0/16",)
    assert list(agent.check(record)) == ["net1 has not the route to 10.8.0.0/16"]
    agent.collect()
    assert (list(agent.check(record)), list(agent.problems("n1"))) == ([], [])


def test_a_device_that_went_with_its_master_is_a_problem_and_stays_its_pods_until_del(node: NicNode) -> None:
    agent = node.agent()
    record = agent.add(request())
    del node.devices.made["/run/netns/p1", record.ifindex]
    agent.collect()
    (told,) = agent.problems("n1")
    assert (told.kind, told.name) == ("Pod", record.pod)
    assert "eth1 of the node, which it was above, has been removed" in told.text
    agent = node.agent()
    agent.collect()
    assert len(list(agent.problems("n1"))) == 1
    assert list(node.ipam.held) == [KEY], "the address is no other pod's"
    assert agent.delete(KEY)
    assert (list(agent.problems("n1")), node.ipam.held, node.files()) == ([], {}, [])


def test_a_master_that_has_another_name_by_now_is_not_given_away(node: NicNode) -> None:
    agent = node.agent()
    agent.add(request())
    renamed = replace(node.devices.nics[MASTER], netdev=replace(node.devices.now[MASTER], name="ext0"))
    node.devices.nics["ext0"], node.devices.now["ext0"], node.devices.where["ext0"] = renamed, renamed.netdev, ""
    with pytest.raises(DeviceInUse, match="ext0 is below net1 of default/c1"):
        agent.add(other_pod(NicSpec(NicKind.HOST_DEVICE, "ext0")))
