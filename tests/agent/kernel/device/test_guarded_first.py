"""A device is guarded before its pod has it: who waits there, sets it up at once and sends, sends past no policy.

The shipped programs and real namespaces; the end of a veth stands for a NIC and for a VF, whose alias says what the
kernel says of a PCI function's device. The guest of ``tests/fastpath`` has real VFs, and the kinds that are not here.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.compile.vf import Change
from agent.kernel.device.nic import NodeNics
from agent.kernel.device.pci import PciBus
from agent.kernel.device.sriov import SriovCard
from agent.kernel.device.vf_programs import VfPrograms
from agent.kernel.programs.load import Loaded
from agent.model.name import ObjectName
from agent.model.nic import MacvlanMode, NicKind, NicSpec
from agent.model.vf import Vf, VfKind, VfSettings, VfSpec
from agent.netlink import netdev_requests
from agent.netlink.dump import Dump
from agent.netlink.netdev_requests import netdev_of
from agent.netlink.netns import inside
from agent.netlink.rtnetlink import IFLA_IFALIAS
from agent.pods.device.guards import Guards
from agent.pods.device.hardware import Hardware
from agent.pods.known import KnownAttachments
from agent.pods.nic.nics import Nics
from agent.pods.nic.record import nic_journal
from agent.pods.nic.request import NicRequest
from agent.pods.vf.files import VfFiles
from agent.pods.vf.record import vf_journal
from agent.pods.vf.request import VfRequest
from agent.pods.vf.vfs import Vfs
from maps import paths
from maps.pins import PinRoot
from tests.agent.kernel.device.hostile import came, hostile, listening
from tests.agent.kernel.device.vf_maps import RULES, SIZES, VfMaps
from tests.agent.pods.vf.vf_card import SETTINGS, FakeIpam

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

NODE, POD, OUTSIDE = (f"swgd{os.getpid()}{which}" for which in "npx")
PATH = f"/run/netns/{POD}"
PCI, MAC, PEER_MAC = "0000:03:02.0", "02:00:00:00:09:02", "02:00:00:00:09:09"
OWN, PEER = "10.9.0.2", "10.9.0.9"
ROUNDS = 8
Rounds = Callable[[], None]


def ip(netns: str, words: str) -> None:
    subprocess.run(["ip", "-n", netns, *words.split()], check=True)


class WireCard(SriovCard):
    """A card whose VF is the end of a veth; it has nothing that could be set."""

    def look(self, address: str) -> Vf:
        """As the card's."""
        with Dump() as dump:
            found = netdev_of(dump, address)
        return Vf(address, "0000:03:00.0", "pf0", "fake", 1500, 0, "fakevf", "", SETTINGS, found)

    def set(self, address: str, change: Change) -> None:
        """As the card's."""

    def bind(self, address: str, driver: str, override: str) -> None:
        """As the card's."""


@dataclass
class World:
    """A node with a device n0, whose other end is outside, and a pod."""

    state: Path
    guards: Guards

    def nic(self, spec: NicSpec) -> Rounds:
        """A round of a device of the node: ADD and DEL."""
        journal = nic_journal(self.state, "boot")
        agent = Nics(NodeNics(), journal, FakeIpam(), guards=self.guards, hardware=Hardware(), clock=lambda: 1)
        request = NicRequest(spec, "lan", "c1", "net1", PATH, ObjectName("default", "web"))
        return lambda: _round(agent, request)

    def vf(self) -> Rounds:
        """The same of a VF."""
        files, card = VfFiles(self.state / "run"), WireCard(PciBus(self.state))
        agent = Vfs(card, vf_journal(self.state, "boot"), FakeIpam(), files, guards=self.guards, clock=lambda: 1)
        spec = VfSpec(VfKind.NETDEV, VfSettings())
        request = VfRequest(spec, "fast", "c1", "net1", PATH, ObjectName("default", "web"), address=PCI)
        return lambda: _round(agent, request)


def _round(agent: Nics | Vfs, request: NicRequest | VfRequest) -> None:
    assert agent.add(request).slot  # type: ignore[arg-type]
    time.sleep(0.05)  # a while for the pod
    assert agent.delete(request.key)


@pytest.fixture
def world(tmp_path: Path, pin_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in (NODE, POD, OUTSIDE):
        subprocess.run(["ip", "netns", "add", name], check=True)
    ip(NODE, f"link add n0 address {MAC} type veth peer name n1 address {PEER_MAC} netns {OUTSIDE}")
    ip(NODE, f"link set n0 up alias {PCI}")
    ip(OUTSIDE, "link set n1 up")
    monkeypatch.setattr(netdev_requests, "IFLA_PARENT_DEV_NAME", IFLA_IFALIAS)
    path = paths.objects() / "tc_vf.bpf.o"
    loaded = Loaded({"tc_vf": path}, PinRoot(pin_root).generation("one"), SIZES)
    maps = VfMaps(loaded.generation.maps, born=RULES)
    maps.fill(())
    programs = VfPrograms(loaded.of_interface(path, SIZES), PinRoot(pin_root).vfs)
    with inside(f"/run/netns/{NODE}"):
        yield World(tmp_path, Guards(KnownAttachments(), maps, programs))
    loaded.close()
    for name in (NODE, POD, OUTSIDE):
        subprocess.run(["ip", "netns", "del", name], check=True)


PASSTHRU = MacvlanMode.PASSTHRU


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(lambda world: world.nic(NicSpec(NicKind.MACVLAN, "n0")), id="macvlan"),
        pytest.param(lambda world: world.nic(NicSpec(NicKind.MACVLAN, "n0", macvlan_mode=PASSTHRU)), id="passthru"),
        pytest.param(lambda world: world.nic(NicSpec(NicKind.HOST_DEVICE, "n0")), id="host-device"),
        pytest.param(lambda world: world.vf(), id="VF"),
    ],
)
def test_nothing_that_policy_denies_leaves_a_pod_that_waits_for_its_device(
    world: World, rounds: Callable[[World], Rounds]
) -> None:
    one_round = rounds(world)
    denied = allowed = 0
    with listening(f"/run/netns/{OUTSIDE}", "n1") as wire, hostile(PATH, PEER_MAC, OWN, PEER):
        for _ in range(ROUNDS):
            one_round()
            counted = came(wire)
            denied, allowed = denied + counted[0], allowed + counted[1]
    assert allowed, "it has sent"
    assert denied == 0
