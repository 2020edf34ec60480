"""Devices of the node and those of pods above them, in the kernel: what is refused, lost, set again and told."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.kernel.device.nic import NodeNics
from agent.model.name import ObjectName
from agent.model.nic import MacvlanMode, NicKind, NicSpec
from agent.netlink.netns import inside
from agent.pods.device.guards import Guards
from agent.pods.device.hardware import Hardware
from agent.pods.errors import DeviceInUse, DeviceUnusable
from agent.pods.known import KnownAttachments
from agent.pods.nic.nics import Nics
from agent.pods.nic.record import nic_journal
from agent.pods.nic.request import NicRequest
from tests.agent.pods.vf.vf_card import FakeIpam, FakeLoop, FakePrograms
from tests.patience import until

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

NAME = f"swnd{os.getpid()}"
NODE, ONE, TWO, OUTSIDE = (f"{NAME}{end}" for end in "n12x")
MACVLAN, MOVED = NicSpec(NicKind.MACVLAN, "n0"), NicSpec(NicKind.HOST_DEVICE, "n0")
PASSTHRU = NicSpec(NicKind.MACVLAN, "n0", macvlan_mode=MacvlanMode.PASSTHRU)
GIVEN = {
    "ips": [{"address": "10.9.0.2/24"}, {"address": "fd09::2/64"}],
    "routes": [{"dst": "10.8.0.0/16", "gw": "10.9.0.1"}, {"dst": "fd08::/64", "gw": "fd09::1"}],
}
ADVERTISE = """
import socket, struct
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
index = socket.if_nametoindex("n1")
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
router = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
s.sendto(router + struct.pack("!BBHI", 5, 1, 0, 1280), ("ff02::1", 0, 0, index))
"""


@dataclass
class World:
    """A node with a device n0, whose other end is outside, and two pods."""

    state: Path
    ipam: FakeIpam = field(default_factory=lambda: FakeIpam(gives=GIVEN))

    def agent(self) -> Nics:
        """A new one, which has taken over what it finds."""
        loop = FakeLoop()
        guards = Guards(KnownAttachments(), loop, FakePrograms())
        journal = nic_journal(self.state, "boot")
        made = Nics(NodeNics(), journal, self.ipam, guards=guards, hardware=Hardware(), clock=lambda: 1)
        loop.attached = {one.slot: one for one in made.restore()}
        return made


def ip(netns: str, words: str) -> str:
    return subprocess.run(["ip", "-n", netns, *words.split()], check=True, capture_output=True, text=True).stdout


def request(spec: NicSpec, pod: str = ONE) -> NicRequest:
    return NicRequest(spec, "lan", f"c-{pod}", "net1", f"/run/netns/{pod}", ObjectName("default", pod))


def routes(pod: str) -> set[str]:
    every: list[dict[str, Any]] = [one for six in ("", "-6 ") for one in json.loads(ip(pod, f"-j {six}route") or "[]")]
    return {one["dst"] for one in every}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    for name in (NODE, ONE, TWO, OUTSIDE):
        subprocess.run(["ip", "netns", "add", name], check=True)
        ip(name, "link set lo up")
    ip(NODE, f"link add n0 type veth peer name n1 netns {OUTSIDE}")
    ip(NODE, "link set n0 up")
    ip(OUTSIDE, "link set n1 up")
    with inside(f"/run/netns/{NODE}"):
        yield World(tmp_path)
    for name in (NODE, ONE, TWO, OUTSIDE):
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.mark.parametrize(
    ("words", "spec", "refused"),
    [
        pytest.param(
            "route add 10.5.0.0/16 via inet6 fe80::1 dev n0", MOVED, "device: by n0 .* route to 10.5.0.0/16", id="BGP"
        ),
        pytest.param("route add 10.5.0.0/16 dev n0 table 7", MOVED, "route to 10.5.0.0/16", id="another table"),
        pytest.param("route add fd05::/64 via fe80::1 dev n0", MOVED, "route to fd05::/64", id="IPv6"),
        pytest.param(
            "route add default via inet6 fe80::1 dev n0", PASSTHRU, "master: a default route", id="the way out"
        ),
        pytest.param("addr add 192.0.2.1/24 dev n0", PASSTHRU, "master: by n0 the node has 192.0.2.1", id="an address"),
    ],
)
def test_what_the_node_lives_by_is_no_pods_alone(world: World, words: str, spec: NicSpec, refused: str) -> None:
    ip(NODE, words)
    before = ip(NODE, "route show table all")
    with pytest.raises(DeviceUnusable, match=refused):
        world.agent().add(request(spec))
    assert ip(NODE, "route show table all") == before


def test_a_device_that_can_be_in_no_other_namespace_stays_as_it_is(world: World) -> None:
    ip(NODE, "link add bridge0 type bridge")
    ip(NODE, "link set bridge0 up")
    before = ip(NODE, "-o link show bridge0")
    with pytest.raises(DeviceUnusable, match="device: the kernel lets bridge0 into no other network namespace"):
        world.agent().add(request(NicSpec(NicKind.HOST_DEVICE, "bridge0")))
    assert ip(NODE, "-o link show bridge0") == before


@pytest.mark.parametrize("spec", [pytest.param(MOVED, id="host-device"), pytest.param(PASSTHRU, id="passthru")])
def test_routes_that_the_kernel_makes_of_itself_are_no_reason(world: World, spec: NicSpec) -> None:
    until(lambda: "fe80::/64" in ip(NODE, "-6 route"))
    assert world.agent().add(request(spec)).interface == "net1"


def test_a_master_that_was_renamed_is_not_given_away(world: World) -> None:
    agent = world.agent()
    agent.add(request(MACVLAN))
    for words in ("link set n0 down", "link set n0 name ext0", "link set ext0 up"):
        ip(NODE, words)
    with pytest.raises(DeviceInUse, match="ext0 is below net1"):
        agent.add(request(NicSpec(NicKind.HOST_DEVICE, "ext0"), TWO))


def test_a_device_at_home_has_the_number_that_it_had_and_its_pod_may_have_another(world: World) -> None:
    agent, number = world.agent(), json.loads(ip(NODE, "-j link show n0"))[0]["ifindex"]
    agent.add(request(MOVED))
    agent.delete((f"c-{ONE}", "net1"))
    assert json.loads(ip(NODE, "-j link show n0"))[0]["ifindex"] == number
    assert agent.add(request(MACVLAN)).interface == "net1"


def test_a_device_whose_number_another_has_by_then_comes_home_all_the_same(world: World) -> None:
    agent, number = world.agent(), json.loads(ip(NODE, "-j link show n0"))[0]["ifindex"]
    agent.add(request(MOVED))
    ip(NODE, f"link add b0 index {number} type bridge")
    assert agent.delete((f"c-{ONE}", "net1"))
    assert "UP" in json.loads(ip(NODE, "-j link show n0"))[0]["flags"]


def test_a_mac_that_another_has_names_its_key_and_leaves_nothing(world: World) -> None:
    agent, spec = world.agent(), NicSpec(NicKind.MACVLAN, "n0", mac="02:00:00:00:11:11")
    agent.add(request(spec))
    with pytest.raises(DeviceUnusable, match="mac: 02:00:00:00:11:11 is another's above n0"):
        agent.add(request(spec, TWO))
    assert "net1" not in ip(TWO, "link")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(
            ["link set net1 down", "link set net1 up"],
            ["net1 has not the route to 10.8.0.0/16", "net1 has not the route to fd08::/64"],
            id="a device that was down has no routes",
        ),
        pytest.param(["addr del 10.9.0.2/24 dev net1"], ["net1 has not the address 10.9.0.2/24"], id="IPv4"),
        pytest.param(["addr del fd09::2/64 dev net1"], ["net1 has not the address fd09::2/64"], id="IPv6"),
    ],
)
def test_what_a_device_has_lost_is_told_by_check_and_set_again(world: World, words: list[str], told: list[str]) -> None:
    agent = world.agent()
    record = agent.add(request(MACVLAN))
    assert list(agent.check(record)) == []
    for one in words:
        ip(ONE, one)
    assert set(told) <= set(agent.check(record))
    agent.collect()
    assert (list(agent.check(record)), list(agent.problems("n1"))) == ([], [])
    assert {"10.9.0.0/24", "10.8.0.0/16", "fd08::/64"} <= routes(ONE)


def sysctls(pod: str) -> dict[str, str]:
    """What routers on the link may say, and how the device tells of itself."""
    keys = ("accept_ra_mtu", "accept_ra_pinfo", "ndisc_notify", "keep_addr_on_down", "disable_ipv6")
    return {key: inside_of(pod, "cat", f"/proc/sys/net/ipv6/conf/net1/{key}") or "" for key in keys}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param("address 02:00:00:00:00:99", "net1 has the MAC 02:00:00:00:00:99, not {mac}", id="MAC"),
        pytest.param("mtu 1400", "net1 has the MTU 1400, not 1500", id="MTU"),
    ],
)
def test_what_a_pod_has_set_of_its_link_is_told_by_check_and_stays(world: World, words: str, told: str) -> None:
    agent = world.agent()
    record = agent.add(request(MACVLAN))
    ip(ONE, f"link set net1 {words}")
    told = told.format(mac=record.mac)
    for _ in range(2):
        assert list(agent.check(record)) == [told]
        agent.collect()
    assert list(agent.problems("n1")) == []


def test_an_mtu_without_ipv6_is_told_and_ipv6_is_behind_it_as_it_was(world: World) -> None:
    agent = world.agent()
    record = agent.add(request(MACVLAN))
    before = sysctls(ONE)
    ip(ONE, "link set net1 mtu 1000")
    agent.collect()
    assert (list(agent.problems("n1")), sysctls(ONE)["disable_ipv6"]) == ([], "")
    assert {"net1 has the MTU 1000, not 1500", "net1 has not the address fd09::2/64"} <= {*agent.check(record)}
    ip(ONE, "link set net1 mtu 1500")
    agent.collect()
    assert (list(agent.check(record)), list(agent.problems("n1")), sysctls(ONE)) == ([], [], before)


def test_ipv6_that_was_switched_off_is_on_again(world: World) -> None:
    agent = world.agent()
    record = agent.add(request(MACVLAN))
    command = ["ip", "netns", "exec", ONE, "sysctl", "-qw", "net.ipv6.conf.net1.disable_ipv6=1"]
    subprocess.run(command, check=True)
    assert "net1 has not the address fd09::2/64" in agent.check(record)
    agent.collect()
    assert list(agent.check(record)) == []


def test_what_a_pod_has_by_another_device_or_set_itself_is_left_alone(world: World) -> None:
    agent = world.agent()
    record = agent.add(request(MACVLAN))
    for words in (
        "link add eth0 type bridge",
        "link set eth0 up",
        "route del 10.8.0.0/16",
        "route add 10.8.0.0/16 dev eth0",
        "route add 10.7.0.0/16 dev net1",
        "addr add 10.9.0.77/24 dev net1",
    ):
        ip(ONE, words)
    before = ip(ONE, "route"), ip(ONE, "-br addr")
    agent.collect()
    assert (ip(ONE, "route"), ip(ONE, "-br addr"), list(agent.check(record))) == (*before, [])


def test_a_device_that_is_down_is_told_and_stays_so(world: World) -> None:
    agent = world.agent()
    record = agent.add(request(MACVLAN))
    ip(ONE, "link set net1 down")
    agent.collect()
    assert (list(agent.check(record)), list(agent.problems("n1"))) == (["net1 is down"], [])


def test_a_master_that_is_gone_is_told_and_the_addresses_stay_the_pods(world: World) -> None:
    agent = world.agent()
    agent.add(request(MACVLAN))
    ip(NODE, "link del n0")
    for each in (agent, world.agent()):
        each.collect()
        (told,) = each.problems("n1")
        assert (told.name.name, "n0 of the node" in told.text) == (ONE, True)
    assert len(world.ipam.held) == 1
    each.delete((f"c-{ONE}", "net1"))
    assert (world.ipam.held, list(each.problems("n1"))) == ({}, [])


def test_a_router_on_the_link_does_not_set_the_mtu(world: World) -> None:
    world.agent().add(request(MACVLAN))
    # a link has no address at first
    until(lambda: inside_of(OUTSIDE, "python3", "-c", ADVERTISE) is not None and advertised(ONE))
    assert inside_of(ONE, "cat", "/proc/sys/net/ipv6/conf/net1/mtu") == "1500"


def inside_of(netns: str, *command: str) -> str | None:
    """What a command says in a namespace; None: it failed."""
    done = subprocess.run(["ip", "netns", "exec", netns, *command], check=False, capture_output=True, text=True)
    return None if done.returncode else done.stdout.strip()


def advertised(netns: str) -> int:
    """How many router advertisements have come."""
    lines = (inside_of(netns, "cat", "/proc/net/snmp6") or "").splitlines()
    return int(next(line for line in lines if line.startswith("Icmp6InRouterAdvertisements")).split()[1])
