"""Which devices get the XDP program and how, and what is told where one gets none."""

import errno
import socket
import subprocess
from pathlib import Path
from threading import RLock

import pytest

from agent.compile.desired import Desired
from agent.errors import AgentError
from agent.kernel.net import vlan_offload
from agent.kernel.net.vlan_offload import FOLDER, VlanOffload
from agent.kernel.programs.load import Loaded
from agent.kernel.programs.xdp import XdpLinks, XdpMode
from agent.kernel.xdp import XdpPart, allowed
from agent.model.cluster import Cluster
from agent.model.denied import Denied
from agent.model.local import Device
from agent.options.choices import Xdp
from maps.pins import PinRoot
from tests.agent.kernel.conftest import Tiny
from tests.agent.kernel.nets import in_new_netns
from tests.agent.kernel.programs.test_attach import SIZES

NATIVE, GENERIC = XdpMode.NATIVE, XdpMode.GENERIC
DENIED = Denied(bytes(24), bytes(4))


@pytest.mark.parametrize(
    ("option", "kind", "driver", "modes"),
    [
        pytest.param(Xdp.AUTO, "", "mlx5_core", (NATIVE,), id="hardware by its driver"),
        pytest.param(Xdp.AUTO, "bond", "", (NATIVE,), id="a bond as its devices"),
        pytest.param(Xdp.AUTO, "veth", "", (), id="a veth not by itself: its frames may have no checksums"),
        pytest.param(Xdp.AUTO, "tun", "", (), id="nor a tap"),
        pytest.param(Xdp.AUTO, "", "vif", (), id="nor Xen's"),
        pytest.param(Xdp.NATIVE, "veth", "", (NATIVE,), id="a veth where it is asked for"),
        pytest.param(Xdp.GENERIC, "veth", "", (GENERIC,), id="where generic is asked for, by the kernel"),
        pytest.param(Xdp.GENERIC, "", "e1000e", (NATIVE, GENERIC), id="but rather by the driver"),
        pytest.param(Xdp.OFF, "", "mlx5_core", (), id="off"),
    ],
)
def test_how_a_device_may_have_it(option: Xdp, kind: str, driver: str, modes: tuple[XdpMode, ...]) -> None:
    assert allowed(option, Device(1, "eth0", kind=kind), driver) == modes


@pytest.mark.parametrize(
    ("serves", "denied", "found"),
    [
        pytest.param(True, Denied(), True, id="the uplinks where we serve"),
        pytest.param(False, Denied(), False, id="none where another proxy balances services"),
        pytest.param(False, DENIED, True, id="unless something is to be denied"),
    ],
)
def test_which_devices_are_to_have_it(tmp_path: Path, *, serves: bool, denied: Denied, found: bool) -> None:
    uplinks = (Device(1, "eth0"),)
    desired = Desired(synced=True, uplinks=uplinks, source=Cluster(denied=denied))
    part = XdpPart(
        XdpLinks(tmp_path, {}, RLock()), VlanOffload(tmp_path), Xdp.AUTO, has_moved=lambda: True, serves=serves
    )
    wanted = part.wanted(desired)
    assert wanted is not None
    assert wanted.uplinks == (uplinks if found else ())
    assert part.wanted(Desired()) is None


class Node:
    """A namespace's devices with the part, and how it is brought to what is wanted."""

    def __init__(self, root: Path, state: Path, tiny: Tiny) -> None:
        (root / "links").mkdir(exist_ok=True)
        self.loaded = Loaded(tiny(1), PinRoot(root).generation("one"), SIZES)
        self.links = XdpLinks(root / "links", self.loaded.programs, RLock())
        self.vlans = VlanOffload(state)
        self.has_moved = True

    def apply(self, option: Xdp, *devices: Device, denied: Denied | None = None) -> str:
        """What stood in the way; empty: nothing did."""
        part = XdpPart(self.links, self.vlans, option, has_moved=lambda: self.has_moved)
        wanted = part.wanted(Desired(synced=True, uplinks=devices, source=Cluster(denied=denied or Denied())))
        assert wanted is not None
        try:
            list(part.apply(wanted))
        except AgentError as error:
            return str(error)
        return ""


