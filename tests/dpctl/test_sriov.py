"""Functions of NICs out of sysfs, with what the device plugin tells of them where it runs."""

import json
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.devices.answers import Answers
from agent.model.device import Allocated, DeviceState
from agent.model.name import ObjectName, Problem
from agent.pods.pod_devices import Answer, Question, Unanswered, devices_of
from agent.threads import Threads
from tests.agent.devices.tree import PF, VF, Tree
from tests.dpctl.conftest import run

ANSWER = Answer(
    given=(Allocated("web", "a", "main", "x.io/dpdk", VF.format(0)),),
    states=(
        DeviceState("x.io/dpdk", VF.format(0), ""),
        DeviceState("x.io/dpdk", VF.format(1), "no driver is bound, not vfio-pci"),
        DeviceState("x.io/xsk", "xsk-0", ""),
    ),
    problems=(Problem("DeviceResource", ObjectName("", "net"), "selectors.pfNames", "this node has none"),),
)


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A folder with a short path, as a socket's has to be."""
    with tempfile.TemporaryDirectory(prefix="dpctl-") as made:
        yield Path(made)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A PF of two VFs, and a NIC that can have none."""
    made = Tree(tmp_path)
    made.pf(vfs=2, driver="vfio-pci", numa=0)
    made.bind(VF.format(1), "")
    made.function("0000:05:00.0", driver="virtio-pci")
    return made


@pytest.fixture
def plugin(run_dir: Path) -> Iterator[None]:
    """Somebody answers in the device plugin's place."""
    answers = Answers(
        run_dir, lambda question: Answer(error="the kubelet is away") if question.pod else ANSWER, Threads()
    )
    answers.start()
    yield
    answers.stop()


def test_functions_are_shown_when_nothing_of_ours_runs(tree: Tree, run_dir: Path) -> None:
    shown = run(Path("/none"), "sriov", "list", f"--root={tree.root}", f"--run-dir={run_dir}")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert [line.split() for line in shown.stdout.splitlines()] == [
        ["PF", "VF", "PCI", "ID", "DRIVER", "DEVICE", "VFS", "NUMA", "IOMMU", "LINK", "RESOURCE", "POD", "TROUBLE"],
        ["eth0", "-", PF, "8086:1572", "i40e", "eth0", "2/64", "0", "-", "up", "-", "-", "-"],
        ["eth0", "0", VF.format(0), "8086:154c", "vfio-pci", "-", "-", "0", "30", "-", "-", "-", "-"],
        ["eth0", "1", VF.format(1), "8086:154c", "-", "-", "-", "0", "31", "-", "-", "-", "-"],
    ]
    missing = run(Path("/none"), "device", "list", f"--run-dir={run_dir}")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "does sluiceway-devices run? What needs none is shown by: dpctl sriov list" in missing.stderr


@pytest.mark.usefixtures("plugin")
def test_with_the_device_plugin_resource_pod_and_trouble_are_shown(tree: Tree, run_dir: Path) -> None:
    shown = run(Path("/none"), "sriov", "list", f"--root={tree.root}", f"--run-dir={run_dir}", "-o", "json")
    rows = [(row["vf"], row["resource"], row["pod"], row["trouble"]) for row in json.loads(shown.stdout)]
    assert rows == [
        (None, "", "", ""),
        (0, "x.io/dpdk", "web/a/main", ""),
        (1, "x.io/dpdk", "", "no driver is bound, not vfio-pci"),
    ]
    listed = run(Path("/none"), "device", "list", f"--run-dir={run_dir}").stdout.splitlines()
    assert [line.split()[:4] for line in listed[1:4]] == [
        ["x.io/dpdk", VF.format(0), "healthy", "web/a/main"],
        ["x.io/dpdk", VF.format(1), "unhealthy", "-"],
        ["x.io/xsk", "xsk-0", "healthy", "-"],
    ]
    assert listed[-1].split() == ["DeviceResource", "net", "selectors.pfNames", "this", "node", "has", "none"]
    with pytest.raises(Unanswered, match="the kubelet is away"):
        devices_of(run_dir, "web", "a")


def test_a_caller_that_asks_for_nothing_keeps_nobody(run_dir: Path) -> None:
    """One that is silent, and one whose question is none: others are answered."""
    asked: list[Question] = []

    def answer(question: Question) -> Answer:
        asked.append(question)
        return ANSWER

    answers = Answers(run_dir, answer, Threads())
    answers.start()
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as wrong:
        for each in (silent, wrong):
            each.connect(str(run_dir / "devices.sock"))
        wrong.sendall(b"who?\n")
        assert wrong.recv(1) == b""
        assert devices_of(run_dir, "web", "a") == ANSWER.given
    answers.stop()
    assert asked == [Question("web", "a")]
