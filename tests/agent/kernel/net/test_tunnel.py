"""The device that encapsulates, in a namespace of its own."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from agent.compile.tunnel import NAME, DeviceKind, Tunnel, TunnelLinks
from agent.errors import AgentError
from agent.kernel.net.sysctl import Sysctls
from agent.kernel.net.tunnel import TunnelDevice, has_kind
from tests.agent.kernel.nets import in_new_netns

pytestmark = pytest.mark.netns

WANTED = Tunnel(DeviceKind.VXLAN, 8472, 1450)
IPIP = Tunnel(DeviceKind.VETH, 0, 1480)


def _ip(words: str) -> str:
    return subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True).stdout


def test_it_is_made_as_wanted_and_removed(tmp_path: Path) -> None:
    def play() -> tuple[str, str]:
        with IPRoute() as netlink:
            device = TunnelDevice(netlink, Sysctls(tmp_path))
            device.sync(WANTED)
            shown = _ip(f"-d link show {NAME}")
            assert device.remove()
            assert not device.remove()
            return shown, _ip("-br link")

    shown, left = in_new_netns(play)
    for words in ("vxlan external", "dstport 8472", "NOARP,UP", "mtu 1450", "ee:ee:ee:ee:ee:ee", "udp6zerocsumrx"):
        assert words in shown
    assert NAME not in left


def test_what_is_right_stays_what_can_be_changed_is_and_the_rest_is_made_anew(tmp_path: Path) -> None:
    def play() -> tuple[TunnelLinks, TunnelLinks, TunnelLinks, TunnelLinks]:
        with IPRoute() as netlink:
            device = TunnelDevice(netlink, Sysctls(tmp_path))
            first, same = device.sync(WANTED), device.sync(WANTED)
            _ip(f"link set {NAME} down mtu 1300")
            repaired = device.sync(replace(WANTED, mtu=1400))
            assert "mtu 1400" in _ip(f"link show {NAME} up")
            return first, same, repaired, device.sync(replace(WANTED, port=4789))

    first, same, repaired, moved = in_new_netns(play)
    assert first == same == repaired != moved


def test_one_mode_follows_another_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    def play() -> tuple[str, str, str]:
        with IPRoute() as netlink:
            device = TunnelDevice(netlink, Sysctls(tmp_path))
            device.sync(WANTED)
            first, same = device.sync(IPIP), device.sync(IPIP)
            assert first == same
            pair = _ip("-d link show")
            device.sync(WANTED)
            back = _ip("-d link show")
            device.sync(IPIP)
            assert device.remove()
            return pair, back, _ip("-br link")

    pair, back, left = in_new_netns(play)
    assert f"{NAME}@{NAME}-peer: <BROADCAST,MULTICAST,NOARP,UP,LOWER_UP> mtu 1480" in pair
    assert "vxlan" not in pair
    assert "vxlan external" in back
    assert f"{NAME}-peer" not in back
    assert NAME not in left


def test_a_kind_is_asked_for_and_nothing_is_left() -> None:
    def play() -> tuple[bool, bool, str]:
        with IPRoute() as netlink:
            has_kind(netlink, DeviceKind.GENEVE)
            return has_kind(netlink, DeviceKind.VXLAN), has_kind(netlink, "nosuchkind"), _ip("-br link")  # type: ignore[arg-type]

    has_vxlan, has_nothing, left = in_new_netns(play)
    assert has_vxlan
    assert not has_nothing
    assert left.split()[0] == "lo"
    assert "swprobe" not in left


def test_another_programs_device_of_that_name_is_left_alone(tmp_path: Path) -> None:
    def play() -> str:
        _ip(f"link add {NAME} type bridge")
        with IPRoute() as netlink:
            device = TunnelDevice(netlink, Sysctls(tmp_path))
            assert not device.remove()
            with pytest.raises(AgentError, match="not ours"):
                device.sync(WANTED)
        return _ip("-br link")

    assert NAME in in_new_netns(play)


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    def play() -> None:
        _ip("link add other up type vxlan id 9 dstport 8472 local 127.0.0.1")
        with IPRoute() as netlink:
            TunnelDevice(netlink, Sysctls(tmp_path)).sync(WANTED)

    with pytest.raises(AgentError, match="port 8472 is taken"):
        in_new_netns(play)
