"""The device plugin's process, as the kubelet, the agent and its user see it."""

import json
import os
import signal
import subprocess
import sys

import grpc
import pytest

from agent.model.device import Allocated
from agent.pods.pod_devices import Question, Unanswered, ask, devices_of
from tests.agent.devices.kubelet import PATIENCE_S, Kubelet
from tests.agent.devices.process import Start, until
from tests.agent.devices.test_pools import VFS
from tests.agent.devices.tree import Tree

DPDK = {"resourceName": "dpdk", "resourcePrefix": "x.io", "selectors": {"drivers": ["vfio-pci"]}}
NET = {"resourceName": "net", "selectors": {"pfNames": ["eth1"]}}
SLOTS = {"resourceName": "xsk", "resourcePrefix": "sluiceway.io", "deviceType": "afxdp", "count": 3}
PF1 = "0000:04:00.0"


def test_the_kubelet_hears_of_resources_and_of_every_change(tree: Tree, kubelet: Kubelet, start: Start) -> None:
    tree.pf(driver="vfio-pci", numa=1)
    plugin = start(DPDK, NET)
    request = kubelet.next_registration()
    assert (request.version, request.resource_name) == ("v1beta1", "x.io/dpdk")
    with kubelet.dialled(request) as dialled:
        assert dialled.options() == request.options
        assert (request.options.pre_start_required, request.options.get_preferred_allocation_available) == (False, True)
        dialled.watch()
        listed = dialled.next_list()
        assert {name: device.health for name, device in listed.items()} == dict.fromkeys(VFS, "Healthy")
        assert [node.ID for node in listed[VFS[0]].topology.nodes] == [1]
        tree.bind(VFS[2], "iavf")
        kubelet.stir()
        assert dialled.next_health()[VFS[2]] == "Unhealthy"
        tree.bind(VFS[2], "vfio-pci")
        kubelet.stir()
        assert dialled.next_health() == dict.fromkeys(VFS, "Healthy")
        tree.link("eth0", carrier=False)
        kubelet.stir()
        assert dialled.next_health() == dict.fromkeys(VFS, "Unhealthy")
        assert {state.trouble for state in plugin.ask().states} == {"eth0 has no carrier"}
        assert 'sluiceway_devices{health="unhealthy",resource="x.io/dpdk"} 4.0' in plugin.page("metrics")
    assert [problem.text for problem in plugin.ask().problems] == [
        "this node has no network device eth1; its devices join when it comes"
    ]
    tree.pf("eth1", PF1, 1)
    kubelet.stir()
    assert kubelet.next_registration().resource_name == "intel.com/net"
    assert until(lambda: not plugin.ask().problems)
    plugin.process.send_signal(signal.SIGTERM)
    assert plugin.process.wait(PATIENCE_S) == 0
    assert not [*(kubelet.folder / "device-plugins").glob("sluiceway-*")]
    with pytest.raises(Unanswered, match="does sluiceway-devices run"):
        ask(plugin.run_dir, Question())


def test_containers_get_environment_nodes_and_folders(tree: Tree, kubelet: Kubelet, start: Start) -> None:
    tree.pf(driver="vfio-pci")
    plugin = start(DPDK, SLOTS)
    with kubelet.dialled(kubelet.next_registration()) as dpdk, kubelet.dialled(kubelet.next_registration()) as xsk:
        got = dpdk.allocate(VFS[1], VFS[0])
        assert got.envs["PCIDEVICE_X_IO_DPDK"] == f"{VFS[1]},{VFS[0]}"
        assert json.loads(got.envs["PCIDEVICE_X_IO_DPDK_INFO"])[VFS[0]]["vfio"]["dev-mount"] == "/dev/vfio/30"
        assert [(node.host_path, node.permissions) for node in got.devices] == [
            ("/dev/vfio/vfio", "rw"),
            ("/dev/vfio/31", "rw"),
            ("/dev/vfio/30", "rw"),
        ]
        got = xsk.allocate("xsk-2")
        folder = plugin.run_dir / "afxdp/xsk-2"
        assert [(mount.host_path, mount.container_path) for mount in got.mounts] == [(str(folder), str(folder))]
        assert all(mount.read_only for mount in got.mounts), "a pod makes its folder what it likes"
        assert folder.is_dir()
        assert got.envs["AFXDP_DEVICES_XSK"] == "xsk-2"
        assert dpdk.prefers(*VFS, must=(VFS[3],), size=2) == [VFS[3], VFS[0]]
        dpdk.pre_start(VFS[0])
        tree.bind(VFS[0], "")  # of which nothing has told yet
        for refused, why in {VFS[0]: "no driver is bound, not vfio-pci", "0000:09:00.0": "has no device"}.items():
            for call in (dpdk.allocate, dpdk.pre_start):
                with pytest.raises(grpc.RpcError, match=why):
                    call(refused)
    assert 'sluiceway_device_allocations_total{resource="x.io/dpdk",result="refused"} 2.0' in plugin.page("metrics")


