"""Further interfaces that come to pods that run, and leave them: by annotation, one at a time, the others untouched."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.cni.hot_plug import LONGEST_S, SETTLE_S
from agent.model.cluster import Cluster
from agent.model.name import ObjectName
from agent.model.network import NETWORKS, NetworkDefinition
from agent.model.node import Pod
from agent.pods import device_info, fail_points
from agent.pods.errors import NetworkFailed
from agent.pods.network_plug import NetworkPlug
from agent.pods.network_record import NetworkSet, Step
from agent.pods.networks import ADD_S, Networks
from tests.agent.cni.room import Room
from tests.agent.cni.test_own_networks import P1, VFS, Died, asks, definition, dying_at, is_clean, status
from tests.agent.pods.vf.vf_card import ADDRESS, HOME, OTHER

KEY, NAME = ("c1", "eth0"), ObjectName("default", "c1")
SCRIPT = """#!/bin/sh
echo "$CNI_COMMAND $CNI_IFNAME" >> @/called
[ ! -e @/stuck ] || { echo '{"code": 11, "msg": "is stuck"}'; exit 1; }
[ $CNI_COMMAND != ADD ] || echo '{"cniVersion": "1.0.0"}'
"""
DEFINITIONS = (
    definition("ours", kind="veth"),
    definition("fast", VFS, kind="sriov", ipam={"type": "fake"}),
    definition("lan", type="plugin"),
    definition("more", type="plugin"),
)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr(device_info, "FOLDER", tmp_path / "devinfo")
    cluster = Cluster(networks={one.name: one for one in DEFINITIONS}, synced=True)
    made = Room(tmp_path / "attachments", cidr="10.0.0.0/28", cluster=cluster, resources={VFS: [ADDRESS, OTHER]})
    plugin = made.directory / "bin/plugin"
    plugin.parent.mkdir()
    plugin.write_text(SCRIPT.replace("@", str(plugin.parent)))
    plugin.chmod(0o755)
    return made


def annotate(room: Room, networks: Any, uid: str = "u-c1", static_uid: str = "") -> None:
    """The Pod's annotation is this from now on."""
    text = networks if isinstance(networks, str) else json.dumps(networks)
    pod = Pod(NAME, uid, networks=((NETWORKS, text),) if text else (), static_uid=static_uid)
    room.cluster = replace(room.cluster, pods={NAME: pod})


def started(room: Room, networks: str) -> None:
    """The pod runs with these."""
    annotate(room, networks)
    assert room.call("ADD", config=asks(networks), **P1)[0] == 0
    forget_calls(room)


def follow(room: Room) -> float | None:
    """What the thread does by the time that a difference has settled; when it would look again."""
    room.hot_plug.look()
    room.now_s += SETTLE_S
    return room.hot_plug.look()


def has(room: Room) -> list[str]:
    """Name and network of each interface, as the record has them."""
    one = room.further.find(KEY)
    return [f"{each.interface} {each.network.name}" for each in one.interfaces] if one else []


def called(room: Room) -> list[str]:
    path = room.directory / "bin/called"
    found = path.read_text().splitlines() if path.exists() else []
    forget_calls(room)
    return found


def forget_calls(room: Room) -> None:
    (room.directory / "bin/called").unlink(missing_ok=True)


def troubles(room: Room) -> list[str]:
    return [one.text for one in room.hot_plug.problems]


def test_what_is_asked_for_comes_and_the_rest_is_untouched(room: Room) -> None:
    before = room.vfs.card.snapshot()
    started(room, "lan")
    annotate(room, "lan, ours@data0, fast")
    assert follow(room) is None, "nothing is left to do"
    assert (has(room), called(room)) == (["net1 lan", "data0 ours", "net3 fast"], [])
    first, lan, ours, fast = status(room)
    assert (first["interface"], first["default"], first["gateway"]) == ("eth0", True, ["169.254.1.1"])
    assert (lan["interface"], ours["ips"], fast["device-info"]["pci"]["pci-address"]) == ("net1", ["10.0.0.3"], ADDRESS)
    assert [one.interfaces[-1].interface for one in room.changed] == ["data0", "net3"]
    annotate(room, "ours@data0")
    follow(room)
    assert (has(room), called(room)) == (["data0 ours"], ["DEL net1"])
    assert room.vfs.card.snapshot() == before
    annotate(room, "")
    follow(room)
    assert (has(room), [one["interface"] for one in status(room)]) == ([], ["eth0"])
    assert [a.interface for a in room.cni.attachments()] == ["eth0"]
    assert room.call("DEL", **P1) == (0, {})
    assert is_clean(room)


