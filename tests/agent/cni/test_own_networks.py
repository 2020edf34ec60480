"""Further networks whose interfaces the agent makes itself: veth pairs and VFs by definition, without the shim."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.compile.network_config import plugin_list
from agent.model.cluster import Cluster
from agent.model.name import ObjectName
from agent.model.network import DEFAULT_NETWORK, NETWORKS, OUR_PLUGIN, NetworkDefinition
from agent.model.vf import VFIO
from agent.pods import device_info, fail_points
from agent.pods.networks import Networks
from tests.agent.cni.room import Room
from tests.agent.pods.vf.vf_card import ADDRESS, HOME, OTHER

P1: dict[str, Any] = {"CNI_NETNS": "/run/netns/p1"}
VFS = "example.com/vf"


class Died(BaseException):
    """The agent's death."""


def definition(name: str, resource: str = "", namespace: str = "default", **config: Any) -> NetworkDefinition:
    plugins = plugin_list(json.dumps({"cniVersion": "1.1.0", "type": OUR_PLUGIN, **config}), name)
    return NetworkDefinition(ObjectName(namespace, name), plugins, resource)


DEFINITIONS = (
    definition("ours", kind="veth"),
    definition("sluiceway", kind="veth"),  # named as the cluster's own network is
    definition("fast", VFS, kind="sriov", vlan=100, ipam={"type": "fake"}),
    definition("user", VFS, kind="dpdk"),
    definition("plain", "", "kube-system", kind="veth"),
    definition("card", VFS, "kube-system", kind="sriov", ipam={"type": "fake"}),
)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr(device_info, "FOLDER", tmp_path / "devinfo")
    cluster = Cluster(networks={one.name: one for one in DEFINITIONS})
    return Room(tmp_path / "attachments", cidr="10.0.0.0/28", cluster=cluster, resources={VFS: [ADDRESS, OTHER]})


