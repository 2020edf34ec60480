"""What devices of the node are to be while their pods live: of one mode above a device, and as they were given."""

from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from agent.compile.endpoint import link_local
from agent.model.address import Address
from agent.model.attachment import Attachment
from agent.model.cluster import Cluster
from agent.model.local import Device, Local
from agent.model.nic import IpvlanMode, MacvlanMode, NicKind, NicSpec
from agent.pods.errors import DeviceInUse, DeviceUnusable
from agent.pods.nic.masters import MasterMacs
from agent.threads import Threads
from tests.agent.pods.nic.nic_node import MASTER, SPARE, NicNode
from tests.agent.pods.nic.test_nics import IPVLAN, KEY, MACVLAN, other_pod, request


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


@pytest.mark.parametrize("spec", [IPVLAN, NicSpec(NicKind.VLAN, MASTER, vlan=5)], ids=["ipvlan", "vlan"])
def test_a_device_with_its_masters_mac_is_known_by_the_masters_new_one(node: NicNode, spec: NicSpec) -> None:
    agent = node.agent()
    first, born = agent.add(request(spec)), node.devices.now[MASTER].mac
    for new in ("02:00:00:00:09:01", "02:00:00:00:09:02"):
        node.devices.set_mac(MASTER, new)
        agent.follow()
        known = only(node)
        assert (known.mac, known.endpoint_id, known.slot) == (new, first.number, first.slot)
        assert first.link_local in own(known), "which it has until it goes down"
        assert not tuple(agent.check(agent.all()[0]))
    if spec.kind is NicKind.VLAN:
        macs = ("02:00:00:00:09:02", "02:00:00:00:09:01", born)
        assert own(only(node))[-3:] == tuple(link_local(bytes.fromhex(mac.replace(":", ""))) for mac in macs)
    assert node.claimed == [first.address] * 3
    agent.follow()
    assert len(node.claimed) == 3, "there is nothing new"
    before = only(node)
    agent = node.agent()
    assert (agent.all()[0].mac, only(node)) == ("02:00:00:00:09:02", before)
    assert agent.delete(KEY)
    assert node.files() == []


def test_a_masters_new_mac_is_found_by_a_look_after_a_start_or_a_trouble(
    node: NicNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = node.agent()
    agent.add(request(IPVLAN))
    node.devices.set_mac(MASTER, "02:00:00:00:09:01")
    agent = node.agent()
    with monkeypatch.context() as patch:
        patch.setattr(node.loop, "attach", full)
        agent.collect()
    (told,) = agent.problems("n1")
    assert "has the MAC 02:00:00:00:09:01 with its master, and what it sends is dropped: full" in told.text
    agent.collect()
    assert ([one.mac for one in agent.all()], list(agent.problems("n1"))) == (["02:00:00:00:09:01"], [])


@pytest.mark.parametrize(
    "spec",
    [
        replace(MACVLAN, macvlan_mode=MacvlanMode.PASSTHRU),  # by which the pod itself can change its master's
        MACVLAN,
        NicSpec(NicKind.HOST_DEVICE, MASTER),
    ],
    ids=["passthru", "macvlan", "host-device"],
)
def test_a_pod_has_no_other_mac_known_by_its_own_doing(node: NicNode, spec: NicSpec) -> None:
    agent = node.agent()
    record = agent.add(request(spec))
    node.devices.set_mac(MASTER, "02:00:00:00:09:01")
    agent.follow()
    agent.collect()
    assert [one.mac for one in node.loop.attached.values()] == [record.mac]


@pytest.mark.parametrize("spec", [IPVLAN, NicSpec(NicKind.VLAN, MASTER, vlan=5)], ids=["ipvlan", "vlan"])
def test_neither_has_one_whose_master_is_what_it_was(node: NicNode, spec: NicSpec) -> None:
    agent = node.agent()
    record = agent.add(request(spec))
    key = "/run/netns/p1", record.ifindex
    node.devices.made[key] = replace(node.devices.made[key], mac="02:00:00:00:09:01")
    agent.follow()
    agent.collect()
    assert [one.mac for one in node.loop.attached.values()] == [record.mac]


def only(node: NicNode) -> Attachment:
    (found,) = node.loop.attached.values()
    return found


def own(attachment: Attachment) -> tuple[Address, ...]:
    assert attachment.link.in_pod
    return attachment.link.in_pod.own


def full(_: Attachment) -> None:
    raise OSError("full")


def test_the_agent_hears_of_a_mac_and_not_of_what_is_none() -> None:
    followed, threads = Event(), Threads()
    masters = MasterMacs(followed.set, threads)
    masters.start()
    one = Device(7, "eth1", mac=b"\2\0\0\0\0\1")
    for devices, is_news in (
        ((one,), True),
        ((replace(one, is_up=False),), False),
        ((replace(one, mac=b"\2\0\0\0\0\2"),), True),
        ((), False),
        ((one,), True),
    ):
        masters.offer(Cluster(local=Local(devices)))
        assert followed.wait(60 if is_news else 0.05) is is_news
        followed.clear()
    masters.stop(60)
    assert threads.trouble() == ""


def test_a_master_that_has_another_name_by_now_is_not_given_away(node: NicNode) -> None:
    agent = node.agent()
    agent.add(request())
    renamed = replace(node.devices.nics[MASTER], netdev=replace(node.devices.now[MASTER], name="ext0"))
    node.devices.nics["ext0"], node.devices.now["ext0"], node.devices.where["ext0"] = renamed, renamed.netdev, ""
    with pytest.raises(DeviceInUse, match="ext0 is below net1 of default/c1"):
        agent.add(other_pod(NicSpec(NicKind.HOST_DEVICE, "ext0")))
