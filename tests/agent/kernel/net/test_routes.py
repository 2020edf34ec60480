"""Routes to other nodes' pods, in a namespace of their own."""

import re
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address

import pytest

from agent.compile.desired import Desired
from agent.compile.route import Route
from agent.compile.settings import NetworkSettings
from agent.errors import AgentError
from agent.kernel.net.routes import METRIC, PIECE, PROTOCOL, Change, Routes, Way, changes
from agent.kernel.parts import RoutesPart
from agent.model.address import Network
from agent.model.local import Device
from agent.netlink.requests import Request
from agent.netlink.socket import Socket
from tests.agent.kernel.nets import in_new_netns

A, B = IPv4Network("10.244.1.0/24"), IPv4Network("10.244.2.0/24")
SIX = IPv6Network("fd00:244:1::/64")
VIA, OTHER, VIA6 = (Way(ip_address(text)) for text in ("192.0.2.2", "192.0.2.3", "2001:db8::2"))
OWN = replace(VIA, source=ip_address("198.51.100.1"))
OWN6 = replace(VIA6, source=ip_address("2001:db8::1"))
FAR = Way(ip_address("198.51.100.1"))  # on no link of the node's


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


def _uplink() -> None:
    _ip("link add u0 type veth peer name u1")
    _ip("link set u0 up")
    _ip("link set u1 up")
    _ip("addr add 192.0.2.1/24 dev u0")
    _ip("addr add 2001:db8::1/64 dev u0 nodad")


def _apply(routes: Routes, wanted: Mapping[Network, Way]) -> int:
    """How many pieces it took."""
    return sum(1 for _ in routes.apply(wanted))


def _many(count: int, way: Way) -> dict[Network, Way]:
    """So many prefixes."""
    return {IPv4Network((0x0A000000 + (i << 8), 24)): way for i in range(count)}


@pytest.mark.netns
def test_both_families_are_made_equal_to_what_is_wanted() -> None:
    def play() -> list[dict[Network, Way]]:
        _uplink()
        routes, seen = Routes(), []
        stages: list[dict[Network, Way]] = [{A: VIA, SIX: VIA6}, {A: OTHER, B: VIA}, {}]
        for wanted in stages:
            _apply(routes, wanted)
            seen.append(routes.found())
        return seen

    assert in_new_netns(play) == [{A: VIA, SIX: VIA6}, {A: OTHER, B: VIA}, {}]


@pytest.mark.netns
def test_a_gateway_off_our_links_is_refused_and_the_rest_is_made() -> None:
    def play() -> dict[Network, Way]:
        _uplink()
        routes = Routes()
        told = "1 routes refused, first 10.244.1.0/24 via 198.51.100.1: Network is unreachable"
        with pytest.raises(AgentError, match=re.escape(told)):
            _apply(routes, {A: FAR, B: VIA})
        return routes.found()

    assert in_new_netns(play) == {B: VIA}


@pytest.mark.netns
def test_a_gateway_on_another_subnet_is_left_to_the_network_between_and_is_no_problem() -> None:
    def play() -> tuple[dict[Network, Way], dict[Network, Way]]:
        _uplink()
        _ip("route add default via 192.0.2.9")
        _ip("-6 route add default via 2001:db8::9")
        routes = Routes(lambda: 0.0)
        far = (Route(A, FAR.gateway, is_far=True), Route(SIX, ip_address("2001:db8:ff::1"), is_far=True))
        asked = Desired(synced=True, routes={one.destination: one for one in (*far, Route(B, VIA.gateway))})
        part = RoutesPart(routes, NetworkSettings())
        _bring(part, asked)
        before = routes.found()
        _ip("route add 198.51.100.1/32 dev u0 scope link")  # as clouds have it, whose nodes' addresses are /32
        routes.retry()
        _bring(part, asked)
        return before, routes.found()

    assert in_new_netns(play) == ({B: VIA}, {B: VIA, A: FAR})


@pytest.mark.netns
def test_somebody_elses_routes_are_never_touched() -> None:
    def play() -> tuple[str, str]:
        _uplink()
        _ip(f"route add {A} via 192.0.2.9")
        _ip("route add 203.0.113.0/24 via 192.0.2.9 proto bird")
        before = _ip("route show")
        routes = Routes()
        _apply(routes, {A: VIA})
        assert f"{A} via {VIA.gateway} dev u0 proto {PROTOCOL} metric {METRIC}" in _ip("route show")
        _apply(routes, {})
        return before, _ip("route show")

    before, after = in_new_netns(play)
    assert after == before


@pytest.mark.netns
def test_the_routes_to_our_own_pods_are_left_and_remove_all_takes_them_too() -> None:
    def play() -> tuple[str, tuple[str, ...], str]:
        _uplink()
        _ip(f"route add 10.244.0.7/32 dev u0 proto {PROTOCOL}")
        _ip(f"-6 route add fd00:244::7/128 dev u0 proto {PROTOCOL}")
        routes = Routes()
        _apply(routes, {A: VIA})
        _apply(routes, {})
        kept = _ip(f"route show proto {PROTOCOL}")
        removed = routes.remove_all()
        return kept, removed, _ip(f"route show proto {PROTOCOL}") + _ip(f"-6 route show proto {PROTOCOL}")

    kept, removed, left = in_new_netns(play)
    assert "10.244.0.7" in kept
    assert sorted(removed) == ["10.244.0.7/32", "fd00:244::7/128"]
    assert left == ""


