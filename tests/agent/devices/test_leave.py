"""What a device plugin that was killed leaves is taken away by cleanup; one that runs keeps it."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.devices import cdi
from agent.devices.kubelet.calls import PLUGINS
from agent.devices.kubelet.registered import PREFIX
from agent.devices.leave import leave
from agent.devices.options import DeviceOptions
from agent.pods.pod_devices import SOCKET


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeviceOptions:
    monkeypatch.chdir(tmp_path)  # whose path may be too long for a socket's
    return DeviceOptions(kubelet_dir=Path("kubelet"), cdi_dir=Path("cdi"), run_dir=Path("run"))


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as listeners:
        yield listeners


def listens(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    return listener


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def ours(options: DeviceOptions) -> tuple[socket.socket, socket.socket]:
    """As the plugin makes them."""
    cdi.place(options.cdi_dir, {cdi.file_name("example.com/vf"): b"{}"})
    (options.cdi_dir / f"{cdi.STEM}half.draft").touch()
    kubelets = options.kubelet_dir / PLUGINS / f"{PREFIX}0123456789ab-7-1.sock"
    return listens(options.run_dir / SOCKET), listens(kubelets)


def test_of_one_that_was_killed_nothing_is_left(options: DeviceOptions, tmp_path: Path, running: ExitStack) -> None:
    running.enter_context(listens(options.kubelet_dir / PLUGINS / "kubelet.sock"))
    listens(options.kubelet_dir / PLUGINS / "other.sock").close()
    options.cdi_dir.mkdir()
    (options.cdi_dir / "vendor.json").write_text("{}")
    before = files(tmp_path)
    for listener in ours(options):
        listener.close()
    assert len(leave(options.run_dir, options)) == 4
    assert files(tmp_path) == before
    assert leave(options.run_dir, options) == ()


def test_one_that_runs_keeps_what_it_has(options: DeviceOptions, tmp_path: Path, running: ExitStack) -> None:
    for listener in ours(options):
        running.enter_context(listener)
    before = files(tmp_path)
    assert leave(options.run_dir, options) == ()
    assert files(tmp_path) == before
