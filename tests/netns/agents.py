"""An agent process of a test's own: its namespace, bpffs, cgroup and folders, all gone at the end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TextIO

from agent.netlink import netns as namespace
from agent.options.mounts import cgroup2, read_mountinfo

CLUSTER = """
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.244.0.0/24, podCIDRs: [10.244.0.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  ipFamilies: [IPv4]
  ports: [{name: http, port: 80, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.1.5], conditions: {ready: true}}]
"""
READY_S = 180  # on a machine on which much else runs


@dataclass(slots=True)
class Node:
    """A node's surroundings; agents are started in them one after the other."""

    name: str
    root: Path
    cgroup: Path
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def bpffs(self) -> Path:
        """Its own bpffs."""
        return self.root / "bpf"

    @property
    def pins(self) -> Path:
        """The agent's pin root."""
        return self.bpffs / "sluiceway"

    @classmethod
    def make(cls, name: str, root: Path) -> Self:
        """Build it: a namespace with an uplink, a bpffs, a cgroup."""
        mounted = cgroup2(read_mountinfo())
        assert mounted
        node = cls(name, root, mounted / name)
        for folder in ("bpf", "manifests", "bin", "conf"):
            (root / folder).mkdir()
        node.cgroup.mkdir()
        _run("mount", "-t", "bpf", name, str(node.bpffs))
        _run("ip", "netns", "add", name)
        # addresses that are still being checked for duplicates make routes later, which a comparison would see
        node.run("sysctl", "-q", "-w", "net.ipv6.conf.default.accept_dad=0")
        node.ip("link set lo up")
        node.ip("link add u0 type veth peer name u1")
        for words in ("link set u0 up", "link set u1 up", "addr add 192.0.2.1/24 dev u0"):
            node.ip(words)
        # what the kernel sees of a carrier a busy machine's devices and routes have later
        deadline = time.monotonic() + READY_S
        while not all(node.has_come_up(device) for device in ("u0", "u1")):
            assert time.monotonic() < deadline, "the uplink has no carrier, or no address of the link"
            time.sleep(0.01)
        (root / "manifests/cluster.yaml").write_text(CLUSTER)
        return node

    def remove(self) -> None:
        """End what runs, and leave nothing."""
        with ExitStack() as steps:  # from the last on, each also when another fails
            steps.callback(self.cgroup.rmdir)
            steps.callback(_run, "ip", "netns", "del", self.name)
            steps.callback(self._unmount)
            for process in self.running:
                steps.callback(process.wait)
                steps.callback(process.kill)

    def _unmount(self) -> None:
        _run("umount", str(self.bpffs))
        shutil.rmtree(self.root)  # never through a bpffs that is still mounted

    def has_come_up(self, device: str) -> bool:
        """Has a device a carrier, and the route of its link-local address, which a worker of the kernel makes?"""
        routes = self.ip(f"-6 route show table local dev {device}")
        return "state UP" in self.ip(f"-o link show {device}") and "local fe80::" in routes

    def ip(self, words: str) -> str:
        """What `ip` says in the namespace."""
        return self.run("ip", *words.split())

    def run(self, *command: str) -> str:
        """A command's output, run in the namespace; its mounts stay ours."""
        return _run(*self.inside, *command)

    def agent(self, command: str, *more: str) -> list[str]:
        """The agent's command line."""
        options = {
            "node-name": "n1",
            "manifests": self.root / "manifests",
            "pin-root": self.pins,
            "cgroup": self.cgroup,
            "state-dir": self.root / "state",
            "run-dir": self.root / "run",
            "cache-dir": self.root / "cache",
            "cni-bin-dir": self.root / "bin",
            "cni-conf-dir": self.root / "conf",
            "objects": "shipped",
            "max-flows": 4096,
        }
        flags = [f"--{name}={value}" for name, value in options.items()]
        return [*self.inside, sys.executable, "-m", "agent.main", command, *flags, *more]

    @contextmanager
    def agent_runs(self, *more: str, environ: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
        """An agent that is ready; ended by SIGTERM unless it ended itself."""
        process = self.start(*more, environ=environ)
        self.wait_ready()
        yield process
        self.end(process)

    def end(self, process: subprocess.Popen[str]) -> None:
        """End one by SIGTERM, and see that it ends well."""
        process.send_signal(signal.SIGTERM)
        assert process.wait(READY_S) == 0
        self.running.remove(process)

    def start(self, *more: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """An agent, started."""
        return self.start_command(self.agent("run", *more), environ)

    def start_with_api(self, kubeconfig: Path, *more: str, log: TextIO | None = None) -> subprocess.Popen[str]:
        """An agent that watches an API server."""
        command = [word for word in self.agent("run", *more) if not word.startswith("--manifests")]
        return self.start_command([*command, f"--kubeconfig={kubeconfig}"], log=log)

    def start_without_ipv6(self) -> subprocess.Popen[str]:
        """An agent that sees no sysctl of IPv6, as where the kernel has none."""
        hide = 'mount -t tmpfs none /proc/sys/net/ipv6 && exec "$@"'
        command = self.agent("run")[len(self.inside) :]  # each namespace has sysctls of its own to hide
        return self.start_command([*self.inside, "unshare", "--mount", "sh", "-c", hide, "sh", *command])

    def start_command(
        self, command: list[str], environ: Mapping[str, str] | None = None, log: TextIO | None = None
    ) -> subprocess.Popen[str]:
        """An agent, started by a command line; it logs where the tests do, or into *log*."""
        process = subprocess.Popen(command, text=True, env={**os.environ, **(environ or {})}, stderr=log)
        self.running.append(process)
        return process

    def status(self) -> list[dict[str, Any]]:
        """The rows of `dpctl status`."""
        code = "import sys; from dpctl.app import main; sys.exit(main())"
        words = ["--pin-root", str(self.pins), "status", "--run-dir", str(self.root / "run"), "-o", "json"]
        rows: list[dict[str, Any]] = json.loads(self.run(sys.executable, "-c", code, *words))
        return rows

    def problems(self) -> set[tuple[str, str]]:
        """Object and field of each problem that `dpctl status` tells."""
        return {(row["object"], row["field"]) for row in self.status() if row["about"] == "problem"}

    def wait_ready(self) -> None:
        """Until /readyz says so."""
        deadline = time.monotonic() + READY_S
        while self.health("readyz") != "ok":
            assert time.monotonic() < deadline, self.health("readyz")
            time.sleep(0.05)

    def health(self, page: str) -> str:
        """What the agent answers on a page of its HTTP server; empty when it does not."""
        with namespace.inside(f"/run/netns/{self.name}"):
            return get(page)

    @property
    def inside(self) -> list[str]:
        """What runs a command in the namespace."""
        return ["nsenter", f"--net=/run/netns/{self.name}"]


def get(page: str) -> str:
    """A page of the agent in this namespace."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:9650/{page}", timeout=30) as answer:
            return str(answer.read().decode().strip())
    except OSError as error:
        return str(error)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