def test_a_pod_without_networks_gets_its_first_and_del_takes_it(room: Room) -> None:
    annotate(room, "")
    assert room.call("ADD", **P1)[0] == 0
    annotate(room, "fast")
    follow(room)
    assert (has(room), room.vfs.card.where[ADDRESS]) == (["net1 fast"], "/run/netns/p1")
    assert [one["name"] for one in status(room)] == ["sluiceway", "default/fast"]
    assert room.call("DEL", **P1) == (0, {})
    assert (is_clean(room), room.vfs.card.where[ADDRESS]) == (True, HOME)


def test_a_device_is_not_given_twice(room: Room) -> None:
    started(room, "fast")
    annotate(room, "fast, fast@vf1")
    follow(room)
    assert {room.vfs.card.devices[one].name for one in (ADDRESS, OTHER)} == {"net1", "vf1"}
    annotate(room, "fast, fast@vf1, fast@vf2")
    follow(room)
    assert has(room) == ["net1 fast", "vf1 fast"]
    (told,) = troubles(room)
    assert told.startswith("vf2 cannot be given to the running pod: ")
    assert told.endswith("of which the pod has 2; ask for it in spec.containers")
    assert room.call("DEL", **P1) == (0, {})


def test_a_difference_is_acted_on_when_it_has_lasted(room: Room) -> None:
    started(room, "lan")
    annotate(room, "")
    assert room.hot_plug.look() == SETTLE_S
    annotate(room, "lan")
    room.now_s += 2 * SETTLE_S
    assert (room.hot_plug.look(), has(room), called(room)) == (None, ["net1 lan"], [])


def test_what_fails_is_told_and_tried_again_later_and_later_and_leaves_the_others(room: Room) -> None:
    started(room, "ours")
    annotate(room, "ours, lan")
    (room.directory / "bin/stuck").touch()
    waits = [follow(room)]
    said = "net2 cannot be given to the running pod: net2 of default/lan: plugin plugin: is stuck"
    assert (troubles(room), room.hot_plug.problems[0].name) == ([said], NAME)
    room.hot_plug.look()
    assert called(room) == ["ADD net2", "DEL net2"], "not before its time"
    for _ in range(9):
        room.now_s += LONGEST_S
        waits.append(room.hot_plug.look())
    assert waits[0] is not None
    assert waits[0] <= 0.5
    assert waits[-1] is not None
    assert LONGEST_S / 2 <= waits[-1] <= LONGEST_S
    assert [a.interface for a in room.cni.attachments()] == ["eth0", "net1"]
    (room.directory / "bin/stuck").unlink()
    room.now_s += LONGEST_S
    forget_calls(room)
    assert room.hot_plug.look() is None
    assert called(room) == ["DEL net2", "ADD net2"], "what may be left of it goes first"
    assert (has(room), troubles(room)) == (["net1 ours", "net2 lan"], [])
    assert [one["interface"] for one in status(room)] == ["eth0", "net1", "net2"]


def test_an_interface_that_another_made_is_left_alone_and_told(room: Room) -> None:
    started(room, "ours")
    room.others_devices = {"x0"}
    annotate(room, "ours, lan@x0")
    follow(room)
    (told,) = troubles(room)
    assert told.endswith("x0 of default/lan: the pod has an interface of this name that is not from here")
    assert (called(room), has(room)) == ([], ["net1 ours"])


def test_one_that_cannot_go_is_told_and_its_name_is_not_given_to_another(room: Room) -> None:
    started(room, "lan@x, ours")
    annotate(room, "more@x, ours")
    (room.directory / "bin/stuck").touch()
    follow(room)
    assert troubles(room) == ["x cannot be taken from the running pod: x of default/lan: plugin plugin: is stuck"]
    assert called(room) == ["DEL x"]
    (room.directory / "bin/stuck").unlink()
    room.now_s += LONGEST_S
    room.hot_plug.look()
    assert (called(room), has(room)) == (["DEL x", "ADD x"], ["net2 ours", "x more"])


@pytest.mark.parametrize(
    "networks", ["lan, nowhere", "{", "lan@eth0"], ids=["no definition", "no JSON", "the first one's name"]
)
def test_an_annotation_that_cannot_be_used_changes_nothing(room: Room, networks: str) -> None:
    started(room, "lan, ours")
    annotate(room, networks)
    assert follow(room) is None
    assert (has(room), called(room), troubles(room)) == (["net1 lan", "net2 ours"], [], [])


def test_a_static_pod_is_followed_by_its_mirror(room: Room) -> None:
    started(room, "lan")
    annotate(room, "lan, ours", uid="another", static_uid="u-c1")
    follow(room)
    assert has(room) == ["net1 lan", "net2 ours"]


