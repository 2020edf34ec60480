"""How long a container runtime waits for a pod's network: ADD by the shim, one at a time and many at once.

A C program (``calls.c``) executes plugins as a runtime does and takes the time from before the process is made until
its end. A peer, Debian's ``ptp`` with ``host-local``, does the same in the same run and namespaces, set by set.
"""

import json
import math
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from bench import tools
from bench.node import Node, agent_on, node_with_pods
from bench.sets import Result
from maps import paths

AT_ONCE = 32
BESIDE = 200  # pods that are there already, in the last rows
ROUNDS = 2  # of each set: five sets make ten, 320 calls at once
ONE_LIMIT_MS, MANY_LIMIT_MS, SHIM_LIMIT_MS = 15, 100, 2
PEER = Path("/usr/lib/cni/ptp")  # containernetworking-plugins
SUBNETS = [[{"subnet": "10.245.0.0/16"}]]  # with IPv6 it waits for duplicate address detection

_lives = count(1)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who executes one plugin with one configuration."""

    node: Node
    program: Path
    plugin: Path
    config: Path

    def call(self, command: str, at_once: int, life: int = 0) -> list[float]:
        """The milliseconds of each pod's call, all of them good; a pod of another life is another container."""
        argv = [str(self.program), str(at_once), command, str(self.plugin), str(self.config), str(life)]
        environment = {"CALLS_SOCKET": f"SLUICEWAY_CNI_SOCKET={self.node.socket}"}
        output = subprocess.run(
            self.node.inside(*argv, *self.node.pods), check=True, text=True, stdout=subprocess.PIPE, env=environment
        ).stdout
        took = []
        for line in output.splitlines():
            ns, code, answer = line.split(" ", 2)
            if code != "0":
                raise SystemExit(f"adds: {command} by {self.plugin.name} failed with {code}: {answer}")
            took.append(int(ns) / 1e6)
        return took

    def add(self, at_once: int) -> list[float]:
        """As :meth:`call`, for ADD; what it made is unmade again."""
        life = next(_lives)
        took = self.call("ADD", at_once, life)
        self.call("DEL", len(self.node.pods), life)
        return took


def measured(sets: int, pods: int = AT_ONCE, beside: int = BESIDE) -> list[Result]:
    """ADD one at a time and *pods* at once, ours and the peer's; ours on a node that has *beside* others too.

    And what a call costs that asks for nothing.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        program = tools.c_program("calls", folder)
        full = stack.enter_context(node_with_pods("adds", pods + beside))
        stack.enter_context(agent_on(full))
        node, others = replace(full, pods=full.pods[:pods]), replace(full, pods=full.pods[pods:])
        ours = Caller(
            node,
            program,
            paths.cni_binary(),
            _config(folder / "ours", {"cniVersion": "1.1.0", "type": "sluiceway-cni"}),
        )
        peer = Caller(node, program, PEER, _config(folder / "peer", _peer(node.folder / "host-local")))
        callers = {"ours": ours} | ({"peer": peer} if PEER.exists() else {})
        one: dict[str, list[float]] = {name: [] for name in callers}
        many: dict[str, list[float]] = {name: [] for name in callers}
        status = []
        for _ in range(sets):
            for name, caller in callers.items():
                one[name] += caller.add(1)
                for _ in range(ROUNDS):
                    many[name] += caller.add(pods)
            status += ours.call("STATUS", 1)
        replace(ours, node=others).call("ADD", pods)
        crowded = [took for _ in range(sets * ROUNDS) for took in ours.add(pods)]
    return [*_results(one, many, status, pods), *_crowded(crowded, pods, beside)]


def _crowded(took: list[float], pods: int, beside: int) -> list[Result]:
    what = f"ADD {pods} at once beside {beside} pods"
    return [
        Result(f"{what}, p50", share_below(took, 0.50), "ms"),
        Result(f"{what}, p99", share_below(took, 0.99), "ms"),
    ]


def _results(
    one: Mapping[str, list[float]], many: Mapping[str, list[float]], status: list[float], pods: int
) -> list[Result]:
    results = [
        Result("ADD one at a time, p50", share_below(one["ours"], 0.50), "ms", at_most=ONE_LIMIT_MS),
        Result("ADD one at a time, p99", share_below(one["ours"], 0.99), "ms"),
        Result(f"ADD {pods} at once, p50", share_below(many["ours"], 0.50), "ms"),
        Result(f"ADD {pods} at once, p99", share_below(many["ours"], 0.99), "ms", at_most=MANY_LIMIT_MS),
        Result("STATUS, all of it, p50", share_below(status, 0.50), "ms", at_most=SHIM_LIMIT_MS),
    ]
    if "peer" in one:
        peer_one, peer_many = share_below(one["peer"], 0.50), share_below(many["peer"], 0.99)
        results += [
            Result("ptp with host-local, one at a time, p50", peer_one, "ms"),
            Result(f"ptp with host-local, {pods} at once, p99", peer_many, "ms"),
            Result("one at a time, p50 to ptp's", results[0].value / peer_one, ""),
            Result(f"{pods} at once, p99 to ptp's", results[3].value / peer_many, ""),
        ]
    return results


def share_below(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed: the nearest rank, never between two."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def _config(path: Path, plugin: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps({"name": "bench", **plugin}))
    return path


def _peer(data: Path) -> Mapping[str, Any]:
    ipam = {"type": "host-local", "dataDir": str(data), "ranges": SUBNETS}
    return {"cniVersion": "1.0.0", "type": "ptp", "mtu": 1500, "ipam": ipam}
