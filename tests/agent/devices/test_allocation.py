"""What a container gets with its devices, and by CDI."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.devices import cdi, sysfs
from agent.devices.allocation import Mount, Node, Unavailable, allocate
from agent.devices.pools import arrange
from tests.agent.devices.test_pools import VFS, resources
from tests.agent.devices.tree import PF, Tree

RUN = Path("/run/sluiceway")
VFIO = Node("/dev/vfio/vfio", "/dev/vfio/vfio")


def info(environment: Any, name: str = "PCIDEVICE_X_IO_A_INFO") -> Any:
    """What is told of the devices."""
    return json.loads(environment[name])


def test_a_vf_of_a_network_driver_has_no_node(tree: Tree) -> None:
    tree.pf()
    [resource] = resources({"additionalInfo": {"*": {"rack": "3"}, VFS[1]: {"rack": "4"}}})
    got = allocate(resource, VFS[:2], sysfs.read(tree.root), RUN)
    assert (got.nodes, got.mounts) == ((), ())
    assert got.environment["PCIDEVICE_X_IO_A"] == f"{VFS[0]},{VFS[1]}"
    assert info(got.environment) == {
        VFS[0]: {"generic": {"deviceID": VFS[0]}, "extraInfo": {"rack": "3"}},
        VFS[1]: {"generic": {"deviceID": VFS[1]}, "extraInfo": {"rack": "4"}},
    }


def test_a_vf_on_vfio_has_its_groups_node_and_vfios_once(tree: Tree) -> None:
    tree.pf(driver="vfio-pci")
    [resource] = resources({})
    got = allocate(resource, VFS[:2], sysfs.read(tree.root), RUN)
    assert got.nodes == (VFIO, Node("/dev/vfio/30", "/dev/vfio/30"), Node("/dev/vfio/31", "/dev/vfio/31"))
    assert info(got.environment)[VFS[0]]["vfio"] == {"dev-mount": "/dev/vfio/30", "mount": "/dev/vfio/vfio"}


def test_the_group_is_that_of_now(tree: Tree) -> None:
    tree.pf(driver="vfio-pci")
    (tree.folder(VFS[0]) / "iommu_group").unlink()
    tree.group(VFS[0], "77")
    [resource] = resources({})
    assert allocate(resource, VFS[:1], sysfs.read(tree.root), RUN).nodes[1] == Node("/dev/vfio/77", "/dev/vfio/77")


def test_without_an_iommu_the_groups_node_has_another_name_on_the_host(tree: Tree) -> None:
    tree.pf(driver="vfio-pci")
    (tree.root / "sys/kernel/iommu_groups/30/name").write_text("vfio-noiommu\n")
    [resource] = resources({})
    assert allocate(resource, VFS[:1], sysfs.read(tree.root), RUN).nodes[1] == Node(
        "/dev/vfio/noiommu-30", "/dev/vfio/30"
    )


def test_a_function_of_a_uio_driver_has_its_node(tree: Tree) -> None:
    tree.pf(driver="igb_uio")
    (tree.folder(VFS[0]) / "uio/uio3").mkdir(parents=True)
    [resource] = resources({})
    got = allocate(resource, VFS[:1], sysfs.read(tree.root), RUN)
    assert got.nodes == (Node("/dev/uio3", "/dev/uio3"),)
    assert info(got.environment)[VFS[0]]["uio"] == {"mount": "/dev/uio3"}


def test_vhost_net_is_given_where_the_node_has_it(tree: Tree) -> None:
    tree.pf()
    [resource] = resources({"selectors": {"needVhostNet": True}})
    with pytest.raises(Unavailable, match="load vhost_net and tun"):
        allocate(resource, VFS[:1], sysfs.read(tree.root), RUN)
    tree.misc("vhost-net", "tun")
    got = allocate(resource, VFS[:1], sysfs.read(tree.root), RUN)
    assert [node.host for node in got.nodes] == ["/dev/vhost-net", "/dev/net/tun"]
    assert info(got.environment)[VFS[0]]["vhost"] == {"net-mount": "/dev/vhost-net", "tun-mount": "/dev/net/tun"}


def test_a_slot_is_a_folder_of_the_agents(tree: Tree) -> None:
    [resource] = resources({"deviceType": "afxdp", "count": 3})
    got = allocate(resource, ["a-0", "a-2"], sysfs.read(tree.root), RUN)
    folders = [f"/run/sluiceway/afxdp/{slot}" for slot in ("a-0", "a-2")]
    assert got.mounts == tuple(Mount(folder, folder) for folder in folders)
    assert got.environment["AFXDP_DEVICES_A"] == "a-0 a-2"
    assert got.environment["PCIDEVICE_X_IO_A"] == "a-0,a-2"


def test_a_name_with_a_hyphen_is_told_as_it_is_and_as_a_shell_can_read_it(tree: Tree) -> None:
    tree.pf()
    [resource] = resources({"resourceName": "vf-net", "resourcePrefix": "my-lab.io"})
    got = allocate(resource, VFS[:1], sysfs.read(tree.root), RUN)
    assert [*got.environment] == [
        "PCIDEVICE_MY-LAB_IO_VF-NET",
        "PCIDEVICE_MY-LAB_IO_VF-NET_INFO",
        "PCIDEVICE_MY_LAB_IO_VF_NET",
        "PCIDEVICE_MY_LAB_IO_VF_NET_INFO",
    ]


def test_a_device_that_lost_its_driver_is_refused_and_one_without_a_link_is_not(tree: Tree) -> None:
    tree.pf()
    [resource] = resources({})
    tree.link("eth0", carrier=False)
    assert allocate(resource, VFS[:1], sysfs.read(tree.root), RUN).environment
    tree.bind(VFS[0], "")
    with pytest.raises(Unavailable, match=rf"x.io/a: {VFS[0]}: no driver is bound"):
        allocate(resource, VFS[:1], sysfs.read(tree.root), RUN)


def test_cdi_files_have_the_nodes_of_devices_that_have_any(tree: Tree, tmp_path: Path) -> None:
    tree.pf(vfs=1, driver="vfio-pci")
    tree.pf("eth1", "0000:04:00.0", 1)
    given = resources({"selectors": {"pfNames": ["eth0"]}}, {"selectors": {"pfNames": ["eth1"]}})
    hardware = sysfs.read(tree.root)
    wanted = cdi.specs(arrange(given, hardware, {}, {}).pools, hardware)
    assert {name: json.loads(content) for name, content in wanted.items()} == {
        "sluiceway-x.io_a.json": {
            "cdiVersion": "0.6.0",
            "kind": "x.io/a",
            "devices": [
                {
                    "name": VFS[0],
                    "containerEdits": {
                        "deviceNodes": [
                            {"path": path, "hostPath": path, "permissions": "rw"}
                            for path in ("/dev/vfio/vfio", "/dev/vfio/30")
                        ]
                    },
                }
            ],
        }
    }
    (tmp_path / "cdi").mkdir()
    for name in ("sluiceway-x.io_old.json", "sluiceway-x.io_old.draft", "another.json"):
        (tmp_path / "cdi" / name).write_text("{}")
    for _ in range(2):
        cdi.place(tmp_path / "cdi", wanted)
        assert {path.name for path in (tmp_path / "cdi").iterdir()} == {"another.json", *wanted}


@pytest.mark.parametrize(
    ("resource", "kind"),
    [
        pytest.param("x.io/dpdk", "x.io/dpdk", id="as it is"),
        pytest.param("x.io/25g", "x.io/x.25g", id="a name that begins with a digit"),
        pytest.param("3com.com/a_1", "x_3com.com/a_1", id="a prefix that does"),
        pytest.param("3com.com/7", "x_3com.com/x.7", id="both"),
    ],
)
def test_a_cdi_kind_begins_with_letters(resource: str, kind: str) -> None:
    assert cdi.qualified(resource, VFS[0]) == f"{kind}={VFS[0]}"
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]/[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?", cdi.kind(resource))


def test_a_cdi_file_is_of_the_kind_that_the_kubelet_tells(tree: Tree) -> None:
    tree.pf(vfs=1, driver="vfio-pci")
    [pool] = arrange(resources({"selectors": {"pfNames": ["eth0"]}}), sysfs.read(tree.root), {}, {}).pools
    pool = replace(pool, resource=replace(pool.resource, name="x.io/25g"))
    [content] = cdi.specs([pool], sysfs.read(tree.root)).values()
    assert json.loads(content)["kind"] == cdi.kind("x.io/25g") == "x.io/x.25g"


def test_the_pf_itself_is_given_once_it_has_no_vfs(tree: Tree) -> None:
    tree.pf(vfs=0)
    hardware = sysfs.read(tree.root)
    [pool] = arrange(resources({}), hardware, {}, {}).pools
    assert [device.id for device in pool.devices] == [PF]
