"""Interfaces made of the node's devices: whole or not at all, and nothing of them left wherever an agent died."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event, Timer
from time import sleep
from typing import Any

import pytest

from agent.compile.endpoint import link_local
from agent.model.name import ObjectName
from agent.model.netdev import LinkSettings
from agent.model.nic import MacvlanMode, NicKind, NicSpec
from agent.pods import fail_points
from agent.pods.attachments import made_mac
from agent.pods.device.record import DeviceStage
from agent.pods.errors import AlreadyAttached, DeviceInUse, DeviceUnusable, InterfaceTaken, NetnsUnusable, NoFreeAddress
from agent.pods.nic.request import NicRequest
from tests.agent.pods.nic.nic_node import MASTER, SPARE, VLAN_DEVICE, NicNode

KEY = ("c1", "net1")
MACVLAN = NicSpec(NicKind.MACVLAN, MASTER)
MOVED = NicSpec(NicKind.HOST_DEVICE, SPARE)
IPVLAN = NicSpec(NicKind.IPVLAN, MASTER)
SPECS = [
    pytest.param(MACVLAN, id="macvlan"),
    pytest.param(NicSpec(NicKind.IPVLAN, MASTER), id="ipvlan"),
    pytest.param(NicSpec(NicKind.VLAN, MASTER, vlan=5), id="vlan"),
    pytest.param(MOVED, id="host-device"),
    pytest.param(NicSpec(NicKind.HOST_DEVICE, VLAN_DEVICE), id="host-device of software"),
]


class Died(BaseException):
    """An agent is killed: nothing behind it is done."""


@pytest.fixture
def node(tmp_path: Path) -> NicNode:
    return NicNode(tmp_path)


def request(spec: NicSpec = MACVLAN, container: str = "c1", netns: str = "/run/netns/p1") -> NicRequest:
    return NicRequest(spec, "lan", container, "net1", netns, ObjectName("default", container))


def die_at(point: str) -> Callable[[str], None]:
    def reached(now: str) -> None:
        if now == point:
            raise Died

    return reached


def is_untouched(node: NicNode, before: object) -> bool:
    kept = (node.ipam.held, node.files(), node.programs.on, node.loop.attached)
    return node.devices.snapshot() == before and kept == ({}, [], {}, {})


@pytest.mark.parametrize("spec", SPECS)
def test_it_is_guarded_before_its_pod_has_it_and_told_when_it_is_up(node: NicNode, spec: NicSpec) -> None:
    agent, before = node.agent(), node.devices.snapshot()
    record = agent.add(request(spec))
    assert record.stage is DeviceStage.ADDED
    found = node.devices.in_pod("/run/netns/p1", 101, record.ifindex)
    assert found is not None
    assert (found.name, found.is_up, found.mac) == ("net1", True, record.mac)
    assert list(node.programs.on) == [record.address] == node.claimed
    assert not tuple(agent.check(record))
    assert agent.delete(KEY)
    assert is_untouched(node, before)
    assert not agent.delete(KEY)


def test_macvlan_has_a_mac_of_its_own_and_passthru_that_of_its_master(node: NicNode) -> None:
    agent = node.agent()
    assert agent.add(request()).mac == made_mac(*KEY)
    agent.delete(KEY)
    assert agent.add(request(replace(MACVLAN, mac="02:0a:0b:0c:0d:0e"))).mac == "02:0a:0b:0c:0d:0e"
    agent.delete(KEY)
    passthru = replace(MACVLAN, macvlan_mode=MacvlanMode.PASSTHRU)
    assert agent.add(request(passthru)).mac == node.devices.now[MASTER].mac


def test_ipvlan_has_a_link_local_address_that_no_other_above_the_device_has(node: NicNode) -> None:
    agent = node.agent()
    spec = NicSpec(NicKind.IPVLAN, MASTER)
    one, two = agent.add(request(spec)), agent.add(request(spec, "c2", "/run/netns/p2"))
    assert (one.mac, two.mac) == (node.devices.now[MASTER].mac,) * 2
    assert one.link_local != two.link_local
    assert one.link_local == link_local(bytes.fromhex(made_mac(*KEY).replace(":", "")))
    assert node.devices.up["/run/netns/p1", one.ifindex][1] == one.link_local
    assert one.link_local in next(a.link.in_pod.own for a in node.loop.attached.values() if a.link.in_pod)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("netns_ends", [False, True])
@pytest.mark.parametrize("point", [*fail_points.NIC_ADD, *fail_points.NIC_DEL])
def test_an_agent_that_dies_anywhere_leaves_nothing_behind_the_next(
    node: NicNode, monkeypatch: pytest.MonkeyPatch, spec: NicSpec, point: str, *, netns_ends: bool
) -> None:
    before, agent = node.devices.snapshot(), node.agent()
    if is_del := point in fail_points.NIC_DEL:
        agent.add(request(spec))
    with monkeypatch.context() as patched:
        patched.setattr(fail_points, "reached", die_at(point))
        with pytest.raises(Died):
            agent.delete(KEY) if is_del else agent.add(request(spec))
    is_moved_software = spec.device == VLAN_DEVICE and node.devices.where.get(VLAN_DEVICE) != ""
    if netns_ends:
        node.devices.end_netns("/run/netns/p1")
    agent = node.agent()
    if point == fail_points.NIC_ADD[-1] and not netns_ends:  # whole, though its runtime has not heard of it
        assert agent.delete(KEY)
    if netns_ends and is_moved_software:  # the kernel has ended it
        assert (node.ipam.held, node.files(), node.programs.on) == ({}, [], {})
    else:
        assert is_untouched(node, before)


@pytest.mark.parametrize("spec", SPECS[:4])
@pytest.mark.parametrize("by", ["collect", "DEL", "start"])
def test_what_a_pod_had_that_went_without_del_is_gone_or_home(node: NicNode, spec: NicSpec, by: str) -> None:
    before, agent = node.devices.snapshot(), node.agent()
    agent.add(request(spec))
    node.devices.end_netns("/run/netns/p1")
    match by:
        case "collect":
            agent.collect()
        case "DEL":
            agent.delete(KEY)
        case _:
            node.agent()
    assert is_untouched(node, before)


def test_a_living_pods_device_is_left_alone_by_a_start_and_by_a_look(node: NicNode) -> None:
    agent = node.agent()
    record = agent.add(request())
    with_pod = node.devices.snapshot()
    agent.collect()
    agent = node.agent()
    agent.collect()
    assert node.devices.snapshot() == with_pod
    assert [one.slot for one in agent.all()] == [record.slot] == list(node.loop.attached)


def test_who_renames_or_loses_its_device_is_told_by_check(node: NicNode) -> None:
    agent = node.agent()
    record = agent.add(request())
    place = "/run/netns/p1", record.ifindex
    node.devices.made[place] = replace(node.devices.made[place], name="mine")
    assert list(agent.check(record)) == ["net1 is called mine"]
    node.devices.made[place] = replace(node.devices.made[place], name="net1", is_up=False)
    assert list(agent.check(record)) == ["net1 is down"]
    del node.devices.made[place]
    assert list(agent.check(record)) == ["net1 is not in /run/netns/p1", "the programs are not on net1"]


def breaks(node: NicNode, how: str) -> None:
    match how:
        case "taken":
            node.devices.taken.add(("/run/netns/p1", "net1"))
        case "kernel":
            node.devices.refuses = "master: no macvlan above eth1: Device or resource busy"
        case "ipam":
            node.ipam.refuses = {"ADD"}
        case "answer":
            node.ipam.gives = {"ips": [{"address": "nonsense"}]}
        case "programs":
            node.programs.refuses = True
        case "many":
            node.ipam.gives = {"ips": [{"address": f"10.9.0.{number}/24"} for number in range(2, 10)]}
        case _:
            assert not how, how


@pytest.mark.parametrize(
    ("spec", "how", "error", "words"),
    [
        pytest.param(MACVLAN, "taken", InterfaceTaken, "net1 exists already", id="the name is taken"),
        pytest.param(MOVED, "taken", InterfaceTaken, "net1 exists already", id="the name is taken, of a moved one"),
        pytest.param(MACVLAN, "kernel", DeviceUnusable, "Device or resource busy", id="the kernel refuses"),
        pytest.param(MACVLAN, "ipam", NoFreeAddress, "full", id="no address"),
        pytest.param(MACVLAN, "answer", DeviceUnusable, "cannot be used", id="no address that could be one"),
        pytest.param(MACVLAN, "programs", Exception, "vf_ingress", id="programs that do not load"),
        pytest.param(MACVLAN, "many", DeviceUnusable, "8 addresses", id="too many addresses"),
        pytest.param(replace(MACVLAN, mtu=9000), "", DeviceUnusable, "mtu: 9000 is not from 68 to 1500", id="MTU"),
        pytest.param(replace(MACVLAN, device="eth9"), "", DeviceUnusable, "master: this node has no", id="no master"),
    ],
)
def test_what_cannot_be_made_leaves_nothing(
    node: NicNode, spec: NicSpec, how: str, error: type[Exception], words: str
) -> None:
    agent, before = node.agent(), node.devices.snapshot()
    breaks(node, how)
    with pytest.raises(error, match=words):
        agent.add(request(spec))
    assert is_untouched(node, before)


def test_an_mtu_that_ipv6_cannot_have_is_refused_where_there_is_an_address_of_it(node: NicNode) -> None:
    agent, small = node.agent(), replace(MACVLAN, mtu=1000)
    agent.add(request(small))
    agent.delete(KEY)
    node.ipam.gives = {"ips": [{"address": "fd09::2/64"}]}
    with pytest.raises(DeviceUnusable, match="mtu: 1000 is not from 1280"):
        agent.add(request(small))


def test_one_attachment_has_one_device_and_a_device_in_a_pod_is_no_other_pods(node: NicNode) -> None:
    agent = node.agent()
    agent.add(request(MOVED))
    with pytest.raises(AlreadyAttached):
        agent.add(request(MACVLAN))
    for spec in (MOVED, replace(MOVED, device="", pci_address=node.devices.nics[SPARE].parent)):
        with pytest.raises(DeviceInUse, match="eth2 is net1 of default/c1"):
            agent.add(request(spec, "c2", "/run/netns/p2"))
    agent.add(request(MACVLAN, "c3", "/run/netns/p2"))
    with pytest.raises(DeviceInUse, match=f"{MASTER} is below net1 of default/c3"):
        agent.add(request(replace(MOVED, device=MASTER), "c4", "/run/netns/p2"))
    with pytest.raises(NetnsUnusable):
        agent.add(request(MACVLAN, "c5", "/run/netns/none"))


def test_a_device_of_an_agent_that_died_is_waited_for_until_the_kernel_has_removed_it(
    node: NicNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its namespace ends a moment behind the agent."""
    before, agent = node.devices.snapshot(), node.agent()
    node.devices.lingers = True
    with monkeypatch.context() as patched:
        patched.setattr(fail_points, "reached", die_at("NIC ADD guarded"))
        with pytest.raises(Died):
            agent.add(request())
    assert node.devices.unreached
    later = Timer(0.1, node.devices.unreached.clear)
    later.start()
    node.agent()
    later.join()
    assert is_untouched(node, before)