def asks(networks: Any, **more: str) -> dict[str, Any]:
    text = networks if isinstance(networks, str) else json.dumps(networks)
    return {"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {NETWORKS: text, **more}}}


def status(room: Room) -> list[dict[str, Any]]:
    (path,) = (room.directory / "networks").glob("*.json")
    found: list[dict[str, Any]] = json.loads(json.loads(path.read_text())["status"])
    return found


def is_clean(room: Room) -> bool:
    """Whether nothing is left of any pod, on the card and the disk either."""
    files = [*(room.directory / "networks").glob("*"), *room.vfs.files(), *room.directory.parent.glob("devinfo/*/*")]
    return room.is_empty() and not files and not room.vfs.ipam.held


def test_each_kind_comes_behind_the_first_and_goes_with_it(room: Room) -> None:
    before = room.vfs.card.snapshot()
    code, answer = room.call("ADD", config=asks("ours@data0, fast, user"), **P1)
    assert (code, [one["name"] for one in answer["interfaces"]][1:]) == (0, ["eth0"]), answer  # type: ignore[attr-defined]
    assert [a.interface for a in room.cni.attachments()] == ["eth0", "data0"]
    assert [a.is_first for a in room.cni.attachments()] == [True, False]
    assert [a.network for a in room.cni.attachments()] == [None, ObjectName("default", "ours")]
    assert [a.network for a in room.vfs.loop.attached.values()] == [ObjectName("default", "fast")]
    assert (room.vfs.card.where[ADDRESS], room.vfs.card.devices[ADDRESS].name) == ("/run/netns/p1", "net2")
    assert room.vfs.card.vfs[ADDRESS].settings.vlan == 100
    assert room.vfs.card.vfs[OTHER].driver == VFIO, "two networks of one resource have a device each"
    _, ours, fast, user = status(room)
    assert (ours["name"], ours["ips"], "device-info" in ours) == ("default/ours", ["10.0.0.3"], False)
    assert (fast["name"], fast["interface"], fast["ips"]) == ("default/fast", "net2", ["10.9.0.2"])
    pci = {"pci-address": ADDRESS, "pf-pci-address": "0000:03:00.0"}
    assert fast["device-info"] == {"type": "pci", "version": "1.1.0", "pci": pci}
    assert user["device-info"]["pci"]["pci-address"] == OTHER
    assert room.call("CHECK", config={**asks(""), "prevResult": answer}, **P1) == (0, {})
    room.vfs.card.where[ADDRESS] = HOME
    code, error = room.call("CHECK", config={**asks(""), "prevResult": answer}, **P1)
    assert (code, "net2 is not in /run/netns/p1" in str(error["details"])) == (100, True)
    room.vfs.card.where[ADDRESS] = "/run/netns/p1"
    assert room.call("DEL", **P1) == (0, {})
    assert (room.vfs.card.snapshot() == before, is_clean(room)) == (True, True)


def test_a_named_device_is_its_elements_and_no_others(room: Room) -> None:
    wanted = [{"name": "user"}, {"name": "fast", "deviceID": ADDRESS}]
    assert room.call("ADD", config=asks(wanted), **P1)[0] == 0
    assert room.vfs.card.where[ADDRESS] == "/run/netns/p1"
    assert room.vfs.card.vfs[OTHER].driver == VFIO
    assert room.call("DEL", **P1) == (0, {})


@pytest.mark.parametrize(
    ("networks", "code", "says"),
    [
        pytest.param("ours, fast, user, fast", 7, "of which the pod has 2", id="more than the pod was given"),
        pytest.param([{"name": "fast", "deviceID": "0000:09:00.0"}], 7, "the pod was not given", id="another's device"),
        pytest.param(
            "ours, user", 7, "net2 of default/user: plugin sluiceway-cni: the driver vfio-pci", id="no driver"
        ),
        pytest.param([{"name": "ours", "ips": ["10.9.9.9"]}], 7, "10.9.9.9 is in no podCIDR", id="no such address"),
    ],
)
def test_what_one_cannot_have_none_has(room: Room, networks: Any, code: int, says: str) -> None:
    before = room.vfs.card.snapshot()
    room.vfs.card.refuses["vfio-pci"] = "no"
    given, error = room.call("ADD", config=asks(networks), **P1)
    assert (given, says in str(error["msg"])) == (code, True), error
    assert (room.vfs.card.snapshot() == before, is_clean(room)) == (True, True)


@pytest.mark.parametrize("point", [*fail_points.NETWORK_ADD, *fail_points.VF_ADD, *fail_points.NETWORK_DEL])
def test_what_died_anywhere_is_unmade_by_the_next_agent(
    room: Room, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    before = room.vfs.card.snapshot()
    monkeypatch.setattr(fail_points, "reached", dying_at(point))
    # what a process that died would not have done either
    monkeypatch.setattr(Networks, "_roll_back", lambda *_: None)
    with pytest.raises(Died):  # noqa: PT012  in whichever of the two the point is
        room.call("ADD", config=asks("fast, ours"), **P1)
        room.call("DEL", **P1)
    monkeypatch.undo()
    monkeypatch.setattr(device_info, "FOLDER", room.directory.parent / "devinfo")
    room.start()
    assert room.call("DEL", **P1) == (0, {})
    assert (room.vfs.card.snapshot() == before, is_clean(room)) == (True, True)


def dying_at(wanted: str) -> Callable[[str], None]:
    def reached(point: str) -> None:
        if point == wanted:
            raise Died

    return reached


def test_gc_of_the_clusters_network_spares_a_further_one_of_its_name(room: Room) -> None:
    assert room.call("ADD", config=asks("sluiceway"), **P1)[0] == 0
    valid = [{"containerID": "c1", "ifname": "eth0"}]
    assert room.call("GC", config={"cni.dev/valid-attachments": valid}) == (0, {})
    assert [a.interface for a in room.cni.attachments()] == ["eth0", "net1"]
    assert room.call("GC", config={"cni.dev/valid-attachments": []}) == (0, {})
    assert is_clean(room)


def test_a_reboot_leaves_no_address_of_a_vf_taken(room: Room) -> None:
    assert room.call("ADD", config=asks("fast"), **P1)[0] == 0
    folder = room.vfs.directory / "state/vfs"
    (folder / "boot").rename(folder / "an earlier boot")
    room.start()
    assert room.vfs.ipam.held
    assert room.call("DEL", **P1) == (0, {})
    assert not room.vfs.ipam.held


def test_a_vf_can_be_a_pods_first_interface_and_a_veth_is_already(room: Room) -> None:
    before = room.vfs.card.snapshot()
    code, answer = room.call("ADD", config=asks("ours", **{DEFAULT_NETWORK: "card"}), **P1)
    assert (code, [ip["address"] for ip in answer["ips"]]) == (0, ["10.9.0.2/24"]), answer  # type: ignore[attr-defined]
    assert [(a.interface, a.is_first) for a in room.cni.attachments()] == [("net1", False)]
    assert [a.network for a in room.vfs.loop.attached.values()] == [None], "policies of the cluster's network hold"
    assert room.call("CHECK", config={**asks(""), "prevResult": answer}, **P1) == (0, {})
    assert room.call("DEL", **P1) == (0, {})
    assert (room.vfs.card.snapshot() == before, is_clean(room)) == (True, True)
    code, error = room.call("ADD", config=asks("", **{DEFAULT_NETWORK: "plain"}), **P1)
    assert (code, "is of the kind veth, on the cluster's network" in str(error["msg"])) == (7, True)


@pytest.mark.parametrize("name", ["", "other"], ids=["nobody's", "another's"])
def test_no_pod_says_that_an_interface_is(room: Room, name: str) -> None:
    """No policy is for an interface that is no pod's."""
    said = [{"name": "ours", "cni-args": {"K8S_POD_NAME": name}}]
    code, error = room.call("ADD", config=asks(said), **P1)
    assert [str(a.pod) for a in room.cni.attachments() if a.pod != ObjectName("default", "c1")] == []
    assert (code, "cni-args.K8S_POD_NAME: is for the runtime alone" in str(error["msg"])) == (7, True)


def test_where_others_make_the_pods_network_none_is_added_to_it(room: Room, tmp_path: Path) -> None:
    chained = Room(tmp_path / "chained", cluster=room.cluster, is_chained=True)
    made = {"interfaces": [{"name": "eth0", "sandbox": "/run/netns/p1"}], "ips": [{"address": "10.9.0.7/24"}]}
    code, error = chained.call("ADD", config={**asks("ours"), "prevResult": made}, **P1)
    assert (code, "kind: veth is not there where others make the pods' network" in str(error["msg"])) == (7, True)
    assert chained.cni.attachments() == ()
