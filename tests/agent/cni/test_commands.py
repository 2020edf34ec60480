"""The commands over veths and a loop that only remember: what a failure leaves, and what a start finds."""

from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from agent.cni.capabilities import ANNOTATIONS
from agent.model.attachment import Attachment, HostPort
from agent.model.name import ObjectName
from agent.model.service import Protocol
from agent.netlink.batch import Refused
from agent.pods.attachments import host_device, made_mac
from agent.pods.errors import InterfaceTaken, NetnsUnusable
from agent.pods.pods import SYNC_WAIT_S
from agent.reconcile.loop import LoopStopped
from maps.errors import MapsError
from tests.agent.cni.room import Room


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_add_and_del_leave_nothing(room: Room) -> None:
    code, _ = room.call("ADD")
    assert code == 0
    assert not room.is_empty()
    assert [a.container_id for a in room.cni.attachments()] == ["c1"]
    assert room.call("DEL") == (0, {})
    assert room.call("DEL") == (0, {})
    assert room.is_empty()
    assert room.cni.attachments() == ()


def _veth_error(error: Exception) -> Callable[[Room], None]:
    def spoil(room: Room) -> None:
        room.veths.error = error

    return spoil


def _loop_error(error: Exception) -> Callable[[Room], None]:
    def spoil(room: Room) -> None:
        room.loop.error = error

    return spoil


def _no_disk(room: Room) -> None:
    # root may write anywhere, so the journal is lost, and a directory stands where the next one's draft would
    (room.directory / "boot.journal").unlink()
    (room.directory / "boot.draft").mkdir()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        pytest.param(_veth_error(NetnsUnusable("gone")), 8, id="the namespace is gone"),
        pytest.param(_veth_error(InterfaceTaken("eth0")), 4, id="the interface name is taken"),
        pytest.param(_veth_error(Refused(12, "no memory", 0)), 11, id="the kernel refuses a link"),
        pytest.param(_loop_error(MapsError("endpoints is full")), 11, id="a map is full"),
        pytest.param(_loop_error(LoopStopped("the agent is ending")), 11, id="the agent is ending"),
        pytest.param(_loop_error(ValueError("a bug")), 999, id="the loop has a bug"),
    ],
)
def test_a_failed_add_undoes_its_steps(room: Room, spoil: Callable[[Room], None], code: int) -> None:
    spoil(room)
    for _ in range(10):  # more than there are addresses
        given, error = room.call("ADD")
        assert (given, error["code"]) == (code, code)
    assert room.is_empty()


def test_a_disk_that_cannot_be_written_fails_the_add_and_leaks_nothing(room: Room) -> None:
    _no_disk(room)
    for _ in range(10):  # more than there are addresses
        code, error = room.call("ADD")
        assert (code, "the journal of pods cannot be written" in str(error["msg"])) == (11, True)
    assert (room.loop.attached, room.veths.names, room.cni.attachments()) == (set(), {}, ())
    assert sum(used for _, used, _ in room.ipam.free()) == 0


def test_a_disk_that_cannot_be_written_lets_pods_go(room: Room) -> None:
    assert room.call("ADD")[0] == 0
    _no_disk(room)
    assert room.call("DEL") == (0, {})
    assert room.is_empty()
    assert room.start() == ()
    (room.directory / "boot.draft").rmdir()
    assert room.call("ADD")[0] == 0, "as soon as the disk is well"


def test_a_full_cidr_is_try_again_later_and_status_says_it(room: Room) -> None:
    room.cidr = "10.0.0.0/30"
    assert room.call("STATUS") == (0, {})
    assert room.call("ADD", "c1")[0] == 0
    code, error = room.call("ADD", "c2")
    assert code == 11
    assert "10.0.0.0/30 is used up" in str(error["msg"])
    assert room.told == [(ObjectName("default", "c2"), "u-c2", error["msg"])]
    assert room.call("STATUS")[0] == 50


def test_an_add_before_the_first_sync_waits_for_it_and_then_says_what_is_missing(room: Room) -> None:
    room.missing = "Service: not listed yet"
    code, error = room.call("ADD")
    assert (code, error["msg"]) == (11, "the agent is not synced yet: Service: not listed yet")
    assert room.is_empty()
    assert room.told == [], "no Event says that addresses are short"
    assert room.waited_s == [SYNC_WAIT_S]
    room.missing = ""
    assert room.call("ADD")[0] == 0


