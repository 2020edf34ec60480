"""Routes to other nodes' pods, in a namespace of their own."""

import subprocess
from ipaddress import IPv4Network, IPv6Network, ip_address

import pytest
from pyroute2 import IPRoute

from agent.kernel.net.routes import METRIC, PROTOCOL, Change, Routes, Way, changes
from agent.model.address import Network
from tests.agent.kernel.nets import in_new_netns

A, B = IPv4Network("10.244.1.0/24"), IPv4Network("10.244.2.0/24")
SIX = IPv6Network("fd00:244:1::/64")
VIA, OTHER, VIA6 = (Way(ip_address(text)) for text in ("192.0.2.2", "192.0.2.3", "2001:db8::2"))


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        pytest.param({A: VIA}, {A: VIA}, (), id="what is right is left alone"),
        pytest.param({A: OTHER}, {A: VIA}, (Change(A, OTHER),), id="a moved node's route is replaced in one step"),
        pytest.param({B: VIA}, {A: VIA}, (Change(A, None), Change(B, VIA)), id="removals come first"),
    ],
)
def test_changes(wanted: dict[Network, Way], found: dict[Network, Way], expected: tuple[Change, ...]) -> None:
    assert changes(wanted, found) == expected


def _ip(words: str) -> str:
    return subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True).stdout


def _wire() -> None:
    _ip("link add u0 type veth peer name u1")
    _ip("link set u0 up")
    _ip("link set u1 up")
    _ip("addr add 192.0.2.1/24 dev u0")
    _ip("addr add 2001:db8::1/64 dev u0 nodad")


@pytest.mark.netns
def test_both_families_are_made_equal_to_what_is_wanted() -> None:
    def play() -> list[dict[Network, Way]]:
        _wire()
        with IPRoute() as netlink:
            routes, seen = Routes(netlink), []
            steps: list[dict[Network, Way]] = [{A: VIA, SIX: VIA6}, {A: OTHER, B: VIA}, {}]
            for wanted in steps:
                assert routes.sync(wanted) == {}
                seen.append(routes.found())
            return seen

    assert in_new_netns(play) == [{A: VIA, SIX: VIA6}, {A: OTHER, B: VIA}, {}]


@pytest.mark.netns
def test_a_gateway_off_our_links_is_refused_and_the_rest_is_made() -> None:
    def play() -> tuple[dict[Network, str], dict[Network, Way]]:
        _wire()
        with IPRoute() as netlink:
            routes = Routes(netlink)
            return routes.sync({A: Way(ip_address("198.51.100.1")), B: VIA}), routes.found()

    refused, found = in_new_netns(play)
    assert list(refused) == [A]
    assert found == {B: VIA}


@pytest.mark.netns
def test_somebody_elses_routes_are_never_touched() -> None:
    def play() -> tuple[str, str]:
        _wire()
        _ip(f"route add {A} via 192.0.2.9")
        _ip("route add 203.0.113.0/24 via 192.0.2.9 proto bird")
        before = _ip("route show")
        with IPRoute() as netlink:
            routes = Routes(netlink)
            routes.sync({A: VIA})
            assert f"{A} via {VIA.gateway} dev u0 proto {PROTOCOL} metric {METRIC}" in _ip("route show")
            routes.sync({})
        return before, _ip("route show")

    before, after = in_new_netns(play)
    assert after == before


@pytest.mark.netns
def test_sync_leaves_the_routes_to_our_own_pods_and_remove_all_takes_them_too() -> None:
    def play() -> tuple[str, tuple[str, ...], str]:
        _wire()
        _ip(f"route add 10.244.0.7/32 dev u0 proto {PROTOCOL}")
        _ip(f"-6 route add fd00:244::7/128 dev u0 proto {PROTOCOL}")
        with IPRoute() as netlink:
            routes = Routes(netlink)
            routes.sync({A: VIA})
            routes.sync({})
            kept = _ip(f"route show proto {PROTOCOL}")
            return (
                kept,
                routes.remove_all(),
                _ip(f"route show proto {PROTOCOL}") + _ip(f"-6 route show proto {PROTOCOL}"),
            )

    kept, removed, left = in_new_netns(play)
    assert "10.244.0.7" in kept
    assert sorted(removed) == ["10.244.0.7/32", "fd00:244::7/128"]
    assert left == ""


@pytest.mark.netns
def test_pods_behind_the_tunnel_are_reached_by_its_device_from_the_nodes_own_address() -> None:
    def play() -> tuple[dict[Network, Way], dict[Network, Way], str]:
        _wire()
        with IPRoute() as netlink:
            routes = Routes(netlink)
            index = netlink.link_lookup(ifname="u0")[0]
            straight4 = Way(None, index, ip_address("192.0.2.1"))
            straight6 = Way(None, index, ip_address("2001:db8::1"))
            assert routes.sync({A: VIA, SIX: VIA6}) == {}
            assert routes.sync({A: straight4, SIX: straight6}) == {}
            return routes.found(), {A: straight4, SIX: straight6}, _ip(f"route show {A}")

    found, expected, shown = in_new_netns(play)
    assert found == expected
    assert "scope link src 192.0.2.1" in shown
