"""The node's side of pods' wires, as the kernel lists it: what is there is left alone, what is not is laid again."""

import socket
import subprocess
from ipaddress import IPv4Address, IPv6Address

import pytest

from agent.kernel.net import veth as wires
from agent.kernel.net.veth import side
from agent.model.attachment import Attachment, Veth
from agent.netlink.requests import set_up
from agent.netlink.socket import Socket
from tests.agent.kernel.nets import in_new_netns

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

PODS = 200  # whose lists come in several pieces


def _ip(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def _pods(number: int) -> tuple[Attachment, ...]:
    """Pods whose wires lie as ADD lays them."""
    _ip(*(f"link add swp{n} type veth peer name pod{n}" for n in range(number)))
    _ip(*(f"link set pod{n} up" for n in range(number)))
    found = []
    for n in range(number):
        pod = Attachment(
            container_id=f"c{n}",
            interface="eth0",
            endpoint_id=n,
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
def test_what_somebody_took_is_laid_again(words: str) -> None:
    def play() -> None:
        pods = _pods(8)
        assert wires.mend(pods) == ()
        _ip(words)
        assert wires.mend(pods) == ("swp7",)
        assert wires.mend(pods) == ()

    in_new_netns(play)


def test_on_a_full_node_nothing_is_missed_and_nothing_taken_for_missing() -> None:
    def play() -> None:
        pods = _pods(PODS)
        assert wires.mend(pods) == ()
        _ip("route del fd00::c7/128 dev swp199", "route del 10.0.0.3/32 dev swp3")
        assert wires.mend(pods) == ("swp3", "swp199")
        _ip("link del swp5")
        assert wires.mend(pods) == (), "a device that is gone is nobody's to mend"

    in_new_netns(play)
