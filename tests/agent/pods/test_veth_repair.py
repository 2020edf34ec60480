"""An interface of ours that its pod has set down and up has again what ADD gave it, in the kernel; nothing else has."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from agent.model.attachment import Attachment
from agent.pods.veth import PodVeths
from agent.pods.veth_spec import VethSpec
from tests.agent.kernel.nets import in_new_netns

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

POD = f"swrep{os.getpid()}"
FLAP = ("link set eth0 down", "link set eth0 up")
FOUR, SIX = IPv4Address("10.77.0.2"), IPv6Address("fd77::2")


@pytest.fixture
def pod() -> Iterator[str]:
    """The path of a pod's namespace."""
    subprocess.run(["ip", "netns", "add", POD], check=True)
    yield f"/run/netns/{POD}"
    with suppress(subprocess.CalledProcessError):
        subprocess.run(["ip", "netns", "del", POD], check=True)


def ip(words: str) -> str:
    return subprocess.run(["ip", "-n", POD, *words.split()], check=True, capture_output=True, text=True).stdout


def has() -> dict[str, list[str]]:
    """What the pod has that somebody set: addresses, routes of all tables, neighbours that are known for good."""
    routes: list[dict[str, Any]] = []
    for family in ("-4", "-6"):
        routes += json.loads(ip(f"-j {family} route show table all proto static") or "[]")
    links = json.loads(ip("-j addr show dev eth0"))
    return {
        "addresses": sorted(one["local"] for one in links[0]["addr_info"] if one["scope"] == "global"),
        "routes": sorted(f"{one['dst']} {one['gateway']} {one['dev']} {one.get('table')}" for one in routes),
        "neighbours": sorted(ip("neigh show dev eth0 nud permanent").splitlines()),
    }


def check(pod: str, *, is_first: bool, then: Callable[[PodVeths, Attachment], None]) -> None:
    """Do something with a pod's veth."""
    spec = VethSpec("c1", "eth0", pod, may_be_host=False, ipv4=FOUR, ipv6=SIX, is_first=is_first)

    def run() -> None:
        veths = PodVeths(tuple, lambda _: ((), ()))
        made = veths.create(spec)
        then(
            veths,
            Attachment("c1", "eth0", 1, 1, pod, made.netns_cookie, made.mac, made.link, FOUR, SIX, is_first=is_first),
        )

    in_new_netns(run)


@pytest.mark.parametrize("is_first", [True, False])
def test_who_was_down_and_up_has_all_again(pod: str, *, is_first: bool) -> None:
    def then(veths: PodVeths, attachment: Attachment) -> None:
        before = has()
        assert [len(some) for some in before.values()] == [2, 2, 2]
        assert veths.repair(attachment) == ()
        for words in FLAP:
            ip(words)
        assert has() != before
        assert veths.repair(attachment) == (FOUR, SIX)
        assert (has(), veths.faults(attachment), veths.repair(attachment)) == (before, (), ())

    check(pod, is_first=is_first, then=then)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["route del default"], id="its way out taken away"),
        pytest.param(["addr del fd77::2/128 dev eth0"], id="an address taken away"),
        pytest.param([FLAP[0]], id="down still"),
        pytest.param([*FLAP, "link set eth0 down", "link set eth0 name mine", "link set mine up"], id="renamed"),
    ],
)
def test_what_a_pod_has_made_of_it_stays(pod: str, words: list[str]) -> None:
    def then(veths: PodVeths, attachment: Attachment) -> None:
        for one in words:
            ip(one)
        before = ip("addr"), ip("route"), ip("-6 route"), ip("neigh")
        assert veths.repair(attachment) == ()
        assert (ip("addr"), ip("route"), ip("-6 route"), ip("neigh")) == before

    check(pod, is_first=True, then=then)


@pytest.mark.parametrize(
    ("words", "told", "back"),
    [
        pytest.param(
            "address 02:00:00:00:00:99", "has the MAC 02:00:00:00:00:99, not {mac}", "address {mac}", id="its MAC"
        ),
        pytest.param("mtu 1400", "has the MTU 1400, not 1500", "mtu 1500", id="a smaller MTU"),
        pytest.param("mtu 9000", "has the MTU 9000, not 1500", "mtu 1500", id="a larger MTU"),
    ],
)
def test_what_a_pod_has_set_of_the_link_itself_is_told_and_stays(pod: str, words: str, told: str, back: str) -> None:
    def then(veths: PodVeths, attachment: Attachment) -> None:
        before = has()
        ip(f"link set eth0 {words}")
        assert veths.faults(attachment) == (f"eth0 {told.format(mac=attachment.mac)}",)
        veths.repair(attachment)  # with another MAC the kernel forgets the neighbours
        assert (has(), veths.repair(attachment)) == (before, ())
        assert veths.faults(attachment) == (f"eth0 {told.format(mac=attachment.mac)}",)
        ip(f"link set eth0 {back.format(mac=attachment.mac)}")
        assert veths.faults(attachment) == ()

    check(pod, is_first=True, then=then)


def test_an_mtu_without_ipv6_is_told_and_ipv6_is_there_again_behind_it(pod: str) -> None:
    def then(veths: PodVeths, attachment: Attachment) -> None:
        before = has()
        ip("link set eth0 mtu 1000")
        assert veths.repair(attachment) == ()
        assert {"eth0 has the MTU 1000, not 1500", f"{SIX} is not on eth0"} <= {*veths.faults(attachment)}
        ip("link set eth0 mtu 1500")
        assert veths.repair(attachment) == (SIX,)
        assert (has(), veths.faults(attachment)) == (before, ())

    check(pod, is_first=True, then=then)


def test_another_way_out_that_the_pod_has_goes_first(pod: str) -> None:
    def then(veths: PodVeths, attachment: Attachment) -> None:
        ip("link add vpn0 type veth peer name vpn1")
        ip("link set vpn0 up")
        for words in (*FLAP, "route add default dev vpn0"):
            ip(words)
        assert veths.repair(attachment) == (FOUR, SIX)
        assert [one["dev"] for one in json.loads(ip("-j route show default"))] == ["vpn0"]
        assert [one["dev"] for one in json.loads(ip("-j -6 route show default"))] == ["eth0"]

    check(pod, is_first=True, then=then)


def test_another_pods_namespace_at_the_path_is_left_alone(pod: str) -> None:
    def then(veths: PodVeths, attachment: Attachment) -> None:
        for words in ("netns del", "netns add"):
            subprocess.run(["ip", *words.split(), POD], check=True)
        ip("link add eth0 type veth peer name eth1")
        ip("link set eth0 up")
        assert (veths.repair(attachment), ip("route")) == ((), "")

    check(pod, is_first=True, then=then)