def test_a_device_on_its_way_home_is_as_it_was_before_the_next_pod_has_it(
    node: NicNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a Deployment's next pod comes while the last one goes: by PCI address it is found on its way."""
    agent, before = node.agent(), node.devices.snapshot()
    by_address = replace(MOVED, device="", pci_address=node.devices.nics[SPARE].parent)
    agent.add(request(by_address))
    ready = Event()

    def reached(point: str) -> None:
        if point == "NIC DEL removed" and not ready.is_set():
            ready.set()
            sleep(0.2)  # the next pod's ADD looks meanwhile

    monkeypatch.setattr(fail_points, "reached", reached)
    with ThreadPoolExecutor(1) as pool:
        gone = pool.submit(agent.delete, KEY)
        assert ready.wait(60)
        record = agent.add(request(by_address, "c2", "/run/netns/p2"))
        assert gone.result(60)
    assert record.before is not None
    assert (record.before.name, record.before.altnames) == (SPARE, ("nic-1",))
    agent.delete(record.key)
    assert is_untouched(node, before)


def test_a_device_that_does_not_come_home_is_a_problem_until_it_does(node: NicNode) -> None:
    agent = node.agent()
    agent.add(request(MOVED))
    node.devices.where[SPARE] = "/run/netns/another"
    with pytest.raises(Exception, match="nobody names"):
        agent.delete(KEY)
    (told,) = agent.problems("n1")
    assert (told.field, "nobody names" in told.text) == (f"device {SPARE}", True)
    node.devices.where[SPARE] = ""
    agent.collect()
    assert (tuple(agent.problems("n1")), node.files()) == ((), [])


def test_a_device_that_a_pod_moved_away_keeps_its_programs_until_it_is_gone(node: NicNode) -> None:
    agent = node.agent()
    record = agent.add(request())
    node.devices.made["/run/netns/p2", record.ifindex] = node.devices.made.pop(("/run/netns/p1", record.ifindex))
    with pytest.raises(Exception, match="net1 is in a namespace that is not its pod's"):
        agent.delete(KEY)
    assert (list(node.programs.on), [*node.loop.attached]) == ([record.address], [record.slot])
    assert [told.field for told in agent.problems("n1")] == [f"device {MASTER}"]
    node.devices.end_netns("/run/netns/p2")
    agent.collect()
    assert (node.programs.on, node.loop.attached, node.files()) == ({}, {}, [])


@pytest.mark.parametrize("starts", [False, True])
def test_a_device_whose_name_is_taken_is_a_problem_and_no_pods_until_it_has_it(node: NicNode, *, starts: bool) -> None:
    before, agent = node.devices.snapshot(), node.agent()
    agent.add(request(MOVED))
    node.devices.taken.add(("", SPARE))
    node.devices.end_netns("/run/netns/p1")
    for _ in range(2):
        agent.collect()
        agent = node.agent() if starts else agent
        (told,) = agent.problems("n1")
        assert (told.field, f"the name {SPARE} is another" in told.text) == (f"device {SPARE}", True)
        hidden = node.devices.now[SPARE]
        assert hidden.name.startswith("swn")
        assert (hidden.mac, hidden.is_up, node.devices.comings) == (hidden.mac, True, 1), "it came home once"
    by_card = replace(MOVED, device="", pci_address="0000:04:00.1")
    with pytest.raises(DeviceInUse, match="is not what it was"):
        agent.add(request(by_card, "c2", "/run/netns/p2"))
    node.devices.taken.clear()
    agent.collect()
    assert tuple(agent.problems("n1")) == ()
    assert is_untouched(node, before)


def test_a_record_that_cannot_be_read_is_told(node: NicNode) -> None:
    record = node.agent().add(request())
    (path,) = (node.directory / "state").rglob("*.json")
    path.write_text("{")
    (told,) = node.agent().problems("n1")
    assert told.field == f"device {record.address}"


def test_a_device_has_names_and_settings_again_whatever_their_octets_are(node: NicNode) -> None:
    agent, name = node.agent(), b"\xff\xfa".decode(errors="surrogateescape")
    nic, settings = node.devices.nics[SPARE], LinkSettings(0x1000, name, "ff:ff:ff:ff:ff:ff", group=7)
    node.devices.nics[SPARE] = replace(nic, netdev=replace(nic.netdev, altnames=(name,), settings=settings))
    node.devices.now[SPARE] = node.devices.nics[SPARE].netdev
    before = node.devices.snapshot()
    agent.add(request(MOVED))
    node.devices.end_netns("/run/netns/p1")
    node.agent()
    assert is_untouched(node, before)


def test_a_record_of_an_agent_that_noted_less_is_read(node: NicNode) -> None:
    before = node.devices.snapshot()
    node.agent().add(request(MOVED))
    (path,) = (node.directory / "state").rglob("*.json")
    record = json.loads(path.read_bytes())
    del record["before"]["settings"]
    path.write_text(json.dumps(record))
    agent = node.agent()
    assert (agent.unread, agent.delete(KEY)) == (frozenset(), True)
    assert is_untouched(node, before)


def test_an_ipam_plugin_that_refuses_is_asked_again(node: NicNode) -> None:
    before, agent = node.devices.snapshot(), node.agent()
    agent.add(request())
    node.ipam.refuses = {"DEL"}
    with pytest.raises(Exception, match="closed"):
        agent.delete(KEY)
    assert node.devices.snapshot() == before, "the device is gone all the same"
    node.ipam.refuses = set()
    assert agent.delete(KEY)
    assert is_untouched(node, before)


def test_what_a_device_has_counted_is_read_in_its_pod(node: NicNode) -> None:
    agent = node.agent()
    record = agent.add(request())
    ((of, counted),) = agent.counted()
    assert (of, counted is not None and counted.name) == (record, "net1")
    node.devices.end_netns("/run/netns/p1")
    assert [counted for _, counted in agent.counted()] == [None]


def other_pod(spec: NicSpec) -> NicRequest:
    return request(spec, "c2", "/run/netns/p2")


def test_a_mac_that_another_has_names_its_key(node: NicNode) -> None:
    agent, same = node.agent(), replace(MACVLAN, mac="02:00:00:00:11:11")
    agent.add(request(same))
    with pytest.raises(DeviceUnusable, match="mac: 02:00:00:00:11:11 is another's above eth1"):
        agent.add(other_pod(same))


def test_without_hooks_or_addresses_there_are_no_programs(node: NicNode) -> None:
    given: Any = node.ipam.gives
    node.ipam.gives = {}
    agent = node.agent()
    assert agent.add(request()).slot == 0
    agent.delete(KEY)
    node.ipam.gives, node.programs.is_possible = given, False
    assert node.agent().add(request()).slot == 0
    assert node.programs.on == {}
