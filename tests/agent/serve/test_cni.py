"""The commands over a wire and a loop that only remember: what a failed step leaves, and what a start finds."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_network
from pathlib import Path

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from agent.model.local import Attachment
from agent.reconcile.loop import LoopStopped
from agent.serve.attachments import Store, host_device
from agent.serve.cni import Cni
from agent.serve.ipam import Ipam
from agent.serve.pod_link import InterfaceTaken, NetnsUnusable, Wire, Wish
from maps.errors import MapsError

Answer = tuple[int, dict[str, object]]


@dataclass
class FakeLoop:
    """Remembers who is attached."""

    attached: set[str] = field(default_factory=set)
    error: Exception | None = None

    def attach(self, attachment: Attachment) -> None:
        """As the loop's."""
        if self.error:
            raise self.error
        self.attached.add(attachment.host_device)

    def detach(self, attachment: Attachment) -> None:
        """As the loop's."""
        self.attached.discard(attachment.host_device)


@dataclass
class FakeWires:
    """Remembers the host ends."""

    names: dict[str, int] = field(default_factory=dict)
    error: Exception | None = None
    dead: set[str] = field(default_factory=set)

    def create(self, wish: Wish) -> Wire:
        """As PodLinks'."""
        if self.error:
            raise self.error
        name = host_device(wish.container_id, wish.interface)
        self.names[name] = len(self.names) + 10
        return Wire(name, self.names[name], "02:00:00:00:00:01", 1500, 4711)

    def remove(self, name: str) -> bool:
        """As PodLinks'."""
        return self.names.pop(name, None) is not None

    def ours(self) -> frozenset[str]:
        """As PodLinks'."""
        return frozenset(self.names)

    def is_alive(self, attachment: Attachment) -> bool:
        """As PodLinks'."""
        return attachment.host_device in self.names and attachment.host_device not in self.dead

    def is_there(self, attachment: Attachment) -> bool:
        """As PodLinks'."""
        return self.names.get(attachment.host_device) == attachment.ifindex

    def faults(self, attachment: Attachment) -> tuple[str, ...]:
        """As PodLinks'."""
        return () if self.is_alive(attachment) else ("gone",)


@dataclass
class Room:
    """A server's parts, kept when the server is made anew."""

    directory: Path
    loop: FakeLoop = field(default_factory=FakeLoop)
    wires: FakeWires = field(default_factory=FakeWires)
    heard: list[tuple[Attachment, ...]] = field(default_factory=list)
    cidr: str = "10.0.0.0/29"

    def __post_init__(self) -> None:
        """Start the first server."""
        self.start()

    def start(self) -> tuple[Attachment, ...]:
        """A new agent over the same kernel and disk."""
        self.ipam = Ipam(lambda: (ip_network(self.cidr),))
        self.cni = Cni(
            loop=self.loop,
            store=Store(self.directory, "boot"),
            ipam=self.ipam,
            wires=self.wires,
            changed=self.heard.append,
        )
        return self.cni.restore()

    def call(self, command: str, container: str = "c1", config: Mapping[str, object] | None = None) -> Answer:
        """One request, at version 1.1.0."""
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": f"/run/netns/{container}",
        }
        conf = {"cniVersion": "1.1.0", "name": "sluiceway", **(config or {})}
        code, output = self.cni.answer(environment, json.dumps(conf).encode())
        return code, json.loads(output or b"{}")

    def is_empty(self) -> bool:
        """Whether nothing of any attachment is left."""
        used = sum(used for _, used, _ in self.ipam.free())
        files = list(self.directory.iterdir())
        return not (self.loop.attached or self.wires.names or self.cni.attachments() or used or files)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_add_and_del_leave_nothing(room: Room) -> None:
    code, _ = room.call("ADD")
    assert code == 0
    assert not room.is_empty()
    assert [a.container_id for a in room.heard[-1]] == ["c1"]
    assert room.call("DEL") == (0, {})
    assert room.call("DEL") == (0, {})
    assert room.is_empty()
    assert room.heard[-1] == ()


def _wire_error(error: Exception) -> Callable[[Room], None]:
    def spoil(room: Room) -> None:
        room.wires.error = error

    return spoil


