"""What tests of the device plugin share."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.agent.devices.kubelet import Kubelet
from tests.agent.devices.process import Plugin, Start, write
from tests.agent.devices.tree import Tree
from tests.ports import held


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A node without devices."""
    return Tree(tmp_path / "node")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one: the path of a socket has 107 octets at most."""
    with tempfile.TemporaryDirectory(prefix="devices-") as made:
        yield Path(made)


@pytest.fixture
def kubelet(folder: Path) -> Iterator[Kubelet]:
    """One that runs."""
    made = Kubelet(folder / "kubelet")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def start(folder: Path, tree: Tree, kubelet: Kubelet) -> Iterator[Start]:
    """Starts the process; it ends with the test."""
    running: list[subprocess.Popen[str]] = []
    ports = ExitStack()

    def make(*resources: object, flags: tuple[str, ...] = (), beside: Plugin | None = None) -> Plugin:
        port = beside.port if beside else ports.enter_context(held())
        folders = {name: folder / name for name in ("run", "cdi")}
        config = folder / f"config{len(running)}.json"
        write(config, *resources)
        given = {
            "config-file": config,
            "kubelet-dir": kubelet.folder,
            "run-dir": folders["run"],
            "cdi-dir": folders["cdi"],
            "root": tree.root,
            "listen": f"127.0.0.1:{port}",
        }
        command = [sys.executable, "-m", "agent.devices.main", *(f"--{key}={value}" for key, value in given.items())]
        process = subprocess.Popen([*command, *flags], text=True)
        running.append(process)
        return Plugin(process, config, folders["run"], folders["cdi"], port)

    with ports:
        yield make
        for process in running:
            process.kill()
            process.wait()
