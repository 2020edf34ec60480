"""A VF comes home whatever its pod, which may have NET_ADMIN, has done to its namespace and to the device.

A veth's end stands for the VF: its alias says what the kernel says of a PCI function's device.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.kernel.device.pci import PciBus
from agent.kernel.device.sriov import SriovCard
from agent.model.netdev import Netdev
from agent.netlink import netdev_requests
from agent.netlink.netns import inside, open_netns
from bench import tools

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

ADDRESS, HIDDEN, MAC = "0000:03:02.0", "swv000003020", "02:00:00:00:00:0b"
IFLA_IFALIAS = 20  # linux/if_link.h
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


def test_nothing_of_the_pods_stays_on_it(card: SriovCard, tmp_path: Path) -> None:
    program = tools.bpf_object("pass", tmp_path, Path(__file__).parents[1] / "lab")
    ip(POD, "link set net1 promisc on allmulticast on")
    ip(POD, f"link set net1 xdpgeneric obj {program} sec xdp")
    home(card)
    found = at_home()
    assert ("xdp" in found, {"PROMISC", "ALLMULTI"} & {*found["flags"]}) == (False, set())
