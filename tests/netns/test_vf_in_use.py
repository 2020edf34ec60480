"""A VF by which the node has something is no pod's: what the kernel tells of its device, by the sentence it leads to.

A veth's end stands for the VF: its alias says what the kernel says of a PCI function's device.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.compile.vf import refusal
from agent.kernel.device.pci import PciBus
from agent.kernel.device.sriov import SriovCard
from agent.model.vf import Vf, VfKind, VfSettings, VfSpec
from agent.netlink import nic_requests
from agent.netlink.netns import inside

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

ADDRESS, NODE = "0000:03:02.0", f"swvu{os.getpid()}"
IFLA_IFALIAS = 20  # linux/if_link.h
SPEC = VfSpec(VfKind.NETDEV, VfSettings())


def ip(words: str) -> None:
    subprocess.run(["ip", "-n", NODE, *words.split()], check=True)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SriovCard]:
    subprocess.run(["ip", "netns", "add", NODE], check=True)
    for words in ("link add v0 type veth peer name peer", f"link set v0 up alias {ADDRESS}", "link set peer up"):
        ip(words)
    monkeypatch.setattr(nic_requests, "IFLA_PARENT_DEV_NAME", IFLA_IFALIAS)
    with inside(f"/run/netns/{NODE}"):
        yield SriovCard(PciBus(tmp_path))
    subprocess.run(["ip", "netns", "del", NODE], check=True)


@pytest.mark.parametrize(
    ("done", "words"),
    [
        pytest.param((), "", id="nothing but what the kernel sets"),
        pytest.param(
            ("link add br0 type bridge", "link set v0 master br0"),
            "br0 of the node would lose v0",
            id="a bridge",
        ),
        pytest.param(
            ("link add up0 link v0 type macvlan", "link add up1 link v0 type macvlan"),
            "up0, up1 of the node would lose v0",
            id="devices above it",
        ),
        pytest.param(("addr add 192.0.2.1/24 dev v0",), "by v0 the node has 192.0.2.1", id="an address"),
        pytest.param(
            ("-6 route add fd05::/64 via fe80::1 dev v0",), "by v0 the node has the route to fd05::/64", id="a route"
        ),
        pytest.param(
            ("route add default via inet6 fe80::1 dev v0",),
            "a default route of the node leaves by v0",
            id="way out",
        ),
        pytest.param(("link add br0 type bridge", "link set peer master br0"), "", id="not what its peer is"),
    ],
)
def test_what_the_node_has_by_a_vf_keeps_it_from_pods(card: SriovCard, done: tuple[str, ...], words: str) -> None:
    for one in done:
        ip(one)
    found = card.nics(ADDRESS)
    assert [one.netdev.name for one in found] == ["v0"]
    vf = Vf(ADDRESS, "0000:03:00.0", "ens1", "ice", 1500, 0, "iavf", "", VfSettings(), found[0].netdev)
    assert refusal(vf, SPEC, found) == (words and f"deviceID: {ADDRESS}: {words}")
