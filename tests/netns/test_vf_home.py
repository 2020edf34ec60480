"""A VF comes home whatever its pod, which may have NET_ADMIN, has done to its namespace and to the device.

A veth's end stands for the VF: its alias says what the kernel says of a PCI function's device.
"""

import json
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.kernel.device import sriov
from agent.kernel.device.pci import DeviceRefused, PciBus
from agent.kernel.device.sriov import SriovCard
from agent.model.netdev import Netdev
from agent.netlink import netdev_requests
from agent.netlink.netns import inside, open_netns
from agent.netlink.requests import Request
from agent.netlink.socket import Socket
from bench import tools

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

ADDRESS, HIDDEN, MAC = "0000:03:02.0", "swv000003020", "02:00:00:00:00:0b"
OTHER_MAC = "02:00:00:00:00:0c"
IFLA_IFALIAS = 20  # linux/if_link.h
MOST_NAMES = 496  # other names of the greatest length: their list has 64 KiB at most
NODE, POD = (f"swvh{os.getpid()}{which}" for which in "np")


def ip(netns: str, words: str) -> str:
    return subprocess.run(["ip", "-n", netns, *words.split()], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SriovCard]:
    for name in (NODE, POD):
        subprocess.run(["ip", "netns", "add", name], check=True)
    ip(NODE, f"link add peer type veth peer name net1 address {MAC} netns {POD}")
    ip(POD, f"link set net1 up alias {ADDRESS}")
    monkeypatch.setattr(netdev_requests, "IFLA_PARENT_DEV_NAME", IFLA_IFALIAS)
    with inside(f"/run/netns/{NODE}"):
        yield SriovCard(PciBus(tmp_path))
    for name in (NODE, POD):
        subprocess.run(["ip", "netns", "del", name], check=True)


def home(card: SriovCard) -> Netdev:
    path = f"/run/netns/{POD}"
    with open_netns(path, may_be_host=False) as there:
        cookie = there.cookie
    return card.bring_home(ADDRESS, path, cookie, 1.0)


def at_home() -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(ip(NODE, f"-j -d link show {HIDDEN}"))
    return found[0]


def names(*those: bytes) -> None:
    """Give the pod's device other names."""
    lines = b"".join(b"link property add dev net1 altname %s\n" % name for name in those)
    subprocess.run(["ip", "-n", POD, "-force", "-batch", "-"], input=lines, check=False, capture_output=True)


@pytest.mark.parametrize(
    "done",
    [
        pytest.param((), id="nothing"),
        pytest.param((f"link add {HIDDEN} type bridge",), id="another device of the name that it is hidden under"),
        pytest.param((f"link property add dev net1 altname {HIDDEN}",), id="that name itself"),
        pytest.param(("link property add dev net1 altname peer",), id="a name of the node's"),
        pytest.param(("link set net1 down", "link set net1 name eth7"), id="another name"),
        pytest.param(("link add up0 link net1 type macvlan",), id="a device above it"),
    ],
)
def test_a_pod_cannot_keep_it(card: SriovCard, done: tuple[str, ...]) -> None:
    for words in done:
        ip(POD, words)
    assert home(card).name == HIDDEN
    assert at_home()["address"] == MAC


@pytest.mark.parametrize(
    "those",
    [
        pytest.param((b"\xff\xfa",), id="one that is no UTF-8"),
        pytest.param([b"%0127d" % number for number in range(500)], id="as many as the kernel takes"),
    ],
)
@pytest.mark.parametrize("is_by_kernel", [False, True])
def test_a_pod_cannot_keep_it_by_its_other_names(
    card: SriovCard, those: Sequence[bytes], *, is_by_kernel: bool
) -> None:
    names(*those)
    shown = subprocess.run(["ip", "-n", POD, "link", "show", "net1"], check=True, capture_output=True).stdout
    assert shown.count(b"altname") == min(len(those), MOST_NAMES)
    if is_by_kernel:
        ip(POD, f"link set net1 down netns {NODE}")
    assert home(card).altnames == ()
    assert (at_home()["address"], "altnames" in at_home()) == (MAC, False)


def test_a_name_that_cannot_be_taken_does_not_keep_it(card: SriovCard, monkeypatch: pytest.MonkeyPatch) -> None:
    names(b"mine")
    refused = netdev_requests.delete_altname(0, "mine")
    monkeypatch.setattr(netdev_requests, "delete_altname", lambda *_: refused)
    assert home(card).altnames == ("mine",)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("link add up0 link net1 type macvlan mode passthru", id="passthru"),
        pytest.param("link add up0 link net1 type macvlan mode bridge", id="bridge"),
        pytest.param("link add up0 link net1 type macvtap", id="macvtap"),
    ],
)
@pytest.mark.parametrize("when", ["before", "meanwhile", "an agent died"])
def test_a_pod_keeps_nothing_that_it_made_above_it(
    card: SriovCard, monkeypatch: pytest.MonkeyPatch, words: str, when: str
) -> None:
    ip(POD, "link add own0 type veth peer name own1")
    ip(POD, "link add up1 link own0 type macvlan")
    if when == "meanwhile":
        move = netdev_requests.move

        def moved(index: int, netns: int, name: str, new_index: int = 0) -> Request:
            ip(POD, words.replace("net1", HIDDEN))
            return move(index, netns, name, new_index)

        monkeypatch.setattr(netdev_requests, "move", moved)
    else:
        ip(POD, words)
    if when == "an agent died":
        ip(POD, f"link set net1 down netns {NODE}")
    home(card)
    names = {one["ifname"] for one in json.loads(ip(POD, "-j link"))}
    assert names - {"lo"} == {"own0", "own1", "up1"}, "what is above devices of its own stays"
    ip(NODE, f"link add node0 link {HIDDEN} type macvlan mode passthru")  # which is alone above a device


def test_nothing_of_the_pods_stays_on_it(card: SriovCard, tmp_path: Path) -> None:
    program = tools.bpf_object("pass", tmp_path, Path(__file__).parents[1] / "lab")
    ip(POD, "link set net1 promisc on allmulticast on")
    ip(POD, f"link set net1 xdpgeneric obj {program} sec xdp")
    home(card)
    found = at_home()
    assert ("xdp" in found, {"PROMISC", "ALLMULTI"} & {*found["flags"]}) == (False, set())


def test_a_mac_that_a_driver_sets_later_is_waited_for(card: SriovCard, monkeypatch: pytest.MonkeyPatch) -> None:
    home(card)
    later = threading.Timer(0.3, ip, [NODE, f"link set {HIDDEN} address {OTHER_MAC}"])

    def taken(_self: Socket, *requests: Request) -> tuple[int, ...]:
        later.start()
        return (0,) * len(requests)

    monkeypatch.setattr(Socket, "attempt", taken)
    try:
        card.set_mac(ADDRESS, OTHER_MAC)
    finally:
        later.join()
    assert at_home()["address"] == OTHER_MAC


def test_a_mac_that_a_driver_takes_and_never_has_is_told(card: SriovCard, monkeypatch: pytest.MonkeyPatch) -> None:
    home(card)
    monkeypatch.setattr(Socket, "attempt", lambda _self, *requests: (0,) * len(requests))
    monkeypatch.setattr(sriov, "RESET_S", 0.1)
    with pytest.raises(DeviceRefused, match=f"mac: {OTHER_MAC}: {ADDRESS} has {MAC} still"):
        card.set_mac(ADDRESS, OTHER_MAC)