def test_status_before_the_first_sync_says_at_once_what_is_missing(room: Room) -> None:
    room.missing = "Node: not listed yet"
    code, error = room.call("STATUS")
    assert (code, error["msg"]) == (50, "the agent is not synced yet: Node: not listed yet")
    assert room.waited_s == [0.0]


def test_a_del_does_not_wait_for_the_first_sync(room: Room) -> None:
    assert room.call("ADD")[0] == 0
    room.missing = "Node: not listed yet"
    room.waited_s.clear()
    assert room.call("DEL") == (0, {})
    assert (room.is_empty(), room.waited_s) == (True, [])


def test_a_start_takes_over_the_living_and_undoes_the_dead_and_the_half_made(room: Room) -> None:
    for container in ("c1", "c2"):
        room.call("ADD", container)
    room.veths.dead.add(host_device("c1", "eth0"))
    room.veths.names["swp00000000ff"] = 99
    living = room.start()
    assert [(a.container_id, a.ipv4) for a in living] == [("c2", IPv4Address("10.0.0.3"))]
    assert room.veths.ours() == {host_device("c2", "eth0")}
    assert room.cni.attachments() == living
    room.call("ADD", "c3")
    assert room.cni.attachments()[-1].ipv4 == IPv4Address("10.0.0.4")
    assert room.cni.attachments()[-1].endpoint_id > living[0].endpoint_id


def test_check_of_an_unknown_container_says_so(room: Room) -> None:
    assert room.call("CHECK", config={"prevResult": {}})[0] == 3


def test_check_compares_with_the_result_of_add(room: Room) -> None:
    _, result = room.call("ADD")
    assert room.call("CHECK", config={"prevResult": result}) == (0, {})
    longer = {"ips": [{"address": "10.0.0.2/24"}, {"address": 7}]}
    assert room.call("CHECK", config={"prevResult": longer}) == (0, {}), "a plugin behind us may say it otherwise"
    code, error = room.call("CHECK", config={"prevResult": {"ips": []}})
    assert code == 100
    assert "10.0.0.2 is missing" in str(error["details"])


def test_gc_keeps_other_networks_and_what_is_named(room: Room) -> None:
    room.call("ADD", "c1")
    room.call("ADD", "c2")
    room.call("ADD", "c3", {"name": "another"})
    valid = [{"containerID": "c1", "ifname": "eth0"}]
    assert room.call("GC", config={"cni.dev/valid-attachments": valid}) == (0, {})
    assert [a.container_id for a in room.cni.attachments()] == ["c1", "c3"]


def test_a_gc_spares_what_is_younger_than_itself(room: Room) -> None:
    for container, asked_at in (("c1", "10"), ("c2", "20")):
        assert room.call("ADD", container, SLUICEWAY_ASKED_AT=asked_at)[0] == 0
    none: dict[str, object] = {"cni.dev/valid-attachments": []}
    room.start()
    assert room.call("GC", config=none, SLUICEWAY_ASKED_AT="15") == (0, {})
    assert [a.container_id for a in room.cni.attachments()] == ["c2"]
    assert room.call("GC", config=none, SLUICEWAY_ASKED_AT="25") == (0, {})
    assert room.is_empty()


def test_a_del_that_is_older_than_the_attachment_means_another(room: Room) -> None:
    room.call("ADD", SLUICEWAY_ASKED_AT="20")
    assert room.call("DEL", SLUICEWAY_ASKED_AT="10") == (0, {})
    assert len(room.cni.attachments()) == 1
    assert room.call("DEL", SLUICEWAY_ASKED_AT="30") == (0, {})
    assert room.is_empty()


def test_a_second_interface_of_a_container_leaves_the_way_out_to_the_first(room: Room) -> None:
    _, first = room.call("ADD")
    _, second = room.call("ADD", CNI_IFNAME="net1")
    assert [len(result["routes"]) for result in (first, second)] == [1, 0]  # type: ignore[arg-type]
    (eth0, net1) = room.start()
    assert (eth0.is_first, net1.is_first, eth0.ipv4 != net1.ipv4) == (True, False, True)
    assert room.call("DEL", CNI_IFNAME="net1") == (0, {})
    assert room.cni.attachments() == (eth0,)
    assert room.call("DEL") == (0, {})
    assert room.is_empty()


