"""A node with a real agent whose API server has the policed cluster, its pods attached, and another node to ask."""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from agent.netlink import netns
from bench import policed_cluster
from bench.api_server import ApiServer, resident_mib, running, until
from bench.node import Node, agent_on, node_with_pods
from bench.policed_cluster import Addresses
from maps import paths

READY = "http://127.0.0.1:9650/readyz"  # in the node's namespace
CONFIG = b'{"cniVersion":"1.1.0","name":"sluiceway","type":"sluiceway-cni"}'
FLOWS = 65_536  # more than a bench begins in their time
SETTLES_S = 2.0  # after its first sync an agent has other things to do once


@dataclass(frozen=True, slots=True)
class Agent:
    """One that is ready, with the whole cluster or without policies and other nodes' pods."""

    process: int
    server: ApiServer
    sync_ms: float  # from the first list to its readiness

    def resident_mib(self) -> float:
        """What it has in memory."""
        return resident_mib(self.process)


@contextmanager
def policed_node(label: str) -> Iterator[Node]:
    """The node, and its pods' namespaces; the last one is not a pod's but the other node's, behind the uplink."""
    with node_with_pods(label, len(policed_cluster.network().pods) + 1) as node:
        other = Path(node.pods[-1]).name
        node.run("ip", "link", "set", "u1", "netns", other)
        lines = f"""
            link set lo up
            link set u1 up
            address add {policed_cluster.OTHER_ADDRESS}/24 dev u1
            route add {policed_cluster.NODE_PODS[0]} via {policed_cluster.NODE_ADDRESS}
            route add local {policed_cluster.OTHER_PODS[0]} dev lo
        """
        subprocess.run(["ip", "-netns", other, "-batch", "-"], check=True, text=True, input=lines)
        yield node


@contextmanager
def ready_agent(node: Node, script: str, *, policies: bool) -> Iterator[Agent]:
    """An agent that watches a server of *script*, for the block."""
    folder = node.folder / ("policies" if policies else "none")
    folder.mkdir(exist_ok=True)
    words = ["--addresses", str(node.folder / "addresses"), *(("--policies",) if policies else ())]
    with (
        ThreadPoolExecutor(1) as watcher,
        running(script, folder, *words, inside=node.inside()) as server,
    ):
        ready_at = watcher.submit(_ready_at, node)
        with _process(node, server) as process:
            agent = Agent(process, server, (ready_at.result() - server.asked_at()) * 1e3)
            time.sleep(SETTLES_S)
            yield agent


def attach(node: Node) -> Addresses:
    """Attach all pods as a runtime does, one after the other; servers that start later have their addresses."""
    names = policed_cluster.network().pods
    given = {
        name.name: _add(node, path, name.namespace, name.name, f"u{i}")
        for i, (name, path) in enumerate(zip(names, node.pods, strict=False))
    }
    (node.folder / "addresses").write_text(json.dumps(given))
    return given


def _add(node: Node, path: str, namespace: str, name: str, uid: str) -> tuple[str, ...]:
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_UID={uid}"
    environment: Mapping[str, str] = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": Path(path).name,
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": path,
        "CNI_PATH": str(node.folder / "bin"),
        "CNI_ARGS": args,
        "SLUICEWAY_CNI_SOCKET": str(node.socket),
    }
    command = [str(paths.cni_binary())]
    done = subprocess.run(command, env=environment, input=CONFIG, stdout=subprocess.PIPE, check=False)
    answer = json.loads(done.stdout)
    if done.returncode:
        raise SystemExit(f"{name} is not attached: {answer}")
    return tuple(each["address"].partition("/")[0] for each in answer["ips"])


@contextmanager
def _process(node: Node, server: ApiServer) -> Iterator[int]:
    (node.folder / "conf").mkdir(exist_ok=True)
    for one in (node.folder / "conf").iterdir():
        one.unlink()  # an earlier agent's, which this one writes anew when it serves
    with agent_on(node, f"--max-flows={FLOWS}", kubeconfig=server.kubeconfig) as process:
        yield process


def _ready_at(node: Node) -> float:
    """When the agent is, by the monotonic clock."""
    until(lambda: _is_ready(node), every_s=0.01)
    return time.monotonic()


def _is_ready(node: Node) -> bool:
    with netns.inside(f"/run/netns/{node.name}"):
        try:
            with urlopen(READY, timeout=5) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004  HTTP's OK
        except OSError:
            return False
