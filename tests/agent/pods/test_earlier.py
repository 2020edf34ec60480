"""Which pods from before are attached to, and what is taken off devices that are nobody's."""

from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from agent.model.name import ObjectName
from agent.model.node import Pod
from agent.pods.earlier import EarlierPods
from agent.pods.libcni import KeptAttachment
from agent.pods.made import MadeInterface
from tests.agent.cni.room import Room


@dataclass
class Earlier:
    """A node with pods of another plugin's."""

    room: Room
    kept: list[KeptAttachment] = field(default_factory=list)
    known: dict[ObjectName, Pod] = field(default_factory=dict)

    def pod(self, name: str, *, uid: str = "u1", api_uid: str = "u1", address: str = "10.1.0.7", ip: str = "") -> None:
        """A pod of which libcni has a file, and the API an object with these."""
        made = MadeInterface(f"/run/netns/{name}", (ip_address(address),), frozenset())
        self.kept.append(KeptAttachment("cbr0", name, "eth0", ObjectName("shop", name), uid, made))
        ips = (ip_address(ip or address),)
        self.known[ObjectName("shop", name)] = Pod(ObjectName("shop", name), uid=api_uid, ips=ips)

    def take_in(self) -> set[str]:
        """One look; the containers that are attached then."""
        self.looks.take_in()
        return {one.container_id for one in self.room.cni.attachments()}

    def __post_init__(self) -> None:
        """One agent for all looks."""
        self.looks = EarlierPods(
            self.room.pods, self.room.others, lambda: tuple(self.kept), lambda: self.known, self.room.cni.attachments
        )


@pytest.fixture
def earlier(tmp_path: Path) -> Earlier:
    return Earlier(Room(tmp_path, is_chained=True))


def test_who_is_a_pod_of_the_api_is_attached_to_once(earlier: Earlier) -> None:
    earlier.pod("web")
    assert earlier.take_in() == earlier.take_in() == {"web"}
    (one,) = earlier.room.cni.attachments()
    assert (one.pod, one.pod_uid, one.link.is_chained) == (ObjectName("shop", "web"), "u1", True)
    assert [a.container_id for a in earlier.room.pods.of_network("cbr0")] == ["web"]


def test_who_is_no_pod_or_another_one_by_now_is_left(earlier: Earlier) -> None:
    earlier.pod("again", uid="u1", api_uid="u2")
    earlier.pod("moved", address="10.1.0.8", ip="10.1.0.9")
    earlier.pod("gone")
    del earlier.known[ObjectName("shop", "gone")]
    assert earlier.take_in() == set()


def test_a_static_pod_is_known_by_its_own_uid(earlier: Earlier) -> None:
    earlier.pod("static", uid="u1", api_uid="u2")
    name = ObjectName("shop", "static")
    earlier.known[name] = replace(earlier.known[name], static_uid="u1")
    assert earlier.take_in() == {"static"}


def test_who_was_deleted_just_now_is_not_attached_to_again(earlier: Earlier) -> None:
    earlier.pod("web")
    earlier.take_in()
    earlier.room.call("DEL", "web")
    assert earlier.take_in() == set()  # the plugins before us in the chain are still at it
    for _ in range(2):
        earlier.room.cni.collect()
    assert earlier.take_in() == {"web"}


def test_a_del_from_before_the_agent_ends_one_that_was_taken_in(earlier: Earlier) -> None:
    earlier.pod("web")
    earlier.take_in()
    earlier.room.pods.delete(("web", "eth0"), 5)
    assert earlier.room.cni.attachments() == ()


def test_programs_go_from_devices_that_are_nobodys(earlier: Earlier) -> None:
    earlier.pod("web")
    earlier.room.veths.names["veth-lost"] = 7
    earlier.room.others.guarded.add("veth-lost")
    earlier.take_in()
    assert earlier.room.others.guarded == {"veth-web"}


def test_a_pod_that_stays_without_an_attachment_is_named_once(
    earlier: Earlier, caplog: pytest.LogCaptureFixture
) -> None:
    name = ObjectName("shop", "lost")
    earlier.known[name] = Pod(name, ips=(ip_address("10.1.0.7"),))
    told = []
    for _ in range(4):
        earlier.take_in()
        told.append(caplog.text.count("policy does not hold for it"))
    assert told == [0, 1, 1, 1]