def test_who_is_not_the_pod_is_left_alone(room: Room) -> None:
    started(room, "lan")
    annotate(room, "", uid="another")
    follow(room)
    room.cluster = replace(room.cluster, pods={})
    follow(room)
    annotate(room, "")
    room.ended.add(KEY)  # its sandbox is gone
    follow(room)
    room.ended.clear()
    with room.further.busy.at(KEY):  # its runtime asks for something
        room.now_s += LONGEST_S
        room.hot_plug.look()
    assert (has(room), called(room)) == (["net1 lan"], [])
    room.now_s += LONGEST_S
    room.hot_plug.look()
    assert (has(room), called(room)) == ([], ["DEL net1"])


@pytest.mark.parametrize("kind", ["fast", "ours", "lan"])
@pytest.mark.parametrize("point", [*fail_points.PLUG, *fail_points.UNPLUG])
def test_an_agent_that_died_on_the_way_is_followed_by_one_that_gets_there(
    room: Room, monkeypatch: pytest.MonkeyPatch, point: str, kind: str
) -> None:
    before = room.vfs.card.snapshot()
    is_plug = point in fail_points.PLUG
    started(room, "more" if is_plug else f"more, {kind}")
    annotate(room, f"more, {kind}" if is_plug else "more")
    monkeypatch.setattr(fail_points, "reached", dying_at(point))
    with pytest.raises(Died):
        follow(room)
    monkeypatch.setattr(fail_points, "reached", lambda _: None)
    room.start()
    room.further.collect()
    one = room.further.find(KEY)
    assert one is not None
    assert [each.step for each in one.interfaces] == [Step.MADE, Step.BEGUN], "the other is untouched"
    follow(room)
    assert not troubles(room)
    assert has(room) == (["net1 more", f"net2 {kind}"] if is_plug else ["net1 more"])
    assert not [call for call in called(room) if call.endswith("net1")]
    assert room.call("DEL", **P1) == (0, {})
    assert (room.vfs.card.snapshot() == before, is_clean(room)) == (True, True)


def test_a_changed_definition_changes_no_pod_that_runs(room: Room) -> None:
    started(room, "lan")
    changed = definition("lan", type="other")
    networks: dict[ObjectName, NetworkDefinition] = {**room.cluster.networks, changed.name: changed}
    room.cluster = replace(room.cluster, networks=networks)
    assert (follow(room), called(room)) == (None, [])


def test_a_check_passes_over_what_is_on_its_way(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    started(room, "lan")
    annotate(room, "lan, ours")
    monkeypatch.setattr(
        fail_points, "reached", lambda point: room.further.check(KEY) if point == "PLUG noted" else None
    )
    follow(room)
    assert called(room) == ["CHECK net1"]


def test_pods_whose_plugins_hang_keep_a_change_waiting_for_one_of_them(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, and also where their annotations change all the time."""
    pods = [f"c{number}" for number in range(1, 6)]
    for container in pods:
        annotate(room, "")
        answer = room.call("ADD", container, asks(""))
        assert answer[0] == 0, answer
    tried: list[str] = []

    def add(_plug: object, owner: NetworkSet, *_: object) -> None:
        tried.append(owner.container_id)
        if owner.container_id != "c5":
            room.now_s += ADD_S
        raise NetworkFailed("it hangs")

    def annotated(*containers: str, networks: str) -> dict[ObjectName, Pod]:
        names = [ObjectName("default", container) for container in containers]
        return {name: Pod(name, f"u-{name.name}", networks=((NETWORKS, networks),)) for name in names}

    monkeypatch.setattr(NetworkPlug, "add", add)
    room.cluster = replace(room.cluster, pods=annotated(*pods[:4], networks="lan"))
    follow(room)
    for _ in range(3):
        assert room.hot_plug.look() is not None
    assert tried == pods[:4], "each has its turn"
    room.cluster = replace(
        room.cluster, pods={**annotated(*pods[:4], networks="more"), **annotated("c5", networks="lan")}
    )
    tried.clear()
    follow(room)
    assert tried[0] == "c5"
    for _ in range(4):
        room.hot_plug.look()
    assert [one for one in tried if one != "c5"][:4] == pods[:4]


def test_whatever_comes_of_one_pods_annotation_the_thread_goes_on(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    started(room, "")
    annotate(room, "lan")
    with monkeypatch.context() as patched:
        patched.setattr(Networks, "status_of", lambda *_: 1 / 0)
        follow(room)
    assert [text.startswith("cannot be changed: ZeroDivisionError") for text in troubles(room)] == [True]
    room.now_s += LONGEST_S
    room.hot_plug.look()
    assert (has(room), troubles(room)) == (["net1 lan"], [])
