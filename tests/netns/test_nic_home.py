"""A device of the node that pods have themselves is what it was when it is home, whatever its pod has made of it.

Ends of veths stand for NICs: their aliases say what the kernel says of a PCI function's device.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from agent.kernel.device.netdev import Movable, NamesTaken
from agent.kernel.device.nic import HostDevice, NodeNics
from agent.kernel.device.pci import DeviceRefused
from agent.model.netdev import Netdev
from agent.model.nic import NicKind, NicSpec
from agent.netlink import nic_requests
from agent.netlink.dump import Dump
from agent.netlink.netdev_requests import netdevs
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


def spare(dump: Dump) -> Netdev | None:
    """A device that keeps nothing by which it could be known."""
    return next((one for one in netdevs(dump) if one.name not in {"lo", "d0x"}), None)


def shown(name: str) -> dict[str, Any]:
    """All that a device of the node is, but for its number."""
    (found,) = json.loads(ip(NODE, f"-d -j link show {name}"))
    return {key: value for key, value in found.items() if key != "ifindex"}


SETTINGS = [
    pytest.param("", id="as it was made"),
    pytest.param("arp off multicast off promisc on allmulticast on alias spare group 7 txqueuelen 70", id="set"),
    pytest.param("gso_max_size 30000 gso_max_segs 30 gro_max_size 30000 broadcast 02:00:00:00:00:88", id="sizes"),
]
MADE_OF_IT = (
    "address 02:00:00:00:00:77 broadcast 02:00:00:00:00:99 mtu 1300 alias mine",
    "multicast off arp off promisc on allmulticast on group 77 txqueuelen 1 mode dormant",
    "gso_max_size 1500 gso_max_segs 1 gro_max_size 1400",
)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("made_of_it", [MADE_OF_IT, (), ("arp on multicast on promisc off txqueuelen 1000 group 0",)])
def test_nothing_that_a_pod_set_stays(settings: str, made_of_it: tuple[str, ...]) -> None:
    ip(NODE, "link add d0 type veth peer name d0x")
    ip(NODE, f"link set d0 up {settings}")
    before, movable = shown("d0"), Movable("d0", "swnd0", spare, spare)
    was = movable.await_home()
    path, there = f"/run/netns/{POD}", cookie(POD)
    movable.to_pod(path, there, "net1", 1500)
    for words in made_of_it:
        ip(POD, f"link set net1 {words}")
    movable.bring_home(path, there)
    home = movable.restore(was)
    assert shown("d0") == before
    assert replace(home, index=was.index) == was


def test_what_an_older_agent_did_not_note_is_left() -> None:
    ip(NODE, "link add d0 type veth peer name d0x")
    ip(NODE, "link set d0 group 7")
    movable = Movable("d0", "swnd0", spare, spare)
    movable.restore(replace(movable.await_home(), settings=None))
    assert shown("d0")["group"] == "7"


def test_a_device_of_an_unreadable_name_is_no_pods(nics: NodeNics) -> None:
    ip(NODE, "link add d0 type veth peer name d1")
    ip(NODE, "link property add dev d0 altname spare0")
    subprocess.run([b"ip", b"-n", NODE.encode(), b"link", b"set", b"d0", b"name", b"\xff\xfa"], check=True)
    with pytest.raises(DeviceRefused, match="is no UTF-8; rename"):
        nics.look(NicSpec(NicKind.HOST_DEVICE, "spare0"))
