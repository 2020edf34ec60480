"""A VF in its pod, beside the pod's first interface: by which routes it is reached, and when it comes up.

A veth's end stands for the VF: its alias says what the kernel says of a PCI function's device.
"""

import errno
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.kernel.device import netdev
from agent.kernel.device.netdev_repair import Given
from agent.kernel.device.pci import PciBus
from agent.kernel.device.sriov import SriovCard
from agent.netlink import netdev_requests
from agent.netlink.netns import inside, open_netns
from agent.netlink.requests import Request, set_up
from agent.netlink.socket import Socket
from agent.pods.device.ipam import addresses
from tests.netns.advertised import PREFIX, is_followed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

ADDRESS, POD, OTHER = "0000:03:02.0", *(f"swvr{os.getpid()}{which}" for which in "po")
PATH = f"/run/netns/{POD}"
IFLA_IFALIAS = 20  # linux/if_link.h
GIVEN = [{"address": "10.9.0.2/24", "gateway": "10.9.0.1"}, {"address": "fd09::2/64", "gateway": "fd09::1"}]
FIRST = (  # as ours is
    "-4 route add default via 169.254.1.1 dev eth0 onlink",
    "-6 route add default via fe80::1 dev eth0 onlink",
)
DEFAULTS = ({"dst": "0.0.0.0/0"}, {"dst": "::/0"})


def ip(words: str, netns: str = POD) -> str:
    return subprocess.run(["ip", "-n", netns, *words.split()], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SriovCard]:
    subprocess.run(["ip", "netns", "add", POD], check=True)
    for name in ("eth0", "net1"):
        ip(f"link add {name} type veth peer name {name}-peer")
        ip(f"link set {name}-peer up")
    ip(f"link set net1 alias {ADDRESS}")
    for words in ("link set eth0 up", "addr add 10.77.1.5/32 dev eth0", "addr add fd77::5/128 dev eth0 nodad"):
        ip(words)
    monkeypatch.setattr(netdev_requests, "IFLA_PARENT_DEV_NAME", IFLA_IFALIAS)
    yield SriovCard(PciBus(tmp_path))
    subprocess.run(["ip", "netns", "del", POD], check=True)


def cookie(path: str) -> int:
    with open_netns(path, may_be_host=False) as there:
        return there.cookie


def configure(card: SriovCard, *routes: dict[str, Any]) -> None:
    card.configure(PATH, cookie(PATH), ADDRESS, addresses({"ips": GIVEN, "routes": routes}))


def ways_to(destination: str, table: str = "main") -> list[dict[str, Any]]:
    family = "-6" if ":" in destination else "-4"
    found: list[dict[str, Any]] = json.loads(ip(f"-j {family} route show table {table} exact {destination}"))
    return found


def devices_to(destination: str) -> list[str]:
    return [one["dev"] for one in ways_to(destination)]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(FIRST, id="as ours sets it"),
        pytest.param(tuple(f"{one} metric 2000" for one in FIRST), id="less preferred, as of another plugin"),
    ],
)
def test_the_way_out_stays_the_first_interfaces(card: SriovCard, first: tuple[str, ...]) -> None:
    for words in first:
        ip(words)
    configure(card, *DEFAULTS, {"dst": "10.8.0.0/16"})
    assert [devices_to("0.0.0.0/0"), devices_to("::/0")] == [["eth0"], ["eth0"]]
    assert devices_to("10.8.0.0/16") == ["net1"], "what else IPAM gives is there"


def test_a_family_without_a_way_out_has_that_of_ipam(card: SriovCard) -> None:
    ip(FIRST[0])
    configure(card, *DEFAULTS)
    assert [devices_to("0.0.0.0/0"), devices_to("::/0")] == [["eth0"], ["net1"]]


def test_a_route_of_another_device_stays_where_it_is(card: SriovCard) -> None:
    ip("route add 10.8.0.0/16 dev eth0")
    configure(card, {"dst": "10.8.0.0/16"}, {"dst": "10.8.0.0/16", "priority": 50})
    assert [(one["dev"], one.get("metric", 0)) for one in ways_to("10.8.0.0/16")] == [("eth0", 0), ("net1", 50)]


def test_a_route_has_what_cni_1_1_says_of_it(card: SriovCard) -> None:
    for words in FIRST:
        ip(words)
    more = {"priority": 50, "table": 300, "mtu": 1300, "advmss": 1200}
    configure(card, {"dst": "0.0.0.0/0", **more}, {"dst": "fd08::/64", **more}, {"dst": "10.8.0.0/16", "scope": 253})
    for destination, gateway in (("0.0.0.0/0", "10.9.0.1"), ("fd08::/64", "fd09::1")):
        (found,) = ways_to(destination, "300")
        (metrics,) = found["metrics"]
        assert (found["dev"], found["gateway"], found["metric"]) == ("net1", gateway, 50)
        assert (metrics["mtu"], metrics["advmss"]) == (1300, 1200)
    assert devices_to("0.0.0.0/0") == ["eth0"]
    (near,) = ways_to("10.8.0.0/16")
    assert ("gateway" in near, near["scope"]) == (False, "link")