@pytest.mark.netns
def test_pods_behind_the_tunnel_are_reached_by_its_device_from_the_nodes_own_address() -> None:
    def play() -> tuple[dict[Network, Way], dict[Network, Way], str]:
        _uplink()
        routes = Routes()
        index = socket.if_nametoindex("u0")
        straight4 = Way(None, index, ip_address("192.0.2.1"))
        straight6 = Way(None, index, ip_address("2001:db8::1"))
        _apply(routes, {A: VIA, SIX: VIA6})
        _apply(routes, {A: straight4, SIX: straight6})
        return routes.found(), {A: straight4, SIX: straight6}, _ip(f"route show {A}")

    found, expected, shown = in_new_netns(play)
    assert found == expected
    assert "scope link src 192.0.2.1" in shown


@pytest.mark.netns
def test_to_pods_of_a_neighbour_the_node_sends_from_its_own_address_whatever_others_it_has() -> None:
    def play() -> tuple[dict[Network, Way], tuple[str, ...]]:
        _uplink()
        _ip("addr add 2001:db8::9/64 dev u0 nodad")  # a floating one, which the kernel would take
        _ip("addr add 198.51.100.1/32 dev lo")
        routes = Routes()
        _apply(routes, {A: VIA, SIX: VIA6})
        _apply(routes, {A: OWN, SIX: OWN6})
        return routes.found(), tuple(_ip(f"route get {next(one.hosts())}") for one in (A, SIX))

    found, shown = in_new_netns(play)
    assert found == {A: OWN, SIX: OWN6}
    assert ["src 198.51.100.1 " in shown[0], "src 2001:db8::1 " in shown[1]] == [True, True]


# ---- in pieces -------------------------------------------------------------------------------------------------------


@pytest.mark.netns
def test_thousands_of_routes_go_in_pieces_and_a_change_costs_its_own() -> None:
    def play() -> None:
        _uplink()
        routes, many, moved = Routes(), _many(5000, VIA), _many(5000, VIA)
        moved[A] = OTHER
        assert sum(1 for _ in routes.apply(many)) == -(-5000 // PIECE)
        assert _apply(routes, many) == 0
        assert _apply(routes, moved) == 1
        assert _apply(Routes(), moved) > 1, "another agent lists them"
        assert routes.found() == moved

    in_new_netns(play)


@pytest.mark.netns
def test_what_was_given_up_half_way_goes_on_with_the_next_call() -> None:
    def play() -> None:
        _uplink()
        routes, many = Routes(), _many(3 * PIECE, VIA)
        begun = routes.apply(many)
        next(begun)
        begun.close()  # type: ignore[attr-defined]
        assert _apply(routes, many) == 2
        assert routes.found() == many

    in_new_netns(play)


@pytest.mark.netns
def test_what_somebody_took_comes_back_when_it_is_told() -> None:
    def play() -> None:
        _uplink()
        routes = Routes()
        wanted: dict[Network, Way] = {A: VIA, B: VIA}
        _apply(routes, wanted)
        _ip(f"route del {A} metric {METRIC}")
        assert _apply(routes, wanted) == 0
        routes.resync()
        _apply(routes, wanted)
        assert routes.found() == wanted
        _ip(f"route del {B} metric {METRIC}")
        _apply(routes, {A: VIA})
        assert routes.found() == {A: VIA}, "a route that went by itself needs no removal"

    in_new_netns(play)


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.netns
def test_gateways_out_of_reach_are_asked_for_seldom_and_told_shortly() -> None:
    def play() -> None:
        _uplink()
        now = [0.0]
        routes, far = Routes(lambda: now[0]), _many(5000, FAR)
        tries = []
        for _ in range(200):  # rounds, one a second
            tries.append(_tries(routes, far))
            now[0] += 1.0
        assert tries[:8] == [5000, 5000, 0, 5000, 0, 0, 0, 5000]
        assert sum(tries) <= 11 * 5000, "at last, twice a minute"
        # a new one is tried at once, and it alone
        assert _tries(routes, far | {B: FAR}) == 1
        routes.resync()
        assert _tries(routes, far) == 0, "somebody touched a route: no reason to try those that were refused"
        _ip("addr add 198.51.100.2/24 dev u0")
        routes.retry()
        _apply(routes, far)
        assert routes.found() == far

    in_new_netns(play)


@pytest.mark.netns
def test_a_gateway_that_comes_into_reach_is_tried_when_the_devices_change_and_not_before() -> None:
    def play() -> dict[Network, Way]:
        _uplink()
        routes = Routes(lambda: 0.0)  # no refusal is ever old enough
        part = RoutesPart(routes, NetworkSettings())
        asked = Desired(synced=True, routes={A: Route(A, FAR.gateway)}, devices=(Device(2, "u0", is_up=False),))
        with pytest.raises(AgentError, match="1 routes refused"):
            _bring(part, asked)
        _ip("addr add 198.51.100.2/24 dev u0")
        with pytest.raises(AgentError, match="1 routes refused"):
            _bring(part, asked)
        _bring(part, replace(asked, devices=(Device(2, "u0", is_up=True),)))
        return routes.found()

    assert in_new_netns(play) == {A: FAR}


def _bring(part: RoutesPart, asked: Desired) -> None:
    wanted = part.wanted(asked)
    assert wanted is not None
    tuple(part.apply(wanted))


def _tries(routes: Routes, wanted: Mapping[Network, Way]) -> int:
    """How many routes the kernel was asked for."""
    asked, attempt = [0], Socket.attempt

    def counted(socket: Socket, *requests: Request) -> tuple[int, ...]:
        asked[0] += len(requests)
        return attempt(socket, *requests)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Socket, "attempt", counted)
        with pytest.raises(AgentError, match="routes refused, first 10") as raised:
            _apply(routes, wanted)
    assert len(str(raised.value)) < 400
    return asked[0]
