"""A pod's way out beside interfaces that other plugins made: what routers say changes it not, and it is kept."""

import os
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network

import msgspec
import pytest

from agent.model.name import ObjectName
from agent.netlink.netns import open_netns
from agent.pods.errors import NetworkFailed
from agent.pods.network_record import InterfaceRecord, NetworkSet, Step
from agent.pods.network_routes import PodRoutes
from agent.pods.plugin import CONFIG
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


def test_a_gateway_that_never_leads_out_is_the_annotations_fault_and_a_device_that_is_down_is_not() -> None:
    """Which CNI's code says: another try with the same one is of no use."""
    ip("addr add fd70::5/64 dev net1 nodad")
    with pytest.raises(NetworkFailed, match="fd70::5 is no way out by net1 of default/lan") as itself:
        route("fd70::5")
    ip("link set net1 down")
    with pytest.raises(NetworkFailed) as down:
        route("fd70::1")
    ip("link del net1")
    with pytest.raises(NetworkFailed, match="no plugin made net1") as missing:
        route("fd70::1")
    assert [one.value.code for one in (itself, down, missing)] == [CONFIG, 0, CONFIG]


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


RANGES = tuple(map(ip_network, ("10.96.0.0/16", "fd96::/112")))
WAYS = ("10.50.0.1", "fe80::50")


def routes() -> list[str]:
    """All routes that somebody has set, of both families and all tables."""
    found = []
    for family in ("-4", "-6"):
        command = ["ip", "-n", POD, family, "route", "show", "table", "all", "proto", "static"]
        found += subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted(found)


@pytest.fixture
def kept() -> tuple[PodRoutes, NetworkSet]:
    """A pod that goes out by its second interface, and who looks after that."""
    ip("addr add 10.77.0.5/32 dev eth0")
    path = f"/run/netns/{POD}"
    with open_netns(path, may_be_host=False) as there:
        cookie = there.cookie
    one = InterfaceRecord(ObjectName("default", "lan"), "net1", "lan", "1.0.0", (), default_route=WAYS, step=Step.MADE)
    owner = NetworkSet("c1", "eth0", path, "sluiceway", "b", (one,), cookie)
    made = PodRoutes(lambda: RANGES)
    made(owner, owner.interfaces)
    return made, owner


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        pytest.param(["link set net1 down", "link set net1 up"], ["0.0.0.0/0", "::/0"], id="the way out was down"),
        pytest.param(
            # what else it had, the repair of the interface itself brings
            ["link set eth0 down", "link set eth0 up", "addr add fd77::5/128 dev eth0 nodad"],
            ["0.0.0.0/0", "10.96.0.0/16", "0.0.0.0/0", "::/0", "fd96::/112", "::/0"],
            id="the first interface was down",
        ),
        pytest.param(
            [
                "link set eth0 down",
                "link set net1 down",
                "link set eth0 up",
                "link set net1 up",
                "addr add fd77::5/128 dev eth0 nodad",
                "route add default via 169.254.1.1 dev eth0 onlink",
            ],
            ["0.0.0.0/0", "0.0.0.0/0", "10.96.0.0/16", "0.0.0.0/0", "::/0", "::/0", "fd96::/112", "::/0"],
            id="both were, and the first is back as it is in other pods",
        ),
    ],
)
def test_a_way_out_that_was_asked_for_and_is_lost_is_told_and_set_again(
    kept: tuple[PodRoutes, NetworkSet], words: list[str], lost: list[str]
) -> None:
    made, owner = kept
    before = routes()
    assert (len(before), made.lost(owner, owner.interfaces)) == (8, ())
    for one in words:
        ip(one)
    assert list(map(str, made.lost(owner, owner.interfaces))) == [one for one in lost if one.endswith("/0")]
    assert list(map(str, made.repair(owner, owner.interfaces))) == lost
    assert (made.lost(owner, owner.interfaces), routes()) == ((), before)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["link set net1 down"], id="the interface is down"),
        pytest.param(["link del net1"], id="it is gone"),
        pytest.param(
            ["link add vpn0 type bridge", "link set vpn0 up", "route replace default dev vpn0"], id="a way of its own"
        ),
    ],
)
def test_a_way_out_is_left_where_the_pod_has_seen_to_it(kept: tuple[PodRoutes, NetworkSet], words: list[str]) -> None:
    made, owner = kept
    for one in words:
        ip(one)
    before = routes()
    assert (made.repair(owner, owner.interfaces), routes()) == ((), before)


def test_another_namespace_at_the_path_is_left_alone(kept: tuple[PodRoutes, NetworkSet]) -> None:
    made, owner = kept
    ip("link set net1 down")
    ip("link set net1 up")
    other = msgspec.structs.replace(owner, netns_cookie=owner.netns_cookie + 1)
    assert made.repair(other, other.interfaces) == ()


def test_a_gateway_that_the_kernel_does_not_take_is_told_with_its_field(kept: tuple[PodRoutes, NetworkSet]) -> None:
    made, owner = kept
    ip("addr add 10.50.0.9/24 dev net1")
    (one,) = owner.interfaces
    own = msgspec.structs.replace(one, default_route=("10.50.0.9",))
    with pytest.raises(NetworkFailed, match=r"default-route: 10\.50\.0\.9 is no way out by net1 of default/lan: "):
        made(owner, [own])
