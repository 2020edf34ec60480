"""What a plugin has written of an interface's device, as far as it can be read."""

import json
from pathlib import Path

import pytest

from agent.model.name import ObjectName
from agent.pods import delegate
from agent.pods.delegate import Delegates, device_info_file
from agent.pods.network_record import InterfaceRecord, NetworkSet
from agent.pods.plugin import Plugins

ONE = InterfaceRecord(ObjectName("default", "lan"), "net1", "lan", "1.0.0", ())
OWNER = NetworkSet("c1", "eth0", "/run/netns/p", "cluster", "boot", (ONE,))
TOLD = {"type": "pci", "version": "1.1.0"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(json.dumps(TOLD).encode(), TOLD, id="JSON"),
        pytest.param(b'{"type":', None, id="cut short"),
        pytest.param(b'{"type":"\xff"}', None, id="not UTF-8"),
        pytest.param(b"[" * 100_000, None, id="nested too deep"),
    ],
)
def test_what_cannot_be_read_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, told: object
) -> None:
    monkeypatch.setattr(delegate, "DEVICE_INFO", tmp_path)
    device_info_file(OWNER, ONE).write_bytes(content)
    assert Delegates(Plugins(tmp_path)).device_info(OWNER, ONE) == told