def _loop_error(error: Exception) -> Callable[[Room], None]:
    def spoil(room: Room) -> None:
        room.loop.error = error

    return spoil


def _no_disk(room: Room) -> None:
    # root may write anywhere, so a directory stands where the draft would
    (room.directory / f"{host_device('c1', 'eth0')}.new").mkdir()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        pytest.param(_wire_error(NetnsUnusable("gone")), 8, id="the namespace is gone"),
        pytest.param(_wire_error(InterfaceTaken("eth0")), 4, id="the interface name is taken"),
        pytest.param(_wire_error(NetlinkError(12, "no memory")), 11, id="the kernel refuses a link"),
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
    assert room.call("ADD")[0] == 11
    assert (room.loop.attached, room.wires.names, room.cni.attachments()) == (set(), {}, ())
    assert sum(used for _, used, _ in room.ipam.free()) == 0


def test_a_full_cidr_is_try_again_later_and_status_says_it(room: Room) -> None:
    room.cidr = "10.0.0.0/30"
    assert room.call("STATUS") == (0, {})
    assert room.call("ADD", "c1")[0] == 0
    code, error = room.call("ADD", "c2")
    assert code == 11
    assert "10.0.0.0/30 is used up" in str(error["msg"])
    assert room.call("STATUS")[0] == 50


def test_a_start_takes_over_the_living_and_undoes_the_dead_and_the_half_made(room: Room) -> None:
    for container in ("c1", "c2"):
        room.call("ADD", container)
    room.wires.dead.add(host_device("c1", "eth0"))
    room.wires.names["swp00000000ff"] = 99
    living = room.start()
    assert [(a.container_id, a.ipv4) for a in living] == [("c2", IPv4Address("10.0.0.3"))]
    assert room.wires.ours() == {host_device("c2", "eth0")}
    assert room.heard[-1] == living
    room.call("ADD", "c3")
    assert room.cni.attachments()[-1].ipv4 == IPv4Address("10.0.0.4")
    assert room.cni.attachments()[-1].endpoint_id > living[0].endpoint_id


def test_check_of_an_unknown_container_says_so(room: Room) -> None:
    assert room.call("CHECK", config={"prevResult": {}})[0] == 3


def test_check_compares_with_the_result_of_add(room: Room) -> None:
    _, result = room.call("ADD")
    assert room.call("CHECK", config={"prevResult": result}) == (0, {})
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


def test_gc_goes_on_after_a_failure_and_reports_it(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.call("ADD", "c1")
    room.call("ADD", "c2")
    remove = room.wires.remove

    def stubborn(name: str) -> bool:
        if name == host_device("c1", "eth0"):
            raise OSError(16, "busy")
        return remove(name)

    monkeypatch.setattr(room.wires, "remove", stubborn)
    code, error = room.call("GC", config={"cni.dev/valid-attachments": []})
    assert code == 101
    assert "c1 eth0" in str(error["details"])
    assert [a.container_id for a in room.cni.attachments()] == ["c1"]


def test_pods_that_went_without_a_del_are_collected_and_others_stay(room: Room) -> None:
    for container in ("c1", "c2"):
        room.call("ADD", container)
    del room.wires.names[host_device("c1", "eth0")]  # with the namespace
    room.cni.collect()
    assert [a.container_id for a in room.cni.attachments()] == ["c2"]
    assert room.loop.attached == {host_device("c2", "eth0")}
    assert sum(used for _, used, _ in room.ipam.free()) == 1
    assert [a.container_id for a in room.heard[-1]] == ["c2"]
    assert room.call("DEL", "c1") == (0, {})


def test_a_pod_whose_path_is_gone_but_not_its_device_is_not_collected(room: Room) -> None:
    room.call("ADD")
    room.wires.dead.add(host_device("c1", "eth0"))
    room.cni.collect()
    assert len(room.cni.attachments()) == 1


def test_a_pod_that_comes_back_while_the_dead_are_looked_for_stays(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.call("ADD")
    monkeypatch.setattr(room.wires, "ours", frozenset)  # what was there before the ADD
    room.cni.collect()
    assert len(room.cni.attachments()) == 1


def test_what_cannot_be_collected_now_is_collected_later(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.call("ADD")
    room.wires.names.clear()
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
