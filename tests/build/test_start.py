"""The agent of the wheel runs a node of its own, and the wheel's dpctl reads what it pinned.

The node is a network and a mount namespace with a bpffs; it ends with the agent's process, and its cgroup is removed.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.options.mounts import cgroup2, read_mountinfo

pytestmark = [pytest.mark.kernel, pytest.mark.netns, pytest.mark.timeout(900)]

READY_S = 180
PORT = 9650

# bpffs and sysfs belong to the namespaces they are mounted in; the devices are up before the agent looks
NODE = """
set -e
mount -t bpf bpf "$1"
ip link set lo up
ip link add uplink type veth peer name wire; ip link set wire up
ip address add 192.0.2.1/24 dev uplink; ip link set uplink up
shift
exec "$@"
"""

MANIFESTS = """
apiVersion: v1
kind: Node
metadata: {name: wheel}
spec: {podCIDRs: [10.1.0.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIPs: [10.96.0.1], clusterIP: 10.96.0.1, type: ClusterIP, ports: [{port: 80, protocol: TCP}]}
"""

PROBE = "import urllib.request, sys; urllib.request.urlopen(sys.argv[1], timeout=30)"


@dataclass(frozen=True, slots=True)
class Node:
    """A running agent and where it keeps its state."""

    environment: Path
    process: int
    pins: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment's bin on the node."""
        inside = ["nsenter", f"--target={self.process}", "--mount", "--net", f"--wd={self.environment}"]
        argv = [*inside, str(self.environment / "bin" / command[0]), *command[1:]]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@pytest.fixture
def node(environment: Path, tmp_path: Path) -> Iterator[Node]:
    """An agent from the wheel, on a node that has one uplink and one service without endpoints."""
    folders = {name: tmp_path / name for name in ("bpf", "manifests", "state", "run", "cache", "cni-bin", "cni-conf")}
    for folder in folders.values():
        folder.mkdir()
    (folders["manifests"] / "site.yaml").write_text(MANIFESTS)
    root = cgroup2(read_mountinfo())
    assert root is not None, "no cgroup2 is mounted"
    cgroup = root / f"sluiceway-test-wheel-{os.getpid()}"
    options = {
        "node-name": "wheel",
        "manifests": folders["manifests"],
        "pin-root": folders["bpf"] / "sluiceway",
        "cgroup": cgroup,
        "state-dir": folders["state"],
        "run-dir": folders["run"],
        "cache-dir": folders["cache"],
        "cni-bin-dir": folders["cni-bin"],
        "cni-conf-dir": folders["cni-conf"],
        "listen": f"127.0.0.1:{PORT}",
        "objects": "shipped",
    }
    agent = [f"{environment}/bin/sluiceway-agent", "run", *(f"--{name}={value}" for name, value in options.items())]
    command = ["unshare", "--mount", "--net", "bash", "-c", NODE, "node", str(folders["bpf"]), *agent]
    cgroup.mkdir()
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        started = Node(environment, process.pid, folders["bpf"] / "sluiceway")
        wait_until_ready(started, process, log)
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            process.kill()
            cgroup.rmdir()


def wait_until_ready(node: Node, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when /readyz says yes."""
    deadline = time.monotonic() + READY_S
    while node.run("python", "-c", PROBE, f"http://127.0.0.1:{PORT}/readyz").returncode:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()


def test_dpctl_reads_what_the_agent_pinned(node: Node) -> None:
    status = node.run("dpctl", "--pin-root", str(node.pins), "status")
    assert status.returncode == 0, status.stderr

    services = node.run("dpctl", "--pin-root", str(node.pins), "service", "list", "-o", "json")
    assert "10.96.0.1" in json.dumps(json.loads(services.stdout)), services.stderr
