"""Addresses by DHCP on a further network: the reference plugin and its daemon, and a server on the wire."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns.agents import READY_S, Node
from tests.netns.pods import CLUSTER6, Runtime
from tests.netns.test_network import DEBIAN, TRY_LATER, addresses, asks, definition, flags, links, records, write
from tests.patience import until

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

SERVER, FIRST, LAST = "10.88.0.1", "10.88.0.10", "10.88.0.20"


class Dhcp:
    """A node with a DHCP server on the wire of its uplink; the plugin's daemon runs when a test says so."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self.leases = folder / "leases"
        self.socket = folder / "dhcp.sock"
        node.ip(f"addr add {SERVER}/24 dev u1")
        options = [f"--dhcp-range={FIRST},{LAST},255.255.255.0,1h", "--no-ping", "--port=0", "--interface=u1"]
        files = [f"--dhcp-leasefile={self.leases}", "--conf-file=/dev/null", "--pid-file=", "--user=root"]
        command = [*node.inside, "dnsmasq", "--keep-in-foreground", "--log-facility=-", *options, *files]
        self.server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        ipam = {"type": "dhcp", "daemonSocketPath": str(self.socket)}
        write(node, [definition("lan", type="macvlan", master="u0", ipam=ipam)])

    @contextmanager
    def daemon(self) -> Iterator["subprocess.Popen[bytes]"]:
        """The plugin's daemon; killed at the end, which leaves its socket."""
        self.socket.unlink(missing_ok=True)
        command = [str(self.node.root / "bin/dhcp"), "daemon", "-socketpath", str(self.socket)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            until(self.socket.exists, "the daemon listens")
            yield process
        finally:
            process.kill()
            process.wait()

    def held(self) -> list[str]:
        """The addresses that the server has given."""
        return [line.split()[2] for line in self.leases.read_text().splitlines()] if self.leases.exists() else []

    def end(self) -> None:
        """End the server."""
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(READY_S)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    root = tmp_path_factory.mktemp("d") / "n"
    root.mkdir()
    made = Node.make(f"swdh{os.getpid()}", root)
    (root / "manifests/cluster.yaml").write_text(CLUSTER6)
    (root / "multus").mkdir()
    for plugin in ("macvlan", "dhcp"):
        (root / "bin" / plugin).symlink_to(DEBIAN / plugin)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def dhcp(node: Node) -> Iterator[Dhcp]:
    made = Dhcp(node, node.root)
    with node.agent_runs(*flags(node)):
        yield made
    made.end()


@pytest.fixture
def runtime(node: Node) -> Iterator[Runtime]:
    made = Runtime(node)
    yield made
    made.collect()
    made.close()


def test_an_address_is_leased_and_given_back(dhcp: Dhcp, runtime: Runtime) -> None:
    runtime.wait()
    pod = runtime.make()
    with dhcp.daemon():
        code, result = runtime.call("ADD", pod, **asks("lan"))
        assert code == 0, result
        (address,) = addresses(links(runtime, pod)["net1"])
        assert dhcp.held() == [address]
        runtime.inside(pod, "ping", "-c1", "-w5", SERVER)
        (status,) = [json.loads(json.loads(path.read_text())["status"]) for path in records(dhcp.node)]
        assert [one["ips"] for one in status if one["interface"] == "net1"] == [[address]]
        assert runtime.call("CHECK", pod, prevResult=result) == (0, {})
        assert runtime.call("DEL", pod) == (0, {})
        until(lambda: dhcp.held() == [], "the lease is given back")
    assert (links(runtime, pod), records(dhcp.node), runtime.left()) == ({}, [], {})


def test_without_the_daemon_a_pod_is_told_what_to_start_and_has_nothing(dhcp: Dhcp, runtime: Runtime) -> None:
    runtime.wait()
    pod = runtime.make()
    code, error = runtime.call("ADD", pod, **asks("lan"))
    assert code == TRY_LATER
    assert f"net1 of default/lan: plugin dhcp: no daemon answers at {dhcp.socket}: " in error["msg"], error
    assert error["msg"].endswith(f"start `{dhcp.node.root}/bin/dhcp daemon` on the node")
    assert (links(runtime, pod), records(dhcp.node), runtime.left(), dhcp.held()) == ({}, [], {}, [])
    assert runtime.call("DEL", pod) == (0, {})


def test_a_pod_goes_though_the_daemon_has_died(dhcp: Dhcp, runtime: Runtime) -> None:
    runtime.wait()
    pod = runtime.make()
    with dhcp.daemon():
        assert runtime.call("ADD", pod, **asks("lan"))[0] == 0
    assert runtime.call("DEL", pod) == (0, {})
    assert (links(runtime, pod), records(dhcp.node), runtime.left()) == ({}, [], {})
