"""A device of the node that pods have themselves is what it was when it is home, whatever its pod has made of it.

Ends of veths stand for NICs: their aliases say what the kernel says of a PCI function's device.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from agent.kernel.device.netdev import NamesTaken
from agent.kernel.device.nic import HostDevice, NodeNics
from agent.kernel.device.pci import DeviceRefused
from agent.model.nic import NicKind, NicSpec
from agent.netlink import nic_requests
from agent.netlink.dump import Dump
from agent.netlink.netns import inside, open_netns
from agent.netlink.nic_requests import netdev_named
from agent.netlink.rtnetlink import IFLA_IFALIAS

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

NODE, POD, OTHER = (f"swnh{os.getpid()}{which}" for which in "npo")


def ip(netns: str, words: str) -> str:
    return subprocess.run(["ip", "-n", netns, *words.split()], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices with an alias are hardware."""
    monkeypatch.setattr(nic_requests, "IFLA_PARENT_DEV_NAME", IFLA_IFALIAS)


@pytest.fixture(autouse=True)
def nics() -> Iterator[NodeNics]:
    for name in (NODE, POD, OTHER):
        subprocess.run(["ip", "netns", "add", name], check=True)
    with inside(f"/run/netns/{NODE}"):
        yield NodeNics()
    for name in (NODE, POD, OTHER):
        subprocess.run(["ip", "netns", "del", name], check=False)


def hardware(name: str, parent: str) -> HostDevice:
    """A device of the node that is taken for a card's, before a pod has it."""
    ip(NODE, f"link add {name} type veth peer name {name}x")
    ip(NODE, f"link property add dev {name} altname {name}alt")
    ip(NODE, f"link set {name} up alias {parent}")
    with Dump() as dump:
        was = netdev_named(dump, name)
    assert was is not None
    return HostDevice(was, parent, "", "veth", 0, f"swn{name}", 70000 + was.index)


def cookie(netns: str) -> int:
    with open_netns(f"/run/netns/{netns}", may_be_host=False) as there:
        return there.cookie


def to_pod(nics: NodeNics, moved: HostDevice, netns: str = POD) -> int:
    """The cookie of the pod's namespace, where the device is then."""
    nics.to_pod(moved, f"/run/netns/{netns}", cookie(netns), "net1")
    return cookie(netns)


def at_home(name: str) -> tuple[str, list[str], bool]:
    """A device of the node: name, other names, and whether it is up."""
    (found,) = json.loads(ip(NODE, f"-j link show {name}"))
    return found["ifname"], found.get("altnames", []), "UP" in found["flags"]


@pytest.mark.usefixtures("cards")
@pytest.mark.parametrize("lacks", ["d0", "d0alt"])
def test_a_name_that_is_taken_is_told_and_had_again_when_it_is_free(nics: NodeNics, lacks: str) -> None:
    moved = hardware("d0", "0000:04:00.0")
    of_pod = to_pod(nics, moved)
    ip(NODE, f"link add {lacks} type bridge")
    nics.bring_home(moved, f"/run/netns/{POD}", of_pod, 1.0)
    with pytest.raises(NamesTaken, match=f"the name {lacks} is another device's") as taken:
        nics.restore(moved)
    present, home = at_home("d0alt" if lacks == "d0" else "d0"), taken.value.index
    assert present == (("swnd0", ["d0alt"], True) if lacks == "d0" else ("d0", [], True)), "all else is as it was"
    with pytest.raises(NamesTaken, match=lacks):
        nics.restore_names(moved, home)
    assert at_home(present[0]) == present, "nothing is done to it meanwhile"
    ip(NODE, f"link del {lacks}")
    assert nics.restore_names(moved, home)
    assert at_home("d0") == ("d0", ["d0alt"], True)


@pytest.mark.usefixtures("cards")
def test_devices_that_swapped_their_names_have_their_own_in_the_end(nics: NodeNics) -> None:
    one, two = hardware("d0", "0000:04:00.0"), hardware("d1", "0000:04:00.1")
    places = to_pod(nics, one), to_pod(nics, two, OTHER)
    for netns, name in ((POD, "d1"), (OTHER, "d0")):
        ip(netns, f"link set net1 down name {name} netns {NODE}")
    nics.bring_home(one, f"/run/netns/{POD}", places[0], 1.0)
    with pytest.raises(NamesTaken, match="the name d0 is another device's") as taken:
        nics.restore(one)
    nics.bring_home(two, f"/run/netns/{OTHER}", places[1], 1.0)
    nics.restore(two)
    assert nics.restore_names(one, taken.value.index)
    assert (at_home("d0")[1], at_home("d1")[1]) == (["d0alt"], ["d1alt"])


def test_software_whose_name_is_taken_is_known_by_its_number(nics: NodeNics) -> None:
    card = hardware("d0", "nothing")
    peer = next(one["ifindex"] for one in json.loads(ip(NODE, "-j link")) if one["ifname"] == "d0x")
    moved = replace(card, parent="", below=peer)
    of_pod = to_pod(nics, moved)
    ip(NODE, "link add d0alt type bridge")
    assert nics.bring_home(moved, f"/run/netns/{POD}", of_pod, 1.0)
    with pytest.raises(NamesTaken) as taken:
        nics.restore(moved)
    ip(NODE, "link del d0alt")
    assert nics.restore_names(moved, taken.value.index)
    assert at_home("d0") == ("d0", ["d0alt"], True)
    ip(NODE, "link del d0")
    assert not nics.restore_names(moved, taken.value.index), "it is gone"


def test_a_device_of_an_unreadable_name_is_no_pods(nics: NodeNics) -> None:
    ip(NODE, "link add d0 type veth peer name d1")
    ip(NODE, "link property add dev d0 altname spare0")
    subprocess.run([b"ip", b"-n", NODE.encode(), b"link", b"set", b"d0", b"name", b"\xff\xfa"], check=True)
    with pytest.raises(DeviceRefused, match="is no UTF-8; rename"):
        nics.look(NicSpec(NicKind.HOST_DEVICE, "spare0"))