def test_with_cdi_devices_are_named_and_their_nodes_are_in_a_file(tree: Tree, kubelet: Kubelet, start: Start) -> None:
    tree.pf(driver="vfio-pci")
    plugin = start(DPDK, SLOTS, flags=("--use-cdi=on",))
    with kubelet.dialled(kubelet.next_registration()) as dpdk, kubelet.dialled(kubelet.next_registration()) as xsk:
        got = dpdk.allocate(VFS[0])
        assert ([device.name for device in got.cdi_devices], [*got.devices]) == ([f"x.io/dpdk={VFS[0]}"], [])
        assert [*xsk.allocate("xsk-0").cdi_devices] == []
    [spec] = plugin.cdi_dir.iterdir()
    assert {device["name"] for device in json.loads(spec.read_text())["devices"]} == {*VFS}
    plugin.configure(SLOTS)
    kubelet.stir()
    assert until(lambda: not [*plugin.cdi_dir.iterdir()])


def test_whichever_of_the_two_starts_again_they_find_each_other(kubelet: Kubelet, start: Start) -> None:
    kubelet.stop()
    plugin = start(SLOTS)
    assert until(lambda: "the kubelet does not run" in plugin.ready())
    for _ in range(3):
        kubelet.start()
        with kubelet.dialled(kubelet.next_registration()) as dialled:
            dialled.watch()
            assert [*dialled.next_list()] == ["xsk-0", "xsk-1", "xsk-2"]
            assert until(lambda: plugin.ready() == "ok\n")
            kubelet.stop()
            kubelet.start()  # it empties the folder
            with kubelet.dialled(kubelet.next_registration()) as again:
                again.watch()
                assert len(again.next_list()) == 3
            dialled.waits_for_end()
        kubelet.stop()
    kubelet.start()
    kubelet.next_registration()
    plugin.process.kill()
    plugin.process.wait()
    start(SLOTS)
    with kubelet.dialled(kubelet.next_registration()) as dialled:
        assert dialled.allocate("xsk-1").envs
    assert len([*(kubelet.folder / "device-plugins").glob("sluiceway-*")]) == 1


def test_a_configuration_is_read_when_it_changes_and_a_bad_one_leaves_what_was(
    tree: Tree, kubelet: Kubelet, start: Start
) -> None:
    tree.pf(driver="vfio-pci")
    plugin = start({**SLOTS, "cuont": 3}, DPDK)
    request = kubelet.next_registration()
    assert request.resource_name == "x.io/dpdk"
    [problem] = plugin.ask().problems
    assert str(problem) == "DeviceResource xsk: resourceList[0]: Object contains unknown field `cuont`"
    plugin.config.write_text("{")
    kubelet.stir()
    assert until(lambda: [each.name.name for each in plugin.ask().problems] == ["config"])
    assert {state.resource for state in plugin.ask().states} == {"x.io/dpdk"}
    with kubelet.dialled(request) as dialled:
        dialled.watch()
        dialled.next_list()
        plugin.configure(SLOTS)
        kubelet.stir()
        assert kubelet.next_registration().resource_name == "sluiceway.io/xsk"
        dialled.waits_for_end()
    plugin.configure({**SLOTS, "count": 1})
    kubelet.stir()
    assert until(lambda: [state.device for state in plugin.ask().states] == ["xsk-0"])


@pytest.mark.parametrize("has_get", [pytest.param(True, id="Get"), pytest.param(False, id="List alone")])
def test_whose_each_device_is_is_asked_at_the_socket(kubelet: Kubelet, start: Start, has_get: bool) -> None:  # noqa: FBT001
    kubelet.stop()
    kubelet.has_get = has_get
    kubelet.start()
    plugin = start(SLOTS)
    kubelet.next_registration()
    kubelet.gives("web", "a", "main", "sluiceway.io/xsk", "xsk-2", "xsk-0")
    kubelet.gives("web", "a", "side", "sluiceway.io/xsk", "xsk-1")
    kubelet.gives("web", "b", "main", "other.io/gpu", "gpu-0")
    plugin.ask()
    xsk = "sluiceway.io/xsk"
    assert devices_of(plugin.run_dir, "web", "a") == (
        Allocated("web", "a", "main", xsk, "xsk-2"),
        Allocated("web", "a", "main", xsk, "xsk-0"),
        Allocated("web", "a", "side", xsk, "xsk-1"),
    )
    assert devices_of(plugin.run_dir, "web", "c") == ()
    assert len(plugin.ask().given) == 4
    kubelet.stop()
    with pytest.raises(Unanswered, match="the kubelet does not say which devices it has given: "):
        devices_of(plugin.run_dir, "web", "a")


def test_what_is_given_stays_given_to_its_resource_over_a_start(tree: Tree, kubelet: Kubelet, start: Start) -> None:
    """A NIC in a pod has no name here, by which it was selected."""
    tree.function("0000:05:00.0", vendor="15b3", driver="mlx5_core")
    kubelet.gives("web", "a", "main", "intel.com/net", "0000:05:00.0")
    plugin = start(NET)
    kubelet.next_registration()
    assert [(state.device, state.trouble) for state in plugin.ask().states] == [("0000:05:00.0", "")]


def test_a_wrong_flag_ends_it_with_a_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent.devices.main", "--use-cdi=perhaps"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "sluiceway-devices: --use-cdi (from --use-cdi): 'perhaps' is neither on nor off\n"
