"""What a container runtime does, beside a real agent: executes the shim, and looks at what is left."""

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.pods.attachments import boot_id
from agent.pods.journal import Journal
from maps import abi, paths
from maps.pins import PinRoot
from maps.registry import open_table
from maps.table import Table
from tests.netns.agents import READY_S, Node

Answer = tuple[int, dict[str, Any]]
CLUSTER6 = """
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.244.0.0/24, podCIDRs: [10.244.0.0/24, "fd00:244::/64"]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: InternalIP, address: "2001:db8::1"}]}
"""


@dataclass
class Runtime:
    """A runtime on a node of a test's."""

    node: Node
    pods: list[str] = field(default_factory=list)

    def make(self) -> str:
        """A pod's namespace."""
        name = f"{self.node.name}p{len(self.pods)}"
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.pods.append(name)
        return name

    def close(self) -> None:
        """Remove the namespaces."""
        for name in self.pods:
            subprocess.run(["ip", "netns", "del", name], check=True)

    def command(self, command: str, pod: str, container: str = "") -> tuple[list[str], dict[str, str]]:
        """What to execute, and its environment."""
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container or f"c-{pod}",
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": f"/run/netns/{pod}",
            "CNI_PATH": str(self.node.root / "bin"),
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}",
            "SLUICEWAY_CNI_SOCKET": str(self.node.root / "run/cni.sock"),
        }
        return [str(paths.cni_binary())], environment

    def call(self, command: str, pod: str = "none", container: str = "", **config: Any) -> Answer:
        """Execute the shim; its exit code and what it printed."""
        return self.execute(command, pod, conf(**config), container)

    def execute(self, command: str, pod: str, stdin: bytes, container: str = "", **environment: str) -> Answer:
        """Execute the shim with this on its standard input, and more in its environment."""
        argv, base = self.command(command, pod, container)
        done = subprocess.run(
            argv, env={**base, **environment}, input=stdin, capture_output=True, check=False, timeout=READY_S
        )
        return done.returncode, json.loads(done.stdout or "{}")

    def inside(self, pod: str, *command: str) -> str:
        """What a command says in a pod's namespace."""
        return self.node.run("nsenter", f"--net=/run/netns/{pod}", *command)

    def open(self, spec: Any) -> Table[Any, Any]:
        """A map of the agent's."""
        generation = PinRoot(self.node.pins).current()
        assert generation
        return open_table(spec, generation.maps)

    def collect(self) -> None:
        """Have the agent delete whatever is attached: what a test left when it failed is not the next one's fault."""
        valid: dict[str, Any] = {"cni.dev/valid-attachments": []}
        self.call("GC", **valid)

    def wait(self) -> None:
        """Until the agent serves."""
        deadline = time.monotonic() + READY_S
        while self.call("STATUS")[0]:
            assert time.monotonic() < deadline, self.call("STATUS")
            time.sleep(0.05)

    def pins(self) -> list[str]:
        """The pinned links of pods' programs."""
        return [pin for pin in _names(self.node.pins / "links") if pin.startswith("pod_")]

    def left(self) -> Mapping[str, object]:
        """What there is of pods, empty when all are gone."""
        node = self.node
        tables: dict[str, list[Any]] = {}
        for spec in (abi.ENDPOINTS, abi.POD_NETNS, abi.SERVICES):
            table = self.open(spec)
            tables[spec.name] = list(table.items())
            table.close()
        found = {
            "devices": [link["ifname"] for link in json.loads(node.ip("-j link")) if link["ifname"].startswith("swp")],
            "routes": [r for r in json.loads(node.ip("-j route show proto 89")) if r["dev"] != "u0"],
            "journal": [entry.key for entry in Journal(node.root / "state/attachments", boot_id()).load()],
            "intents": _names(node.root / "run/cni-intents"),
            "endpoints": [a for a, e in tables["endpoints"] if not e.flags & abi.EndpointFlag.ENDPOINT_NODE],
            "namespaces": tables["pod_netns"],
            "host ports": [key for key, _ in tables["services"] if str(key.addr.ipv4_mapped) != "10.96.0.10"],
            "links": [pin for pin in self.pins() if not _is_stale(node, pin)],
            "addresses": _used(node),
        }
        return {name: some for name, some in found.items() if some}


def conf(version: str = "1.1.0", **config: Any) -> bytes:
    """What a runtime writes to the plugin's standard input."""
    return json.dumps({"cniVersion": version, "name": "sluiceway", "type": "sluiceway-cni", **config}).encode()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def _is_stale(node: Node, pin: str) -> bool:
    """Whether its device is gone: the pin goes with the next look at the hooks."""
    indexes = {str(link["ifindex"]) for link in json.loads(node.ip("-j link"))}
    return pin.rpartition("-")[2] not in indexes


def _used(node: Node) -> list[str]:
    """Addresses in use, as the metrics say."""
    lines = node.health("metrics").splitlines()
    return [line for line in lines if line.startswith("sluiceway_addresses_used") and not line.endswith(" 0.0")]