def _made(name: str, *kind: str) -> Device:
    subprocess.run(["ip", "link", "add", name, "type", *kind], check=True)
    return Device(socket.if_nametoindex(name), name, mtu=1500, kind=kind[0])


def _takes_tags_off(name: str) -> bool:
    shown = subprocess.run(["ethtool", "-k", name], check=True, capture_output=True, text=True).stdout
    return "rx-vlan-offload: on" in shown


@pytest.mark.kernel
@pytest.mark.netns
def test_devices_get_it_keep_it_and_lose_it(pin_root: Path, tmp_path: Path, tiny: Tiny) -> None:
    def play() -> None:
        node = Node(pin_root, tmp_path, tiny)
        veth, bridge = _made("u0", "veth", "peer", "u1"), _made("d0", "bridge")
        assert node.apply(Xdp.AUTO, veth, bridge) == ""  # the one is not asked, the other refuses
        assert node.links.attached() == {}
        assert "d0" in node.apply(Xdp.NATIVE, veth, bridge)
        assert node.links.attached() == {veth.ifindex: NATIVE}
        assert not _takes_tags_off("u0")
        assert node.apply(Xdp.GENERIC, veth, bridge) == ""
        assert node.links.attached() == {veth.ifindex: GENERIC, bridge.ifindex: GENERIC}
        assert node.apply(Xdp.GENERIC, veth) == ""
        assert node.links.attached() == {veth.ifindex: GENERIC}
        assert node.apply(Xdp.OFF, veth) == ""
        assert node.links.attached() == {}
        assert _takes_tags_off("u0")
        node.loaded.close()

    in_new_netns(play)


@pytest.mark.kernel
@pytest.mark.netns
def test_no_device_gets_it_before_the_other_programs_have_its_maps(pin_root: Path, tmp_path: Path, tiny: Tiny) -> None:
    def play() -> None:
        node = Node(pin_root, tmp_path, tiny)
        veth = _made("u0", "veth", "peer", "u1")
        node.has_moved = False
        assert node.apply(Xdp.NATIVE, veth, denied=DENIED) == ""
        assert node.links.attached() == {}
        node.has_moved = True
        assert node.apply(Xdp.NATIVE, veth, denied=DENIED) == ""
        assert node.links.attached() == {veth.ifindex: NATIVE}
        node.loaded.close()

    in_new_netns(play)


@pytest.mark.kernel
@pytest.mark.netns
def test_a_device_that_lets_in_what_is_denied_is_named(pin_root: Path, tmp_path: Path, tiny: Tiny) -> None:
    def play() -> None:
        node = Node(pin_root, tmp_path, tiny)
        veth = _made("u0", "veth", "peer", "u1")
        assert "let in by u0: give --xdp generic" in node.apply(Xdp.AUTO, veth, denied=DENIED)
        assert node.apply(Xdp.GENERIC, veth, denied=DENIED) == ""
        node.loaded.close()

    in_new_netns(play)


@pytest.mark.netns
def test_cleanup_switches_on_what_was_switched_off(tmp_path: Path) -> None:
    def play() -> None:
        _made("u0", "veth", "peer", "u1")
        vlans = VlanOffload(tmp_path)
        assert vlans.switch_off("u0")
        assert vlans.switch_off("u0")  # again is no harm
        (tmp_path / FOLDER / "gone0").touch()  # of a device that left
        vlans.put_all_back()
        assert _takes_tags_off("u0")
        assert not (tmp_path / FOLDER).exists()

    in_new_netns(play)


def test_what_the_kernel_does_not_switch_on_stays_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.EPERM, "no")

    note = tmp_path / FOLDER / "u0"
    note.parent.mkdir()
    note.touch()
    monkeypatch.setattr(vlan_offload, "ethtool", refused)
    with pytest.raises(AgentError, match="on u0"):
        VlanOffload(tmp_path).put_all_back()
    assert note.exists()
