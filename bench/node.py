"""A node with its agent, and pods' namespaces beside it: what the benches of CNI calls run against."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.options import mounts
from bench.testbed import PREFIX
from maps import paths

READY_S = 60  # on a machine on which much else runs
NODE = """
apiVersion: v1
kind: Node
metadata: {name: node}
spec: {podCIDR: 10.244.0.0/16, podCIDRs: [10.244.0.0/16, "fd00:244::/64"]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: InternalIP, address: "2001:db8::1"}]}
"""


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its network namespace's name, a folder, and the namespaces of pods, as files."""

    name: str
    folder: Path
    pods: tuple[str, ...]

    @property
    def socket(self) -> Path:
        """Where the agent's CNI server listens."""
        return self.folder / "run/cni.sock"

    def inside(self, *command: str) -> list[str]:
        """A command line that runs in the node's network namespace; its mounts stay ours."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *command]

    def run(self, *command: str) -> str:
        """A command's output, run in the namespace."""
        return subprocess.run(self.inside(*command), check=True, text=True, stdout=subprocess.PIPE).stdout


@contextmanager
def node_with_pods(label: str, pods: int) -> Iterator[Node]:
    """A node with an uplink, a bpffs and a cgroup, and so many pods' namespaces; taken down at the end of the block."""
    name = f"{PREFIX}{os.getpid()}-{label}"
    cgroup = mounts.cgroup2(mounts.MOUNTINFO.read_text())
    if cgroup is None:
        raise SystemExit(f"{label}: no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX)))
        for each in ("bpf", "manifests", "bin", "conf"):
            (folder / each).mkdir()
        (folder / "manifests/node.yaml").write_text(NODE)
        (cgroup / name).mkdir()
        stack.callback((cgroup / name).rmdir)
        _run("mount", "-t", "bpf", name, str(folder / "bpf"))
        stack.callback(_run, "umount", str(folder / "bpf"))
        names = [name, *(f"{name}{i}" for i in range(pods))]
        for each in names:
            _run("ip", "netns", "add", each)
            stack.callback(_run, "ip", "netns", "del", each)
        node = Node(name, folder, tuple(f"/run/netns/{each}" for each in names[1:]))
        node.run("ip", "link", "set", "lo", "up")
        node.run("ip", "link", "add", "u0", "type", "veth", "peer", "name", "u1")
        for words in ("link set u0 up", "link set u1 up", "addr add 192.0.2.1/24 dev u0"):
            node.run("ip", *words.split())
        yield node


@contextmanager
def agent_on(node: Node, *more: str, kubeconfig: Path | None = None) -> Iterator[int]:
    """An agent that serves, while the block runs, by its process id; what it says is in ``agent.log`` of the folder.

    Its objects are those of the node's manifests, or of the API server of a kubeconfig.
    """
    cgroup = mounts.cgroup2(mounts.MOUNTINFO.read_text())
    options = {
        "node-name": "node",
        **({"kubeconfig": kubeconfig} if kubeconfig else {"manifests": node.folder / "manifests"}),
        "pin-root": node.folder / "bpf/sluiceway",
        "cgroup": f"{cgroup}/{node.name}",
        "state-dir": node.folder / "state",
        "run-dir": node.folder / "run",
        "cache-dir": node.folder / "cache",
        "cni-bin-dir": node.folder / "bin",
        "cni-conf-dir": node.folder / "conf",
        "objects": "shipped",
        "max-flows": 4096,
    }
    argv = [sys.executable, "-m", "agent.main", "run", *(f"--{name}={value}" for name, value in options.items()), *more]
    log = node.folder / "agent.log"
    with log.open("a") as file, subprocess.Popen(node.inside(*argv), stderr=file) as process:
        try:
            _wait(node, process, log)
            yield process.pid
        finally:
            process.terminate()
            process.wait(READY_S)


def _wait(node: Node, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the agent has installed its configuration, which it does once it serves."""
    deadline = time.monotonic() + READY_S
    while not any((node.folder / "conf").iterdir()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the agent does not serve:\n{log.read_text()}")
        time.sleep(0.05)
    environment = {"CNI_COMMAND": "STATUS", "SLUICEWAY_CNI_SOCKET": str(node.socket)}
    config = b'{"cniVersion":"1.1.0","name":"sluiceway","type":"sluiceway-cni"}'
    while subprocess.run(
        [paths.cni_binary()], env=environment, input=config, stdout=subprocess.DEVNULL, check=False
    ).returncode:
        if time.monotonic() > deadline:
            raise SystemExit(f"the agent serves no pods:\n{log.read_text()}")
        time.sleep(0.05)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