BY_ROUTER, OF_ROUTER, ON_LINK = "route default proto ra", f"addr to {PREFIX}", f"route {PREFIX}"


def followed(*looks: str) -> list[bool]:
    return [is_followed(POD, "net1", look) for look in looks]


def test_a_router_on_the_link_is_no_way_past_the_first_interface(card: SriovCard) -> None:
    for words in FIRST:
        ip(words)
    configure(card)
    assert followed(BY_ROUTER, OF_ROUTER, ON_LINK) == [False] * 3


def test_a_vf_without_ipam_has_addresses_of_the_links_router_and_not_its_way_out(card: SriovCard) -> None:
    for words in FIRST:
        ip(words)
    card.configure(PATH, cookie(PATH), ADDRESS, addresses({}))
    assert followed(OF_ROUTER, BY_ROUTER) == [True, False]


def test_a_pod_without_another_way_out_has_that_of_the_links_router(card: SriovCard) -> None:
    ip(FIRST[0])
    configure(card)
    assert followed(BY_ROUTER, OF_ROUTER) == [True, False]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(
            ["link set net1 down", "link set net1 up"],
            {"has not the route to 10.8.0.0/16", "has not the route to fd08::/64", "has not the route to ::/0"},
            id="down and up",
        ),
        pytest.param(["addr del 10.9.0.2/24 dev net1"], {"has not the address 10.9.0.2/24"}, id="an address"),
        pytest.param(["route del 10.8.0.0/16"], {"has not the route to 10.8.0.0/16"}, id="a route"),
    ],
)
def test_what_a_vf_has_lost_is_found_and_set_again(card: SriovCard, words: list[str], told: set[str]) -> None:
    ip(FIRST[0])
    given = addresses({"ips": GIVEN, "routes": [*DEFAULTS, {"dst": "10.8.0.0/16"}, {"dst": "fd08::/64"}]})
    card.configure(PATH, cookie(PATH), ADDRESS, given)
    place = ADDRESS, PATH, cookie(PATH), Given(given)
    assert card.lost(*place) == ()
    for one in words:
        ip(one)
    assert told <= {*card.lost(*place)}
    assert told <= {*card.repair(*place)}
    assert card.lost(*place) == ()
    assert [devices_to(to) for to in ("10.8.0.0/16", "fd08::/64", "::/0", "0.0.0.0/0")] == [["net1"]] * 3 + [["eth0"]]


def test_a_vf_is_down_in_its_pod_until_it_is_configured(card: SriovCard) -> None:
    subprocess.run(["ip", "netns", "add", OTHER], check=True)
    path = f"/run/netns/{OTHER}"
    ip("link set net1 up")
    try:
        with inside(PATH):  # as the node
            card.to_pod(ADDRESS, path, cookie(path), "net1", 1400)
        (found,) = json.loads(ip("-j link show net1", OTHER))
        assert ("UP" in found["flags"], found["mtu"]) == (False, 1400)
        card.configure(path, cookie(path), ADDRESS, addresses({"ips": GIVEN}))
        (found,) = json.loads(ip("-j link show net1", OTHER))
        assert "UP" in found["flags"]
        assert "10.9.0.2/24" in ip("addr show net1", OTHER)
    finally:
        subprocess.run(["ip", "netns", "del", OTHER], check=True)


def refusing(monkeypatch: pytest.MonkeyPatch, number: int, until: float) -> None:
    """Have the driver refuse with this number to set a device up, until then."""
    ask, doing = Socket.ask, set_up(0).doing

    def asked(self: Socket, *those: Request) -> object:
        if time.monotonic() < until and any(one.doing == doing for one in those):
            raise OSError(number, os.strerror(number))
        return ask(self, *those)

    monkeypatch.setattr(Socket, "ask", asked)


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EAGAIN])
def test_a_vf_that_its_driver_resets_comes_up_when_it_has(
    card: SriovCard, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refusing(monkeypatch, number, time.monotonic() + 0.3)
    configure(card)
    assert "10.9.0.2/24" in ip("addr show net1 up")


@pytest.mark.parametrize(("number", "patience_s"), [(errno.EBUSY, 0.2), (errno.EIO, 60.0)])
def test_one_that_does_not_come_up_is_told(
    card: SriovCard, monkeypatch: pytest.MonkeyPatch, number: int, patience_s: float
) -> None:
    monkeypatch.setattr(netdev, "RESET_S", patience_s)
    refusing(monkeypatch, number, time.monotonic() + 60)
    with pytest.raises(OSError, match=os.strerror(number)):
        configure(card)
