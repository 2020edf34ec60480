"""A resource's socket beside a kubelet that starts anew at that very moment."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.devices.inventory import Inventory
from agent.devices.kubelet.plugin import Plugin
from agent.devices.kubelet.registered import Registered
from agent.model.device import Hardware
from tests.agent.devices.kubelet import Kubelet


@pytest.fixture
def kubelet() -> Iterator[Kubelet]:
    with tempfile.TemporaryDirectory() as folder:  # of a short name, for its sockets
        made = Kubelet(Path(folder))
        made.start()
        yield made
        made.stop()


def test_a_kubelet_that_empties_its_folder_meanwhile_is_registered_with_later(
    kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = Plugin("x.io/a", Inventory(), Hardware, kubelet.folder, lambda *_: None, uses_cdi=False)
    registered = Registered(kubelet.folder, plugin, "here")

    def chmod(path: Path, _mode: int) -> None:
        path.unlink()
        raise FileNotFoundError(2, "No such file or directory", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "chmod", chmod)
        registered.keep()
    assert "cannot listen at" in registered.error
    try:
        registered.keep()
        assert registered.error == ""
        assert kubelet.next_registration().resource_name == "x.io/a"
        assert len([*kubelet.folder.glob("device-plugins/sluiceway-*.sock")]) == 1
    finally:
        registered.stop()
