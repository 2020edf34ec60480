"""An execution of another plugin is over in time, whatever the plugin does."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from agent.pods.plugin import PluginFailed, Plugins


def test_a_plugin_that_hears_no_signal_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one in a system call that cannot be interrupted."""
    begun: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen):  # type: ignore[type-arg]
        """A process that the test ends."""

        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            begun.append(self)

    (tmp_path / "deaf").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "deaf").chmod(0o755)
    monkeypatch.setattr(subprocess, "Popen", Noted)
    monkeypatch.setattr(os, "killpg", lambda *_: None)
    with pytest.raises(PluginFailed, match="ADD is not done in time"):
        Plugins(tmp_path).run("deaf", {"CNI_COMMAND": "ADD"}, {}, time.monotonic() + 0.1)
    assert begun[0].poll() is None
    begun[0].kill()
    begun[0].wait()


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        pytest.param(
            "macvlan", ', or give "type": "sluiceway-cni", "kind": "macvlan"', id="a kind that the agent makes"
        ),
        pytest.param("bridge", "", id="one that it does not"),
    ],
)
def test_a_plugin_that_is_not_there_is_told_with_what_is_there_instead(tmp_path: Path, kind: str, ours: str) -> None:
    assert Plugins(tmp_path).lack(kind) == f"there is no executable {tmp_path}/{kind}{ours}"
