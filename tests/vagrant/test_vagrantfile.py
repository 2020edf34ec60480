"""Vagrant takes both Vagrantfiles, and makes of them what the scripts need; no machine is started."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.vagrant.stubs import CHECKOUT, PROVISION

HERE = Path(__file__).parent
MAIN, SRIOV = "vagrant", "vagrant/sriov"
# says that it is there, and no more: validation asks for nothing else
VBOXMANAGE = "#!/bin/sh\necho 7.0.20r163906\n"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What of the checkout Vagrant reads, where it can keep its state."""
    folder = tmp_path_factory.mktemp("tree")
    shutil.copytree(CHECKOUT / "vagrant", folder / "vagrant", ignore=shutil.ignore_patterns(".vagrant"))
    shutil.copytree(CHECKOUT / "deploy/manifests", folder / "deploy/manifests")
    (folder / "dist").mkdir()
    (folder / "dist/sluiceway-0.1.0.oci.tar").touch()
    (folder / "bin").mkdir()
    (folder / "bin/VBoxManage").write_text(VBOXMANAGE)
    (folder / "bin/VBoxManage").chmod(0o755)
    return folder


def run(tree: Path, command: Sequence[str | Path], provider: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **more,
        "PATH": f"{tree}/bin:{os.environ['PATH']}",
        "HOME": str(tree),
        "VAGRANT_HOME": f"{tree}/home",
        "VAGRANT_CHECKPOINT_DISABLE": "1",
        "VAGRANT_DEFAULT_PROVIDER": provider,
        "LANG": "C.UTF-8",
    }
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def validate(tree: Path, folder: str, provider: str) -> subprocess.CompletedProcess[str]:
    return run(tree, ["env", f"--chdir={tree / folder}", "vagrant", "validate"], provider)


@pytest.mark.parametrize(
    ("folder", "provider"),
    [
        pytest.param(MAIN, "libvirt", id="three machines by libvirt"),
        pytest.param(MAIN, "virtualbox", id="three machines by VirtualBox"),
        pytest.param(SRIOV, "libvirt", id="two machines with SR-IOV"),
    ],
)
def test_vagrant_takes(tree: Path, folder: str, provider: str) -> None:
    done = validate(tree, folder, provider)
    assert (done.returncode, "validated successfully" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize("provider", ["libvirt", "virtualbox"])
def test_an_option_that_the_provider_has_not_is_refused(tree: Path, provider: str) -> None:
    wrong = tree / f"wrong-{provider}"
    wrong.mkdir()
    shutil.copy(tree / "vagrant/machines.rb", wrong)
    text = (tree / "vagrant/Vagrantfile").read_text() + (
        f'Vagrant.configure("2") {{ |config| config.vm.provider(:{provider}) {{ |each| each.nonsense = 1 }} }}\n'
    )
    (wrong / "Vagrantfile").write_text(text)
    done = validate(tree, wrong.name, provider)
    assert (done.returncode, "nonsense" in done.stderr) == (1, True)


Steps = list[tuple[str, str, str]]  # the name, when it runs, and the command or where a file goes


def provisioners(tree: Path, folder: str, kind: str = "shell", **environment: str) -> dict[str, Steps]:
    """Machines in the order of their start, each with its steps of one kind."""
    done = run(tree, ["ruby", HERE / "provisioners.rb", tree / folder, tree / "home"], "libvirt", **environment)
    assert done.returncode == 0, done.stderr
    return {
        name: [(step[0], step[1], step[2]) for step in steps if step[3] == kind]
        for name, steps in json.loads(done.stdout).items()
    }


@pytest.fixture(scope="module")
def main(tree: Path) -> dict[str, Steps]:
    return provisioners(tree, MAIN)


@pytest.fixture(scope="module")
def sriov(tree: Path) -> dict[str, Steps]:
    return provisioners(tree, SRIOV)


def names(steps: Steps, run: str = "once") -> list[str]:
    return [name for name, when, _ in steps if when == run]


def test_nodes_come_before_the_control_plane_and_the_demo_sees_all(main: dict[str, Steps]) -> None:
    assert list(main) == ["n2", "n3", "n1"]
    assert names(main["n2"]) == names(main["n3"]) == ["room", "packages", "node", "image", "join"]
    assert names(main["n1"]) == ["room", "packages", "node", "image", "control-plane", "agent", "demo"]
    assert names(main["n1"], "never") == ["reset", "drain", "remove"]
    commands = {name: command for name, _, command in main["n1"]}
    assert commands["demo"].endswith("demo.sh n2 n3 n1")


def test_functions_are_made_at_each_start_and_before_the_cluster(sriov: dict[str, Steps]) -> None:
    assert list(sriov) == ["n2", "n1"]
    for steps in sriov.values():
        assert [name for name, _, _ in steps].index("sriov") == 1
        assert names(steps, "always") == ["sriov"]


@pytest.mark.parametrize(
    ("environment", "is_shipped"),
    [
        pytest.param({}, True, id="as an archive, unless told"),
        pytest.param({"SLUICEWAY_IMAGE": "box"}, False, id="not where the box has it"),
    ],
)
def test_the_image_is_shipped(tree: Path, environment: dict[str, str], is_shipped: bool) -> None:  # noqa: FBT001
    for steps in provisioners(tree, MAIN, "file", **environment).values():
        assert [name for name, _, _ in steps] == ["vagrant/provision", "deploy/manifests", *["archive"] * is_shipped]


def test_all_machines_have_one_token_and_it_stays(tree: Path, main: dict[str, Steps]) -> None:
    (token,) = set(re.findall(r"[0-9a-f]{6}\.[0-9a-f]{16}", json.dumps(main)))
    assert provisioners(tree, MAIN) == main
    kept = tree / MAIN / ".vagrant/token"
    assert (kept.read_text().strip(), kept.stat().st_mode & 0o777) == (token, 0o600)


def test_what_machines_run_is_a_script_of_the_tree(main: dict[str, Steps], sriov: dict[str, Steps]) -> None:
    commands = [command for steps in (*main.values(), *sriov.values()) for _, _, command in steps]
    scripts = {script for command in commands for script in re.findall(r"/provision/([\w-]+\.sh)", command)}
    assert scripts == {path.name for path in PROVISION.glob("*.sh")}


def test_make_vagrant_builds_the_image_where_there_is_none(tmp_path: Path) -> None:
    shutil.copy(CHECKOUT / "Makefile", tmp_path)
    command = ["make", "--no-print-directory", "--dry-run", "vagrant"]
    without = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "deploy/build/packages.sh build clang" in without.stdout
    assert "vagrant up" not in without.stdout

    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/sluiceway-0.1.0.oci.tar").touch()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == [
        "deploy/build/packages.sh vagrant machines",
        "cd vagrant && vagrant up --provider libvirt",
    ]
