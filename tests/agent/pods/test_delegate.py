"""What plugins of one network are told of each other, over plugins that are scripts."""

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.compile.network_config import plugin_list
from agent.model.name import ObjectName
from agent.model.network import InterfaceRequest
from agent.pods import device_info
from agent.pods.delegate import Delegates
from agent.pods.device_info import device_file
from agent.pods.network_record import InterfaceRecord, NetworkSet, interface_record
from agent.pods.plugin import Plugins

ONE = {"interfaces": [{"name": "net1", "sandbox": "/n"}], "ips": [{"address": "10.9.0.5/24"}]}
# answers what is said of it, and keeps what it is told
NOTES = "#!/bin/sh\ncat > @/$CNI_COMMAND-{0}\n[ $CNI_COMMAND != ADD ] || cat @/{0}.says\n"


def network(
    tmp_path: Path, said: dict[str, Any], device: str = "", version: str = "1.0.0"
) -> tuple[NetworkSet, InterfaceRecord]:
    """A pod with an interface of two plugins, and of a device of example.com/vf."""
    for name in ("first", "last"):
        (tmp_path / name).write_text(NOTES.replace("@", str(tmp_path)).format(name))
        (tmp_path / name).chmod(0o755)
        (tmp_path / f"{name}.says").write_text(json.dumps({**said, **ONE}))
    config = {"cniVersion": version, "plugins": [{"type": "first"}, {"type": "last"}]}
    plugins = plugin_list(json.dumps(config), "lan")
    wanted = InterfaceRequest(
        ObjectName("default", "lan"), "net1", plugins, "{}", device=device, resource="example.com/vf"
    )
    record = interface_record(wanted)
    return NetworkSet("c1", "eth0", "/n", "cluster", "boot", (record,)), record


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({}, id="none"),
        pytest.param({"cniVersion": ""}, id="an empty one"),
        pytest.param({"cniVersion": "1.1.0"}, id="another"),
    ],
)
def test_plugins_are_told_results_in_their_version_whatever_each_says(tmp_path: Path, said: dict[str, str]) -> None:
    owner, record = network(tmp_path, said)
    plugins, until = Delegates(Plugins(tmp_path)), time.monotonic() + 60
    result = plugins.add(owner, record, until)
    made = msgspec.structs.replace(record, result=result)
    plugins.check(owner, made, until)
    plugins.delete(owner, made, until)
    told = [_previous(tmp_path / name) for name in ("ADD-last", "CHECK-first", "CHECK-last", "DEL-last", "DEL-first")]
    assert told == [{"cniVersion": "1.0.0", **ONE}] * 5


@pytest.mark.parametrize("version", ["", "0.1.0", "0.2.0"])
def test_plugins_of_a_configuration_of_before_there_were_lists_are_told_all_the_same(
    tmp_path: Path, version: str
) -> None:
    said = {"cniVersion": "0.2.0", "ip4": {"ip": "10.9.0.5/24"}}
    owner, record = network(tmp_path, said, version=version)
    Delegates(Plugins(tmp_path)).add(owner, record, time.monotonic() + 60)
    assert _previous(tmp_path / "ADD-last") == {**said, **ONE}


def test_the_device_of_a_pods_interface_is_told_whatever_plugins_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_info, "FOLDER", tmp_path / "devinfo")
    told = {"type": "vdpa", "version": "1.1.0", "vdpa": {"driver": "vhost"}}
    path = device_file("example.com/vf", "0000:03:02.0")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(told))
    owner, record = network(tmp_path, {}, device="0000:03:02.0")
    delegates = Delegates(Plugins(tmp_path))
    delegates.add(owner, record, time.monotonic() + 60)
    assert delegates.device_info(owner, record) == told
    delegates.forget_device_info(owner, record)
    assert delegates.device_info(owner, record) is None


def _previous(path: Path) -> Any:
    return json.loads(path.read_text())["prevResult"]
