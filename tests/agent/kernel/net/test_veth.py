"""The node's side of pods' veths, as the kernel lists it: what is there is left alone, what is not is put back."""

import json
import os
import socket
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from agent.kernel.net.veth import VethRepair, side
from agent.kernel.parts import VethsPart
from agent.model.attachment import Attachment, Veth
from agent.netlink.cookie import netns_cookie
from agent.netlink.netns import inside
from agent.netlink.requests import set_up
from agent.netlink.socket import Socket
from tests.agent.kernel.nets import in_new_netns

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

LOOKS = 3  # pieces that looking takes, by links, routes and neighbours
PODS = 200  # whose lists come in several pieces


def _ip(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def _pods(number: int) -> tuple[Attachment, ...]:
    """Pods whose veths are as ADD makes them."""
    _ip(*(f"link add swp{n} type veth peer name pod{n}" for n in range(number)))
    _ip(*(f"link set pod{n} up" for n in range(number)))
    found = []
    for n in range(number):
        pod = Attachment(
            container_id=f"c{n}",
            interface="eth0",
            endpoint_id=n,
            slot=n + 1,
            netns="",
            netns_cookie=0,
            mac=f"02:00:00:00:00:{n:02x}",
            link=Veth(f"swp{n}", socket.if_nametoindex(f"swp{n}")),
            ipv4=IPv4Address(f"10.0.0.{n}"),
            ipv6=IPv6Address(f"fd00::{n:x}"),
        )
        with Socket() as netlink:
            netlink.ask(set_up(pod.link.ifindex), *side(pod.link.ifindex, pod.mac, pod.addresses))
        found.append(pod)
    return tuple(found)


def _shown(words: str) -> list[dict[str, Any]]:
    done = subprocess.run(["ip", "-j", *words.split()], check=True, capture_output=True, text=True)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def _pieces(repair: VethRepair, pods: tuple[Attachment, ...]) -> int:
    return sum(1 for _ in repair.apply(pods))


def _missing(pods: tuple[Attachment, ...]) -> list[str]:
    """The devices at which something is not as ADD made it, by `ip`."""
    links = {link["ifname"] for link in _shown("link show") if "UP" in link["flags"]}
    routes = {(route["dst"], route["dev"]) for family in "46" for route in _shown(f"-{family} route show proto 89")}
    near = {(n["dst"], n["dev"], n["lladdr"]) for n in _shown("neigh show nud permanent")}
    return [
        pod.link.host_device
        for pod in pods
        for device in (pod.link.host_device,)
        if device not in links
        or any((str(a), device) not in routes or (str(a), device, pod.mac) not in near for a in pod.addresses)
    ]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("route del 10.0.0.7/32 dev swp7", id="a route"),
        pytest.param("route del fd00::7/128 dev swp7", id="a route of the other family"),
        pytest.param("neigh del 10.0.0.7 dev swp7", id="a neighbour"),
        pytest.param(
            "neigh replace fd00::7 dev swp7 lladdr 02:00:00:00:00:99 nud permanent", id="a neighbour's address"
        ),
        pytest.param("neigh replace 10.0.0.7 dev swp7 lladdr 02:00:00:00:00:07 nud stale", id="that it stays for good"),
        pytest.param("link set swp7 down", id="the link, and with it all"),
    ],
)
def test_what_somebody_took_is_put_back(words: str) -> None:
    def play() -> None:
        pods, repair = _pods(8), VethRepair()
        assert _pieces(repair, pods) == LOOKS
        _ip(words)
        repair.resync()
        assert _pieces(repair, pods) == LOOKS + 1
        assert _missing(pods) == []

    in_new_netns(play)


def test_on_a_full_node_nothing_is_missed_and_nothing_taken_for_missing() -> None:
    def play() -> None:
        pods, repair = _pods(PODS), VethRepair()
        assert _pieces(repair, pods) == LOOKS
        _ip("route del fd00::c7/128 dev swp199", "route del 10.0.0.3/32 dev swp3")
        assert _pieces(repair, pods) == 0, "nobody said so yet"
        repair.resync()
        assert _pieces(repair, pods) == LOOKS + 2, "a waiting pod goes between any two"
        assert _missing(pods) == []
        _ip("link del swp5")
        repair.resync()
        _pieces(repair, pods)
        assert _missing(pods) == ["swp5"], "a device that is gone is nobody's to repair"

    in_new_netns(play)


def test_what_was_given_up_half_way_is_done_by_the_next_call() -> None:
    def play() -> None:
        pods, repair = _pods(2), VethRepair()
        _ip("route del 10.0.0.1/32 dev swp1")
        begun = repair.apply(pods)
        next(begun)
        begun.close()  # type: ignore[attr-defined]
        _pieces(repair, pods)
        assert _missing(pods) == []

    in_new_netns(play)


def test_an_mtu_that_somebody_sets_stays_until_the_next_resync() -> None:
    name = f"swmtu{os.getpid()}"
    path = f"/run/netns/{name}"

    def mtus() -> tuple[int, int]:
        with inside(path):
            there: int = _shown("link show eth0")[0]["mtu"]
        return _shown("link show swp0")[0]["mtu"], there

    def play() -> None:
        (pod,) = _pods(1)
        _ip(f"link set pod0 netns {name} name eth0")
        with inside(path):
            cookie = netns_cookie()
        pod, part = replace(pod, netns=path, netns_cookie=cookie), VethsPart()
        for _ in part.apply(((pod,), 1400)):
            pass
        assert mtus() == (1400, 1400)
        _ip("link set swp0 mtu 9000")
        part.resync()
        for _ in part.apply(((pod,), 1400)):
            pass
        assert mtus() == (1400, 1400)

    _ip(f"netns add {name}")
    try:
        in_new_netns(play)
    finally:
        _ip(f"netns del {name}")
