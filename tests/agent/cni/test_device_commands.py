"""CNI's commands for VFs, beside those for veth pairs: each finds what is its own, whatever the configuration says."""

from pathlib import Path

import pytest

from agent.pods.device.record import DeviceStage
from tests.agent.cni.room import Room
from tests.agent.pods.vf.vf_card import ADDRESS, HOME, OTHER

CONFIG = {"name": "fast", "kind": "sriov", "deviceID": ADDRESS, "ipam": {"type": "fake"}}
NET1 = {"CNI_IFNAME": "net1", "CNI_NETNS": "/run/netns/p1", "CNI_ARGS": ""}


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path / "attachments")


def test_a_pod_has_both_and_each_del_takes_its_own(room: Room) -> None:
    before = room.vfs.card.snapshot()
    assert room.call("ADD")[0] == 0
    code, answer = room.call("ADD", config=CONFIG, **NET1)
    assert (code, answer["interfaces"][0]["pciID"]) == (0, ADDRESS), answer  # type: ignore[index]
    assert room.call("DEL", config={"name": "fast"}, **NET1) == (0, {})  # the definition has changed meanwhile
    assert room.vfs.card.snapshot() == before
    assert len(room.cni.attachments()) == 1
    assert room.call("DEL") == (0, {})
    assert room.is_empty()


def test_an_interface_is_one_or_the_other(room: Room) -> None:
    assert room.call("ADD")[0] == 0
    code, error = room.call("ADD", config=CONFIG)
    assert (code, error["msg"]) == (4, "CNI_IFNAME: c1 has eth0 already")


def test_check_asks_the_card(room: Room) -> None:
    _, answer = room.call("ADD", config=CONFIG, **NET1)
    assert room.call("CHECK", config={**CONFIG, "prevResult": answer}, **NET1) == (0, {})
    room.vfs.card.where[ADDRESS] = HOME
    code, error = room.call("CHECK", config={**CONFIG, "prevResult": answer}, **NET1)
    assert (code, error["details"]) == (100, "net1 is not in /run/netns/p1")


def test_gc_gives_back_what_the_runtime_does_not_name_and_spares_other_networks(room: Room) -> None:
    room.call("ADD", config=CONFIG, **NET1)
    room.call("ADD", "c2", config={**CONFIG, "deviceID": OTHER}, **NET1 | {"CNI_NETNS": "/run/netns/p2"})
    assert room.call("GC", config={"name": "other", "cni.dev/valid-attachments": []}) == (0, {})
    valid = [{"containerID": "c2", "ifname": "net1"}]
    assert room.call("GC", config={"name": "fast", "cni.dev/valid-attachments": valid}) == (0, {})
    assert (room.vfs.card.where[ADDRESS], room.vfs.card.where[OTHER]) == (HOME, "/run/netns/p2")


def test_gc_tells_what_it_could_not_give_back(room: Room) -> None:
    room.call("ADD", config=CONFIG, **NET1)
    room.vfs.ipam.refuses.add("DEL")
    code, error = room.call("GC", config={"name": "fast", "cni.dev/valid-attachments": []})
    assert (code, error["details"]) == (101, "c1 net1: plugin fake: its books are closed")


def test_status_of_a_vfs_network_does_not_rest_on_our_addresses(room: Room) -> None:
    room.missing = "Services"
    assert room.call("STATUS")[0] == 50
    assert room.call("STATUS", config=CONFIG) == (0, {})


def test_a_new_agent_keeps_the_vf_of_a_living_pod_and_collects_that_of_a_dead_one(room: Room) -> None:
    room.call("ADD", config=CONFIG, **NET1)
    room.start()
    (record,) = room.vfs.agent().all()
    assert record.stage is DeviceStage.ADDED
    room.vfs.card.end_netns("/run/netns/p1")
    room.cni.collect()
    assert room.vfs.files() == []


def reboot(room: Room) -> None:
    folder = room.directory / "vfs/state/vfs"
    (folder / "boot").rename(folder / "an earlier boot")
    room.start()


@pytest.mark.parametrize("kind", ["sriov", "dpdk"])
def test_after_a_reboot_del_has_the_ipam_plugin_take_back_what_it_gave(room: Room, kind: str) -> None:
    config = {**CONFIG, "kind": kind}
    assert room.call("ADD", config=config, **NET1)[0] == 0
    reboot(room)
    assert room.vfs.ipam.held, "no record of this boot tells of it"
    room.vfs.ipam.refuses.add("DEL")
    code, error = room.call("DEL", config=config, **NET1)
    assert (code, "its books are closed" in str(error["msg"])) == (11, True)
    room.vfs.ipam.refuses.clear()
    for _ in range(2):
        assert room.call("DEL", config=config, **NET1) == (0, {})
        assert room.vfs.ipam.held == {}


def test_a_del_that_was_left_as_a_file_asks_the_ipam_plugin_when_others_are_served(room: Room) -> None:
    assert room.call("ADD", config=CONFIG, **NET1)[0] == 0
    reboot(room)
    held = dict(room.vfs.ipam.held)
    code, _ = room.call("DEL", config=CONFIG, **NET1, SLUICEWAY_LATE="at start")
    assert (code, room.vfs.ipam.held) == (11, held)
    assert room.call("DEL", config=CONFIG, **NET1, SLUICEWAY_LATE="afterwards") == (0, {})
    assert room.vfs.ipam.held == {}


def test_a_del_whose_configuration_no_add_has_taken_is_done(room: Room) -> None:
    assert room.call("DEL", config={**CONFIG, "deviceID": "", "ipam": {"type": "../fake"}}, **NET1) == (0, {})
