"""A pod's way out beside further interfaces that other plugins made: what routers on their links say changes it not."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from agent.model.name import ObjectName
from agent.netlink.netns import open_netns
from agent.pods.network_record import InterfaceRecord, NetworkSet
from agent.pods.network_routes import PodRoutes
from tests.netns.advertised import PREFIX, is_followed, shown

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

POD = f"swnr{os.getpid()}"
OURS = "-6 route add default via fe80::1 dev eth0 onlink"


def ip(words: str) -> None:
    subprocess.run(["ip", "-n", POD, *words.split()], check=True)


@pytest.fixture(autouse=True)
def pod() -> Iterator[None]:
    """A pod with its first interface, and another that a plugin has made."""
    subprocess.run(["ip", "netns", "add", POD], check=True)
    for name in ("eth0", "net1"):
        ip(f"link add {name} type veth peer name {name}-peer")
        ip(f"link set {name}-peer up")
        ip(f"link set {name} up")
    ip("addr add fd77::5/128 dev eth0 nodad")
    yield
    subprocess.run(["ip", "netns", "del", POD], check=True)


def route(*default_route: str) -> None:
    """Have its ways out as they are to be."""
    path = f"/run/netns/{POD}"
    with open_netns(path, may_be_host=False) as there:
        cookie = there.cookie
    one = InterfaceRecord(ObjectName("default", "lan"), "net1", "lan", "1.0.0", (), default_route=default_route)
    owner = NetworkSet("c1", "eth0", path, "sluiceway", "b", (one,), cookie)
    PodRoutes(tuple)(owner, [one] if default_route else [])


@pytest.mark.parametrize("is_early", [False, True], ids=["afterwards", "before the plugin has ended too"])
def test_a_router_on_another_link_is_no_way_past_the_first_interface(*, is_early: bool) -> None:
    ip(OURS)
    if is_early:
        assert is_followed(POD, "net1", "route default")
    route()
    assert not is_followed(POD, "net1", "route default")
    assert is_followed(POD, "net1", f"addr to {PREFIX}"), "addresses are the network's affair"
    assert [one["gateway"] for one in shown(POD, "eth0", "route default")] == ["fe80::1"]


@pytest.mark.parametrize(
    ("ours", "asked"),
    [
        pytest.param("", (), id="no way out of the family"),
        pytest.param(OURS, ("fe80::98",), id="asked to be the way out itself"),
    ],
)
def test_a_router_counts_where_the_way_out_is_there(ours: str, asked: tuple[str, ...]) -> None:
    if ours:
        ip(ours)
    route(*asked)
    assert is_followed(POD, "net1", "route default proto ra")
