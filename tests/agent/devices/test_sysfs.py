"""What is read of a node's sysfs."""

from pathlib import Path

import pytest

from agent.devices import sysfs
from agent.kernel.device import sysfs as files
from agent.model.device import NO_NODE, Hardware
from tests.agent.devices.tree import ACCELERATOR, BRIDGE, PF, VF, Tree


def test_a_node_without_buses_has_nothing(tmp_path: Path) -> None:
    assert sysfs.read(tmp_path) == Hardware({}, {}, {})


def test_the_machine_itself_can_be_read() -> None:
    assert "lo" in sysfs.read(Path("/")).netdevs


def test_a_pf_and_its_vfs(tree: Tree) -> None:
    tree.pf(vfs=11, numa=1)
    functions = sysfs.read(tree.root).functions
    pf, vf = functions[PF], functions[VF.format(10)]
    assert (pf.pf, pf.vf, pf.total_vfs, pf.netdevs, pf.driver, pf.numa_node) == ("", None, 64, ("eth0",), "i40e", 1)
    assert pf.vfs == tuple(VF.format(number) for number in range(11)), "by their numbers, and not by their names"
    assert (vf.pf, vf.vf, vf.vfs, vf.vendor, vf.device, vf.driver) == (PF, 10, (), "8086", "154c", "iavf")
    assert (vf.iommu_group, vf.group_members) == ("40", (VF.format(10),))


def test_a_virtio_functions_device_is_that_of_its_virtio_device(tree: Tree) -> None:
    tree.function(PF, vendor="1af4", driver="virtio-pci")
    tree.netdev("eth0", PF, virtio="virtio1")
    assert sysfs.read(tree.root).functions[PF].netdevs == ("eth0",)


def test_what_stands_for_a_vf_at_the_cards_switch_is_no_device_of_the_pf(tree: Tree) -> None:
    tree.pf("ens8f1")
    tree.netdev("58609951635cbfa", PF, port="pf0vf0")
    tree.netdev("eth10", PF, port="c1pf0vf1")
    tree.netdev("eth11", PF, port="pf0sf88")
    tree.netdev("eth12", PF, port="pf0")
    tree.netdev("ens8f2", PF, port="p1")
    assert sysfs.read(tree.root).functions[PF].netdevs == ("ens8f1", "ens8f2")


def test_a_group_is_told_without_bridges(tree: Tree) -> None:
    for address, pci_class in {
        "0000:01:00.0": BRIDGE,
        "0000:02:00.0": ACCELERATOR,
        "0000:02:00.1": ACCELERATOR,
    }.items():
        tree.function(address, pci_class=pci_class, group="7")
    function = sysfs.read(tree.root).functions["0000:02:00.0"]
    assert (function.base_class, function.numa_node, function.driver) == (0x12, NO_NODE, "")
    assert function.group_members == ("0000:02:00.0", "0000:02:00.1")


def test_a_subfunction_has_a_parent_and_a_number(tree: Tree) -> None:
    folder = tree.function(PF, vendor="15b3", driver="mlx5_core") / "mlx5_core.sf.4"
    (folder / "net/en3f0s88").mkdir(parents=True)
    (folder / "sfnum").write_text("88\n")
    bus = tree.root / "sys/bus/auxiliary/devices"
    bus.mkdir(parents=True)
    (bus / folder.name).symlink_to(folder)
    found = sysfs.read(tree.root).subfunctions["mlx5_core.sf.4"]
    assert (found.kind, found.number, found.parent, found.netdevs) == ("sf", 88, PF, ("en3f0s88",))


def test_links_are_up_or_down_and_the_nodes_own_or_not(tree: Tree) -> None:
    tree.function(PF, driver="virtio_net")
    tree.netdev("eth0", PF)
    tree.netdev("eth1", is_up=False)
    tree.netdev("eth2", carrier=False, kind=32)
    tree.default_route("eth0")
    six = "00000000000000000000000000000000"
    line = f"{six} 00 {six} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth2\n"
    (tree.root / "proc/net/ipv6_route").write_text(line)
    (tree.root / "sys/class/net/bonding_masters").write_text("\n")
    found = sysfs.read(tree.root).netdevs
    assert [*found] == ["eth0", "eth1", "eth2"]
    assert [(one.is_up, one.has_carrier) for one in found.values()] == [(True, True), (False, False), (True, False)]
    assert [one.has_default_route for one in found.values()] == [True, False, True]
    assert [one.link_type for one in found.values()] == ["ether", "ether", "infiniband"]
    assert [one.driver for one in found.values()] == ["virtio_net", "", ""]


def test_a_file_that_goes_while_it_is_read_is_an_empty_one(tree: Tree) -> None:
    folder = tree.function(PF, driver="i40e")
    for name in ("vendor", "class", "numa_node"):
        (folder / name).unlink()
    function = sysfs.read(tree.root).functions[PF]
    assert (function.vendor, function.base_class, function.numa_node) == ("", 0, NO_NODE)


def test_a_pf_of_many_vfs_is_read_once_and_not_for_each_of_them(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.pf(vfs=8)
    followed: list[Path] = []

    def noted(link: Path) -> str:
        followed.append(link)
        return target(link)

    target = files.target
    monkeypatch.setattr(sysfs, "target", noted)
    assert [one.vf for one in sysfs.read(tree.root).functions.values()] == [None, *range(8)]
    assert sum(link.name.startswith("virtfn") for link in followed) == 8