def test_gc_goes_on_after_a_failure_and_reports_it(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.call("ADD", "c1")
    room.call("ADD", "c2")
    remove = room.veths.remove

    def stubborn(name: str) -> bool:
        if name == host_device("c1", "eth0"):
            raise OSError(16, "busy")
        return remove(name)

    monkeypatch.setattr(room.veths, "remove", stubborn)
    code, error = room.call("GC", config={"cni.dev/valid-attachments": []})
    assert code == 101
    assert "c1 eth0" in str(error["details"])
    assert [a.container_id for a in room.cni.attachments()] == ["c1"]


def test_pods_that_went_without_a_del_are_collected_and_others_stay(room: Room) -> None:
    for container in ("c1", "c2"):
        room.call("ADD", container)
    del room.veths.names[host_device("c1", "eth0")]  # with the namespace
    room.cni.collect()
    assert [a.container_id for a in room.cni.attachments()] == ["c2"]
    assert room.loop.attached == {host_device("c2", "eth0")}
    assert sum(used for _, used, _ in room.ipam.free()) == 1
    assert [a.container_id for a in room.cni.attachments()] == ["c2"]
    assert room.call("DEL", "c1") == (0, {})


def test_interfaces_that_are_there_are_looked_after_when_the_dead_are_looked_for(room: Room) -> None:
    for container in ("c1", "c2", "c3"):
        room.call("ADD", container)
    del room.veths.names[host_device("c2", "eth0")]
    room.cni.collect()
    assert room.veths.repaired == [host_device(container, "eth0") for container in ("c1", "c3")]
    room.veths.error = OSError("not now")
    room.cni.collect()
    assert len(room.cni.attachments()) == 2


def test_a_pod_whose_path_is_gone_but_not_its_device_is_not_collected(room: Room) -> None:
    room.call("ADD")
    room.veths.dead.add(host_device("c1", "eth0"))
    room.cni.collect()
    assert len(room.cni.attachments()) == 1


def test_a_pod_that_comes_back_while_the_dead_are_looked_for_stays(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.call("ADD")
    monkeypatch.setattr(room.veths, "ours", frozenset)  # what was there before the ADD
    room.cni.collect()
    assert len(room.cni.attachments()) == 1


def test_what_cannot_be_collected_now_is_collected_later(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.call("ADD")
    room.veths.names.clear()
    with monkeypatch.context() as patch:
        patch.setattr(room.loop, "detach", _refuse)
        room.cni.collect()
    assert len(room.cni.attachments()) == 1
    room.cni.collect()
    assert room.is_empty()


def _refuse(_attachment: Attachment) -> None:
    raise MapsError("not now")


def test_a_chained_add_answers_with_what_came_before_and_its_own(room: Room) -> None:
    previous = {"interfaces": [{"name": "net9"}], "ips": [{"address": "192.0.2.1/24", "interface": 0}], "routes": []}
    _, result = room.call("ADD", config={"prevResult": previous})
    assert result["ips"] == [
        {"address": "192.0.2.1/24", "interface": 0},
        {"address": "10.0.0.2/32", "gateway": "169.254.1.1", "interface": 2},
    ]


def test_a_previous_result_may_have_nulls_for_empty_lists(room: Room) -> None:
    _, result = room.call("ADD", config={"prevResult": {"interfaces": None, "ips": None, "routes": None}})
    assert [ip["interface"] for ip in result["ips"]] == [1]  # type: ignore[attr-defined]


def runtime(**asked: object) -> dict[str, object]:
    return {"runtimeConfig": asked}


def mappings(*entries: dict[str, object]) -> dict[str, object]:
    return runtime(portMappings=[{"hostPort": 80, "containerPort": 8080, **entry} for entry in entries])


def test_host_ports_are_remembered_over_a_restart(room: Room) -> None:
    assert room.call("ADD", "c1", mappings({"HostIP": "127.0.0.1"}))[0] == 0
    (pod,) = room.start()
    assert pod.host_ports == (HostPort("127.0.0.1", 80, Protocol.TCP, 8080),)
    assert room.call("ADD", "c2", mappings({}))[0] == 11


def test_a_host_port_that_another_pod_has_is_refused_until_that_pod_is_gone(room: Room) -> None:
    assert room.call("ADD", "c1", mappings({}))[0] == 0
    code, error = room.call("ADD", "c2", mappings({"hostIP": "127.0.0.1"}))
    assert (code, error["msg"]) == (
        11,
        "runtimeConfig.portMappings: host port 127.0.0.1:80/TCP: default/c1 has *:80/TCP",
    )
    assert room.call("ADD", "c2", mappings({"protocol": "UDP"}))[0] == 0
    room.call("DEL", "c1")
    assert room.call("ADD", "c3", mappings({}))[0] == 0
    for container in ("c2", "c3"):
        room.call("DEL", container)
    assert room.is_empty()


def test_a_pod_in_its_own_way_is_refused(room: Room) -> None:
    code, error = room.call("ADD", "c1", mappings({}, {"containerPort": 81}))
    assert (code, error["msg"]) == (7, "runtimeConfig.portMappings: *:80/TCP is asked for twice")
    assert room.is_empty()


def test_a_failed_add_gives_its_host_port_back(room: Room) -> None:
    room.veths.error = InterfaceTaken("eth0")
    assert room.call("ADD", "c1", mappings({}))[0] == 4
    room.veths.error = None
    assert room.call("ADD", "c2", mappings({}))[0] == 0


def test_a_host_ip_of_a_family_the_pod_has_not_is_refused(room: Room) -> None:
    code, error = room.call("ADD", "c1", mappings({"hostIP": "2001:db8::1"}))
    assert (code, "hostIP 2001:db8::1" in str(error["msg"])) == (7, True)
    assert room.is_empty()


def test_no_form_of_another_pods_address_is_a_free_one(room: Room) -> None:
    room.cidr = "fd00::/120"
    assert room.call("ADD", "c1")[0] == 0
    (own,) = room.cni.attachments()[0].addresses
    for form in (str(own), own.exploded, f"{own}%x", f"{own}%eth0"):
        code, error = room.call("ADD", "c2", runtime(**{ANNOTATIONS: {"sluiceway.io/ipv6": form}}))
        assert (code in {7, 11}, "sluiceway.io/ipv6" in str(error.get("msg"))) == (True, True), (form, error)
        code, error = room.call("ADD", "c2", runtime(ips=[form]))
        assert (code, "is another pod's" in str(error.get("msg"))) == (11, True), (form, error)
    assert len(room.cni.attachments()) == 1


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        pytest.param(["10.0.0.5"], 0, "", id="a free one is given"),
        pytest.param(["10.0.0.2"], 11, "runtimeConfig.ips[0]: 10.0.0.2 is another pod's", id="a taken one later"),
        pytest.param(["10.9.9.9"], 7, "is in no podCIDR of this node, which has 10.0.0.0/29", id="a foreign one never"),
        pytest.param(["10.0.0.1"], 7, "are reserved", id="a reserved one never"),
    ],
)
def test_a_fixed_address(room: Room, asked: list[str], code: int, words: str) -> None:
    room.call("ADD", "c1")
    given, answer = room.call("ADD", "c2", runtime(ips=asked))
    assert given == code, answer
    assert words in str(answer.get("msg", ""))
    if not code:
        assert room.cni.attachments()[-1].ipv4 == IPv4Address(asked[0])
    room.call("DEL", "c1")
    room.call("DEL", "c2")
    assert room.is_empty()


def test_a_mac_that_is_asked_for_is_the_pods(room: Room) -> None:
    _, result = room.call("ADD", "c1", runtime(mac="C2:00:00:00:00:07"))
    assert result["interfaces"][1]["mac"] == "c2:00:00:00:00:07"  # type: ignore[index]


def test_a_mac_that_another_pod_has_is_refused_until_that_pod_is_gone(room: Room) -> None:
    assert room.call("ADD", "c1", runtime(mac="02:00:00:00:00:07"))[0] == 0
    assert room.call("ADD", "c2")[0] == 0
    room.start()
    for mac in ("02-00-00-00-00-07", made_mac("c2", "eth0")):
        code, error = room.call("ADD", "c3", runtime(mac=mac))
        assert (code, str(error["msg"]).startswith("runtimeConfig.mac: 02:")) == (11, True), error
    assert len(room.veths.names) == 2
    room.call("DEL", "c1")
    assert room.call("ADD", "c3", runtime(mac="02:00:00:00:00:07"))[0] == 0
    for container in ("c2", "c3"):
        room.call("DEL", container)
    assert room.is_empty()


def test_check_tells_all_that_is_wrong(room: Room) -> None:
    _, result = room.call("ADD")
    room.veths.dead.add(host_device("c1", "eth0"))
    room.ipam.release([IPv4Address("10.0.0.2")])
    code, error = room.call("CHECK", config={"prevResult": result})
    assert (code, error["details"]) == (100, "gone; 10.0.0.2 is not reserved")
