"""Deleting with plugins that fail where there is nothing to delete, over plugins that are scripts."""

import json
import time
from pathlib import Path

import msgspec
import pytest

from agent.compile.network_config import plugin_list
from agent.model.name import ObjectName
from agent.model.network import InterfaceRequest
from agent.pods.delegate import DelegateFailed, Delegates
from agent.pods.network_record import InterfaceRecord, NetworkSet, interface_record
from agent.pods.plugin import Plugins
from agent.pods.pod_links import has_device

ASKED = "#!/bin/sh\necho $CNI_COMMAND {0} $CNI_IFNAME >> @/asked\ncat > /dev/null\n"
FAILS = """echo '{"cniVersion": "1.0.0", "code": 999, "msg": "Link not found"}'\nexit 1\n"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Plugins that note what they are asked for; the first fail."""
    for name in ("macvlan", "ipvlan", "vlan", "host-device", "bridge"):
        script(tmp_path, name, FAILS)
    for name in ("host-local", "tuning"):
        script(tmp_path, name, "")
    return tmp_path


def script(root: Path, name: str, says: str) -> None:
    """A plugin of this name."""
    (root / name).write_text(ASKED.replace("@", str(root)).format(name) + says)
    (root / name).chmod(0o755)


def network(kind: str) -> tuple[NetworkSet, InterfaceRecord]:
    """A pod whose interface a plugin, and one behind it, were to make."""
    ipam = {"type": "host-local", "subnet": "10.9.0.0/24"}
    config = {"cniVersion": "1.0.0", "plugins": [{"type": kind, "ipam": ipam}, {"type": "tuning"}]}
    plugins = plugin_list(json.dumps(config), "lan")
    record = interface_record(InterfaceRequest(ObjectName("default", "lan"), "net1", plugins, "{}"))
    return NetworkSet("c1", "eth0", "/n", "cluster", "boot", (record,)), record


def delete(root: Path, owner: NetworkSet, record: InterfaceRecord, *, there: bool) -> list[str]:
    """What plugins are asked for where the pod has the device, or not."""
    delegates = Delegates(Plugins(root), has_device=lambda _, name: there and name == "net1")
    try:
        delegates.delete(owner, record, time.monotonic() + 60)
    finally:
        asked = (root / "asked").read_text().splitlines()
    return asked


@pytest.mark.parametrize("kind", ["macvlan", "ipvlan", "vlan", "host-device"])
def test_what_is_not_there_is_deleted_though_its_plugin_fails(root: Path, kind: str) -> None:
    asked = delete(root, *network(kind), there=False)
    assert asked == ["DEL tuning net1", f"DEL {kind} net1", "DEL host-local net1"]


@pytest.mark.parametrize(("kind", "there"), [("macvlan", True), ("host-device", True), ("bridge", False)])
def test_what_is_there_or_more_than_a_device_is_not_deleted_where_its_plugin_fails(
    root: Path, kind: str, *, there: bool
) -> None:
    with pytest.raises(DelegateFailed, match=r"net1 of default/lan: .*Link not found"):
        delete(root, *network(kind), there=there)
    assert "host-local" not in (root / "asked").read_text()


def test_addresses_that_are_not_given_back_are_not_forgotten(root: Path) -> None:
    script(root, "host-local", FAILS.replace("Link not found", "read-only file system"))
    with pytest.raises(DelegateFailed, match=r"host-local: .*read-only file system"):
        delete(root, *network("macvlan"), there=False)


@pytest.mark.parametrize(("netns", "gives_back"), [("/n", False), ("", True)])
def test_addresses_of_a_device_are_given_back_also_when_the_namespace_is_gone(
    root: Path, netns: str, *, gives_back: bool
) -> None:
    script(root, "host-device", "")
    owner, record = network("host-device")
    asked = delete(root, msgspec.structs.replace(owner, netns=netns), record, there=False)
    assert ("DEL host-local net1" in asked) == gives_back


def test_a_namespace_that_is_gone_has_no_device(tmp_path: Path) -> None:
    owner, _ = network("macvlan")
    assert not has_device(msgspec.structs.replace(owner, netns=str(tmp_path / "gone")), "net1")
    assert not has_device(msgspec.structs.replace(owner, netns=""), "net1")
