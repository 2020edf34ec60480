"""The pods' network namespaces on the lab's nodes, and sockets in them."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.kubernetes.cluster import Cluster
from lab.machine import Machine

PROGRAM = Path(__file__).with_name("wire.py")
RESULTS = "var/lib/cni/results"  # what libcni remembers of each attachment
NODE_ITSELF = "/proc/1/ns/net"


def namespaces(node: Machine) -> Mapping[tuple[str, str], str]:
    """The network namespaces of a node's pods, as paths of the node, by the pods' namespaces and names."""
    saved = [json.loads(path.read_text()) for path in (node.root / RESULTS).iterdir()]
    arguments = [(dict(one["cniArgs"]), one["netns"]) for one in saved]
    return {(told["K8S_POD_NAMESPACE"], told["K8S_POD_NAME"]): netns for told, netns in arguments}


@dataclass(frozen=True, slots=True)
class Sockets:
    """A program on a node that opens sockets in its pods; it ends with its standard input."""

    process: subprocess.Popen[str]

    def __call__(self, do: str, **request: Any) -> Any:
        """What the program answers to a request of `wire.Wire`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the program that opens sockets has ended"
        return json.loads(line)


@contextmanager
def sockets(cluster: Cluster) -> Iterator[Mapping[str, Sockets]]:
    """The programs of all nodes, by the nodes' names."""
    running: dict[str, Sockets] = {}
    try:
        for node in cluster.site.nodes:
            command = node.command([sys.executable, str(PROGRAM)])
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            running[node.name] = Sockets(subprocess.Popen(command, env=node.environment(), text=True, **pipes))  # type: ignore[call-overload]
        yield running
    finally:
        for each in running.values():
            each.process.communicate(timeout=60)


def together(calls: Sequence[tuple[Sockets, str, Mapping[str, Any]]]) -> list[Any]:
    """What each answers, all at the same time."""
    with ThreadPoolExecutor(len(calls) or 1) as pool:
        return list(pool.map(lambda call: call[0](call[1], **call[2]), calls))
