"""IPAM plugins of definitions: what is missing is seen before an interface is begun, and keeps none from going."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.compile.network_config import plugin_list
from agent.model.name import ObjectName
from agent.model.network import InterfaceRequest
from agent.pods.delegate import Delegates
from agent.pods.errors import NetworkFailed
from agent.pods.network_record import NetworkRecords, NetworkSet
from agent.pods.networks import Networks
from agent.pods.plugin import Plugins

KEY = ("c1", "eth0")
OWNER = NetworkSet(*KEY, netns="/n", cluster_network="sluiceway", boot="b", interfaces=())
# notes what it is asked, and executes its IPAM plugin as libcni's do: last in ADD, first in DEL
DELEGATES = """#!/bin/sh
cat > @/config
echo "$CNI_COMMAND" >> @/called
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion": "1.0.0"}'
grep -q '"ipam"' @/config || exit 0
[ -S @/d ] || { echo "error dialing DHCP daemon" >&2; exit 1; }
"""


class Room:
    """A node with one plugin, and perhaps a daemon for addresses."""

    def __init__(self, root: Path) -> None:
        self.root, self.socket = root, root / "d"
        self.put("makes")
        self.records = NetworkRecords(root / "networks")
        self.networks = self.over(None)

    def over(self, root: Path | None) -> Networks:
        """An agent that sees the node's root here."""
        return Networks(self.records, Delegates(Plugins(self.root, root)), lambda *_: None, lambda _: True)

    def put(self, name: str) -> None:
        """Install a plugin."""
        (self.root / name).write_text(DELEGATES.replace("@", str(self.root)))
        (self.root / name).chmod(0o755)

    def listen(self) -> socket.socket:
        """Start the daemon."""
        self.socket.unlink(missing_ok=True)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.bind(str(self.socket))
        made.listen()
        return made

    def add(self, **ipam: Any) -> None:
        """ADD of a pod with an interface of this IPAM."""
        config = {"cniVersion": "1.0.0", "type": "makes", "ipam": ipam}
        one = InterfaceRequest(ObjectName("default", "lan"), "net1", plugin_list(json.dumps(config), "lan"), "{}")
        self.networks.add(OWNER, [one], ())

    def called(self) -> list[str]:
        """The commands until now."""
        path = self.root / "called"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path)
    yield made
    made.socket.unlink(missing_ok=True)


def test_a_missing_ipam_plugin_is_told_before_anything_is_begun(room: Room) -> None:
    with pytest.raises(NetworkFailed, match=f"net1 of default/lan: plugin nowhere: there is no executable {room.root}"):
        room.add(type="nowhere")
    assert (room.called(), room.records.all()) == ([], ())


@pytest.mark.parametrize("is_left", [pytest.param(False, id="never started"), pytest.param(True, id="that was killed")])
def test_a_dhcp_daemon(room: Room, is_left: bool) -> None:  # noqa: FBT001
    room.put("dhcp")
    if is_left:
        room.listen().close()
    says = rf"no daemon answers at {room.socket}: .*; start `{room.root}/dhcp daemon`"
    with pytest.raises(NetworkFailed, match=says):
        room.add(type="dhcp", daemonSocketPath=str(room.socket))
    assert (room.called(), room.records.all()) == ([], ()), "nothing is begun"


def test_an_interface_goes_when_the_daemon_that_had_its_lease_is_gone(room: Room) -> None:
    room.put("dhcp")
    with room.listen():
        room.add(type="dhcp", daemonSocketPath=str(room.socket))
    room.socket.unlink()
    room.networks.delete(KEY)
    assert (room.called(), room.records.all()) == (["ADD", "DEL"], ())


def test_a_lease_is_given_back_to_a_daemon_that_is_there(room: Room) -> None:
    room.put("dhcp")
    with room.listen():
        room.add(type="dhcp", daemonSocketPath=str(room.socket))
        room.networks.delete(KEY)
    assert json.loads((room.root / "config").read_text())["ipam"]["type"] == "dhcp"
    assert room.records.all() == ()


def test_the_daemon_is_looked_for_in_the_nodes_root(room: Room, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("r")
    below = root / room.root.relative_to("/")
    below.mkdir(parents=True)
    for plugin in ("makes", "dhcp"):
        (below / plugin).write_text("")
        (below / plugin).chmod(0o755)
    room.networks = room.over(root)
    with room.listen(), pytest.raises(NetworkFailed, match="no daemon answers"):
        room.add(type="dhcp", daemonSocketPath=str(room.socket))
