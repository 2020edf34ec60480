"""Which device is which resource's, in what state, and what a user is told of it."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from agent.devices import sysfs
from agent.devices.allocation import Unavailable, allocate
from agent.devices.candidates import remembered
from agent.devices.config import Resource, parse
from agent.devices.pools import Pools, arrange
from tests.agent.devices.tree import ACCELERATOR, PF, VF, Tree

PF1 = "0000:04:00.0"
VFS = tuple(VF.format(number) for number in range(4))
VFS1 = tuple(f"0000:04:02.{number}" for number in range(4))


def resources(*given: Mapping[str, Any]) -> tuple[Resource, ...]:
    """Resources called a, b and so on."""
    named = [{"resourceName": name, **one} for name, one in zip("abc", given, strict=False)]
    found, problems = parse(json.dumps({"resourceList": named}).encode(), "x.io")
    assert not problems
    return found


def selecting(**selector: Any) -> tuple[Resource, ...]:
    """One resource of one selector."""
    return resources({"selectors": selector})


def ids(pools: Pools) -> list[list[str]]:
    """The devices of each pool."""
    return [[device.id for device in pool.devices] for pool in pools.pools]


def troubles(pools: Pools) -> dict[str, str]:
    """Why devices are unhealthy."""
    return {device.id: device.trouble for pool in pools.pools for device in pool.devices if device.trouble}


@pytest.fixture
def node(tree: Tree) -> Tree:
    """Two PFs of four VFs, of which one's are for DPDK; the node's own NIC; an accelerator."""
    tree.pf("eth0", PF)
    tree.pf("eth1", PF1, driver="vfio-pci", numa=1)
    tree.function("0000:05:00.0", vendor="15b3", device="1017", driver="mlx5_core")
    tree.netdev("ens1", "0000:05:00.0")
    tree.function("0000:06:00.0", vendor="1af4", device="1000", driver="virtio-pci")
    tree.netdev("mgmt", "0000:06:00.0", virtio="virtio0")
    tree.default_route("mgmt")
    tree.function("0000:07:00.0", pci_class=ACCELERATOR, device="0d90", driver="vfio-pci", group="3")
    (tree.folder("0000:07:00.0") / "acpi_index").write_text("101\n")
    return tree


NIC = "0000:05:00.0"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, [*VFS, *VFS1, NIC], id="all: neither PFs with VFs nor what the node lives by"),
        pytest.param({"vendors": ["15b3"]}, [NIC], id="a vendor"),
        pytest.param({"vendors": ["15b3", "8086"], "devices": ["154c"]}, [*VFS, *VFS1], id="keys agree, values choose"),
        pytest.param({"drivers": ["vfio-pci"]}, [*VFS1], id="a driver"),
        pytest.param({"pfNames": ["eth0"]}, [*VFS], id="a PF's VFs"),
        pytest.param({"pfNames": ["eth0#0-1,3", "eth1#2"]}, [*VFS[:2], VFS[3], VFS1[2]], id="some VFs of two PFs"),
        pytest.param({"pfNames": ["ens1"]}, [NIC], id="a device without VFs is its own PF"),
        pytest.param({"pfNames": ["ens1#0"]}, [], id="which is none of its VFs"),
        pytest.param({"rootDevices": [f"{PF1}#0"]}, [VFS1[0]], id="a PF by its address"),
        pytest.param({"pciAddresses": [VFS[1], NIC]}, [VFS[1], NIC], id="addresses"),
        pytest.param({"pciAddresses": [PF]}, [], id="a PF that has VFs is nobody's"),
        pytest.param({"linkTypes": ["infiniband"]}, [], id="a link type that none has"),
        pytest.param({"linkTypes": ["ether"], "drivers": ["vfio-pci"]}, [*VFS1], id="the PF's link is the VF's"),
        pytest.param({"acpiIndexes": ["101"]}, [], id="another type's index"),
    ],
)
def test_selectors_of_network_functions(node: Tree, given: dict[str, Any], expected: list[str]) -> None:
    pools = arrange(selecting(**given), sysfs.read(node.root), {}, {})
    assert ids(pools) == [sorted(expected)]
    assert not pools.problems
    assert not troubles(pools)


def test_several_selectors_are_added_up(node: Tree) -> None:
    pools = arrange(
        resources({"selectors": [{"pfNames": ["eth0#0"]}, {"vendors": ["15b3"]}]}), sysfs.read(node.root), {}, {}
    )
    assert ids(pools) == [[VFS[0], NIC]]


def test_accelerators_are_functions_of_another_class(node: Tree) -> None:
    given = resources({"deviceType": "accelerator", "selectors": {"acpiIndexes": ["101"], "vendors": ["8086"]}})
    assert ids(arrange(given, sysfs.read(node.root), {}, {})) == [["0000:07:00.0"]]


def test_subfunctions_are_found_by_their_parents_and_numbers(node: Tree) -> None:
    bus = node.root / "sys/bus/auxiliary/devices"
    bus.mkdir(parents=True)
    for number, kind in enumerate(("sf", "sf", "eth"), 2):
        folder = node.folder(NIC) / f"mlx5_core.{kind}.{number}"
        folder.mkdir()
        (folder / "sfnum").write_text(f"{number}\n")
        (folder / "driver").symlink_to(node.root / "sys/bus/auxiliary/drivers/mlx5_core.sf")
        (bus / folder.name).symlink_to(folder)
    given = resources({"deviceType": "auxNetDevice", "selectors": {"pfNames": ["ens1#2,4"], "auxTypes": ["sf"]}})
    assert ids(arrange(given, sysfs.read(node.root), {}, {})) == [["mlx5_core.sf.2"]]


def test_slots_are_counted(node: Tree) -> None:
    pools = arrange(resources({"deviceType": "afxdp", "count": 11}), sysfs.read(node.root), {}, {})
    assert ids(pools) == [[f"a-{number}" for number in range(11)]]


@pytest.mark.parametrize(
    ("stacked", "way_out"),
    [
        pytest.param({"bond0": ["ens1", "mgmt"]}, "bond0", id="a bond"),
        pytest.param({"br0": ["ens1"]}, "br0", id="a bridge"),
        pytest.param(
            {"bond0": ["ens1", "mgmt"], "bond0.7": ["bond0"], "br7": ["bond0.7"]},
            "br7",
            id="a VLAN of a bond, bridged",
        ),
    ],
)
def test_nobody_has_what_the_node_lives_by_in_whatever_order(
    node: Tree, stacked: dict[str, list[str]], way_out: str
) -> None:
    given = selecting(pfNames=["ens1"])
    offered = arrange(given, sysfs.read(node.root), {}, {})
    assert ids(offered) == [[NIC]]
    for name, below in stacked.items():
        node.netdev(name)
        node.stack(name, *below)
    for leaves_by, why in (
        ("mgmt", f"{next(iter(stacked))} of the node would lose ens1"),
        (way_out, "the node's default route leaves by ens1"),
    ):
        node.default_route(leaves_by)
        hardware = sysfs.read(node.root)
        assert ids(arrange(given, hardware, {}, {})) == [[]]
        assert troubles(arrange(given, hardware, {}, offered.owners)) == {NIC: why}


def test_a_vf_in_a_bridge_is_nobodys_until_it_is_out_of_it(node: Tree) -> None:
    node.netdev("ens1v0", VFS[0])
    node.netdev("br0")
    given = selecting(pfNames=["eth0#0-1"])
    offered = arrange(given, sysfs.read(node.root), {}, {})
    assert (ids(offered), troubles(offered)) == ([[*VFS[:2]]], {})
    node.stack("br0", "ens1v0")
    ported = arrange(given, sysfs.read(node.root), {}, offered.owners)
    assert troubles(ported) == {VFS[0]: "br0 of the node would lose ens1v0"}
    with pytest.raises(Unavailable, match="br0 of the node would lose ens1v0"):
        allocate(given[0], [VFS[0]], sysfs.read(node.root), node.root)
    assert ids(arrange(given, sysfs.read(node.root), {}, {})) == [[VFS[1]]]
    node.unstack("br0", "ens1v0")
    assert arrange(given, sysfs.read(node.root), {}, ported.owners) == offered


def test_nobody_has_a_device_of_a_route_with_several(node: Tree) -> None:
    """Of which proc tells the first."""
    hardware = sysfs.read(node.root, ["mgmt", "ens1"])
    assert ids(arrange(selecting(vendors=["15b3", "1af4"]), hardware, {}, {})) == [[]]


def test_memory_nodes_are_told_unless_they_are_excluded(node: Tree) -> None:
    one = {"selectors": {"pfNames": ["eth1#0"]}}
    for excluded, expected in ((False, 1), (True, -1)):
        [pool] = arrange(resources({**one, "excludeTopology": excluded}), sysfs.read(node.root), {}, {}).pools
        assert [device.numa_node for device in pool.devices] == [expected]


def test_who_is_first_has_what_two_select_and_the_user_hears_of_it(node: Tree) -> None:
    given = resources({"selectors": {"pfNames": ["eth0#1"]}}, {"selectors": {"pfNames": ["eth0#0-1"]}})
    pools = arrange(given, sysfs.read(node.root), {}, {})
    assert ids(pools) == [[VFS[1]], [VFS[0]]]
    [problem] = pools.problems
    assert (problem.name.name, problem.text) == (
        "x.io/b",
        f"{VFS[1]}: x.io/a, which is before it, has them too, and keeps them",
    )


def test_a_pf_that_is_not_there_is_a_problem_until_it_comes(node: Tree) -> None:
    given = selecting(pfNames=["eth0#0", "eth9"], rootDevices=[PF, "0000:09:00.0"])
    pools = arrange(given, sysfs.read(node.root), {}, {})
    assert ids(pools) == [[VFS[0]]]
    assert [problem.field for problem in pools.problems] == ["selectors.pfNames", "selectors.rootDevices"]
    assert "no network device eth9" in pools.problems[0].text
    node.pf("eth9", "0000:09:00.0")
    assert not arrange(given, sysfs.read(node.root), {}, {}).problems


def test_a_port_of_the_cards_switch_is_not_the_pfs_link(node: Tree) -> None:
    node.netdev("eth0_0", PF, port="pf0vf0")
    node.link("eth0", is_up=False)
    found = arrange(selecting(pfNames=["eth0"]), sysfs.read(node.root), {}, {})
    assert troubles(found) == dict.fromkeys(VFS, "eth0 is down")
    assert ids(arrange(selecting(pfNames=["eth0_0"]), sysfs.read(node.root), {}, {})) == [[]]


def test_what_the_kubelet_has_given_stays_where_it_was_given_from(node: Tree) -> None:
    given = resources({"selectors": {"pfNames": ["eth0#0"]}}, {"selectors": {"vendors": ["8086"]}})
    pools = arrange(given, sysfs.read(node.root), {VFS[0]: "x.io/b", VFS[1]: "x.io/gone"}, {})
    assert ids(pools)[0] == []
    assert VFS[0] in ids(pools)[1]
    assert VFS[1] in ids(pools)[1], "a resource that is not configured any more has nothing"


def test_a_device_that_is_for_another_resource_now_moves_there(node: Tree) -> None:
    given = resources({"selectors": {"drivers": ["iavf"]}}, {"selectors": {"drivers": ["vfio-pci"]}})
    before = arrange(given, sysfs.read(node.root), {}, {})
    node.bind(VFS[0], "vfio-pci")
    after = arrange(given, sysfs.read(node.root), {}, before.owners)
    assert ids(after) == [[*VFS[1:]], [VFS[0], *VFS1]]


def test_a_nic_that_is_in_a_pod_stays_selected_by_its_name(node: Tree) -> None:
    given = resources({"selectors": {"pfNames": ["ens1"]}}, {"selectors": {"vendors": ["15b3"]}})
    before = sysfs.read(node.root)
    node.hide("ens1")
    after = remembered(sysfs.read(node.root), before)
    pools = arrange(given, after, {}, {})
    assert ids(pools) == [[NIC], []]
    assert not troubles(pools)


Change = Callable[[Tree], None]


@pytest.mark.parametrize(
    ("driver", "change", "device", "why", "back"),
    [
        pytest.param(
            "iavf",
            lambda node: node.link("eth0", carrier=False),
            VFS[0],
            "eth0 has no carrier",
            lambda node: node.link("eth0"),
            id="the PF's link",
        ),
        pytest.param(
            "iavf",
            lambda node: node.link("eth0", is_up=False),
            VFS[0],
            "eth0 is down",
            lambda node: node.link("eth0"),
            id="the PF is down",
        ),
        pytest.param(
            "vfio-pci",
            lambda node: node.bind(VFS1[0], ""),
            VFS1[0],
            "no driver is bound, not vfio-pci",
            lambda node: node.bind(VFS1[0], "vfio-pci"),
            id="a driver is gone",
        ),
        pytest.param(
            "vfio-pci",
            lambda node: node.bind(VFS1[0], "iavf"),
            VFS1[0],
            "iavf is bound, not vfio-pci",
            lambda node: node.bind(VFS1[0], "vfio-pci"),
            id="another driver",
        ),
        pytest.param(
            "iavf",
            lambda node: node.remove(VFS[0]),
            VFS[0],
            "it is not on the PCI bus",
            lambda node: (node.root / "sys/bus/pci/devices" / VFS[0]).symlink_to(node.folder(VFS[0])),
            id="the device",
        ),
        pytest.param(
            "vfio-pci",
            lambda node: (node.folder(VFS1[0]) / "iommu_group").unlink(),
            VFS1[0],
            "it has no IOMMU group; switch the IOMMU on",
            lambda node: node.group(VFS1[0], "99"),
            id="the IOMMU",
        ),
    ],
)
def test_health_follows_what_is_there_and_recovers(
    node: Tree, driver: str, change: Change, device: str, why: str, back: Change
) -> None:
    given = selecting(drivers=[driver])
    healthy = arrange(given, sysfs.read(node.root), {}, {})
    assert not troubles(healthy)
    change(node)
    ill = arrange(given, sysfs.read(node.root), {}, healthy.owners)
    assert troubles(ill)[device] == why
    assert ids(ill) == ids(healthy)
    back(node)
    assert arrange(given, sysfs.read(node.root), {}, ill.owners) == healthy


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(
            lambda node: node.default_route("ens1"), "the node's default route leaves by ens1", id="the node's way out"
        ),
        pytest.param(lambda node: node.vf(NIC), "it has VFs, which live by it", id="a PF of VFs"),
    ],
)
def test_what_was_offered_is_the_nodes_as_soon_as_it_lives_by_it(node: Tree, change: Change, why: str) -> None:
    given = selecting(vendors=["15b3"])
    before = arrange(given, sysfs.read(node.root), {}, {})
    change(node)
    after = arrange(given, sysfs.read(node.root), {}, before.owners)
    assert (ids(after), troubles(after)) == ([[NIC]], {NIC: why})


def test_what_a_changed_configuration_does_not_select_goes_when_its_pod_has_gone(node: Tree) -> None:
    given = selecting(pfNames=["eth0#0-1"])
    hardware = sysfs.read(node.root)
    in_use = arrange(given, hardware, {VFS[3]: "x.io/a"}, {})
    assert ids(in_use) == [[*VFS[:2], VFS[3]]]
    assert ids(arrange(given, hardware, {}, in_use.owners)) == [[*VFS[:2]]]


def test_slots_beyond_a_smaller_count_go_when_their_pods_have_gone(node: Tree) -> None:
    given = resources({"deviceType": "afxdp", "count": 2})
    in_use = arrange(given, sysfs.read(node.root), {"a-7": "x.io/a"}, {})
    assert ids(in_use) == [["a-0", "a-1", "a-7"]]
    assert ids(arrange(given, sysfs.read(node.root), {}, in_use.owners)) == [["a-0", "a-1"]]


def test_a_nic_in_a_pod_stays_its_resources_before_the_kubelet_says_so(node: Tree) -> None:
    """Its link's type cannot be seen from here."""
    given = selecting(vendors=["15b3"], linkTypes=["ether"])
    before = sysfs.read(node.root)
    owners = arrange(given, before, {}, {}).owners
    node.hide("ens1")
    pools = arrange(given, remembered(sysfs.read(node.root), before), {}, owners)
    assert (ids(pools), troubles(pools)) == ([[NIC]], {})


def test_a_function_that_shares_its_iommu_group_is_nobodys(node: Tree) -> None:
    for address in ("0000:08:00.0", "0000:08:00.1"):
        node.function(address, driver="vfio-pci", group="50")
    pools = arrange(selecting(pciAddresses=["0000:08:00.0"]), sysfs.read(node.root), {}, {})
    assert troubles(pools) == {"0000:08:00.0": "its IOMMU group 50 has 0000:08:00.1 too"}


def test_a_nic_that_is_down_waits_for_its_pod(node: Tree) -> None:
    given = selecting(pfNames=["ens1"])
    node.link("ens1", is_up=False)
    assert not troubles(arrange(given, sysfs.read(node.root), {}, {}))
    node.link("ens1", carrier=False)
    assert troubles(arrange(given, sysfs.read(node.root), {}, {})) == {NIC: "ens1 has no carrier"}
