"""ADD, CHECK and DEL of a pod whose interface another plugin made."""

from pathlib import Path
from typing import Any

import pytest

from tests.agent.cni.room import Room

BRIDGED: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "cni0", "mac": "02:00:00:00:00:01"},
        {"name": "veth-c1", "mac": "02:00:00:00:00:02"},
        {"name": "eth0", "mac": "02:00:00:00:00:09", "sandbox": "/run/netns/c1"},
    ],
    "ips": [{"address": "10.1.0.7/24", "interface": 2}, {"address": "fd00::7/64", "interface": 2}],
    "routes": [{"dst": "0.0.0.0/0"}],
    "dns": {},
}
CONFIG = {"prevResult": BRIDGED}


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path, is_chained=True)


def test_add_answers_what_the_plugin_before_it_did_and_del_leaves_the_device(room: Room) -> None:
    assert room.call("ADD", config=CONFIG) == (0, BRIDGED)
    (pod,) = room.cni.attachments()
    assert ([str(a) for a in pod.addresses], pod.link.is_chained) == (["10.1.0.7", "fd00::7"], True)
    assert room.others.guarded == room.loop.attached == {"veth-c1"}
    assert room.ipam.free()[0][1] == 0
    assert room.call("CHECK", config=CONFIG) == (0, {})
    assert room.call("DEL", config=CONFIG) == room.call("DEL", config=CONFIG) == (0, {})
    assert (room.others.guarded, room.loop.attached, room.cni.attachments()) == (set(), set(), ())
    assert "veth-c1" in room.veths.names


def test_a_start_finds_what_it_had_and_takes_programs_from_what_was_being_deleted(room: Room) -> None:
    room.call("ADD", config=CONFIG)
    (pod,) = room.start()
    assert pod.link.is_chained
    room.veths.dead.add("veth-c1")  # its namespace is another one
    assert room.start() == ()
    assert room.others.guarded == set()
    assert "veth-c1" in room.veths.names


def test_an_add_whose_programs_are_refused_leaves_nothing(room: Room) -> None:
    room.others.error = OSError(16, "somebody else's filter is there")
    assert room.call("ADD", config=CONFIG)[0] == 11
    assert (room.loop.attached, room.cni.attachments()) == (set(), ())


def test_status_asks_for_no_pod_cidr(room: Room) -> None:
    room.cidr = ""
    assert room.call("STATUS") == (0, {})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        pytest.param({}, "prevResult: the configuration lacks it", id="nobody is before us"),
        pytest.param(
            {"prevResult": BRIDGED | {"interfaces": BRIDGED["interfaces"][:2]}},
            "prevResult.interfaces: there is no eth0 in a sandbox",
            id="the interface is not told of",
        ),
        pytest.param({"prevResult": BRIDGED | {"ips": []}}, "prevResult.ips: none is of eth0", id="no address"),
        pytest.param(
            {"prevResult": BRIDGED | {"ips": [{"address": "10.1.0.7/24", "interface": 0}]}},
            "prevResult.ips: none is of eth0",
            id="only the bridge's address",
        ),
        pytest.param(
            {"prevResult": BRIDGED | {"ips": [{"address": "10.1.0.7/24"}, {"address": "10.1.0.8/24"}]}},
            "prevResult.ips: eth0 has several addresses of a family",
            id="two of a family",
        ),
        pytest.param(
            {"prevResult": BRIDGED | {"ips": [{"address": "10.1.0"}]}},
            "prevResult.ips[0].address: '10.1.0' is no address",
            id="no address at all",
        ),
        pytest.param(
            CONFIG | {"runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 80}]}},
            "runtimeConfig.portMappings: is the business of the plugin that makes the interface",
            id="host ports",
        ),
        pytest.param(
            CONFIG | {"runtimeConfig": {"ips": ["10.1.0.9"]}}, "runtimeConfig.ips[0]: is the business", id="an address"
        ),
        pytest.param(
            CONFIG | {"runtimeConfig": {"mac": "02:00:00:00:00:44"}}, "runtimeConfig.mac: is the business", id="a MAC"
        ),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(room: Room, config: dict[str, Any], words: str) -> None:
    code, error = room.call("ADD", config=config)
    assert (code in {2, 7}, words in str(error["msg"])) == (True, True), error
    assert room.loop.attached == set()


def test_bandwidth_is_kept(room: Room) -> None:
    asked = {"runtimeConfig": {"bandwidth": {"ingressRate": 1_000_000, "ingressBurst": 80_000}}}
    assert room.call("ADD", config=CONFIG | asked)[0] == 0
    (pod,) = room.cni.attachments()
    assert pod.ingress_limit is not None
