"""Pods with two interfaces come and go while the agent is killed again and again: the node is afterwards what it was.

``make fastpath`` makes 200, ``make fastpath-soak`` 1,000 (``SLUICEWAY_SOAK_PODS``).
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.netns.agents import Node
from tests.netns.listing import settled
from tests.netns.pods import Runtime
from tests.netns.test_network import asks, definition, definitions, flags, is_clean, links, make, records, write
from tests.netns.test_network_own import OURS
from tests.patience import until

pytestmark = [pytest.mark.kernel, pytest.mark.netns, pytest.mark.fastpath, pytest.mark.timeout(1800)]

PODS, KILLED_EVERY = int(os.environ.get("SLUICEWAY_SOAK_PODS", "200")), 50
AT_ONCE = 4  # of which one kills
# by our agent, by a plugin that is executed, with a program and maps of its own, of a device of the node
FURTHER = ("ours", "lan", "xsk", "nic")
TRIES = 20
BY_PACKETS = ("affinities", "flows", "fragments", "loads", "sock_peers")  # what is there as long as packets have it


@pytest.fixture
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    root = tmp_path_factory.mktemp("s") / "n"  # a socket's path has 107 octets
    made = make(f"sws{os.getpid()}", root)
    ipam = {"type": "host-local", "subnet": "10.51.0.0/16", "dataDir": str(made.root / "ipam")}
    nic = definition("nic", type="sluiceway-cni", kind="macvlan", master="u0", ipam=ipam)
    write(made, [*definitions(made.root), *OURS, nic])
    yield made
    made.remove()


def test_nothing_is_left_of_pods_whose_agents_were_killed(node: Node) -> None:
    runtime = Runtime(node)
    node.start(*flags(node))
    runtime.wait()
    for number in range(len(FURTHER)):  # folders and the bridge of the first ones stay
        life(runtime, number)
    (node.root / "run/cni-intents").mkdir(exist_ok=True)  # as a DEL makes it that finds no agent
    before = settled(partial(held, node))
    tasks: list[Callable[[], None]] = []
    for number in range(PODS):
        tasks += [partial(life, runtime, number)]
        tasks += [partial(die, node)] if number % KILLED_EVERY == KILLED_EVERY // 2 else []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()
    until(lambda: not records(node), lambda: f"records are left: {records(node)}")
    until(lambda: is_clean(node, runtime), lambda: f"left: {runtime.left()}")
    until(lambda: not changed(node, before), lambda: f"it had, and now has: {changed(node, before)}")
    node.end(node.running[-1])


def changed(node: Node, before: Mapping[str, list[str]]) -> Mapping[str, tuple[list[str], list[str]]]:
    """What differs by now: what there was alone, and what there is alone."""
    now = held(node)
    found = {kind: (sorted({*before[kind]} - {*now[kind]}), sorted({*now[kind]} - {*before[kind]})) for kind in before}
    return {kind: both for kind, both in found.items() if any(both)}


def life(runtime: Runtime, number: int) -> None:
    """A pod as a runtime makes and unmakes it; what fails is undone and tried again, as a kubelet does."""
    pod, further = f"{runtime.node.name}p{number}", FURTHER[number % len(FURTHER)]
    subprocess.run(["ip", "netns", "add", pod], check=True)
    try:
        for attempt in range(TRIES):
            sandbox = f"c-{pod}-{attempt}"
            code, said = runtime.call("ADD", pod, sandbox, **asks(further))
            there = [*links(runtime, pod)]
            assert code or there == ["eth0", "net1"], (said, there)
            retried(runtime, pod, sandbox)
            assert links(runtime, pod) == {}, f"after an ADD of the code {code}"
            if code == 0:
                return
        pytest.fail(f"{pod} has no network after {TRIES} tries")
    finally:
        subprocess.run(["ip", "netns", "del", pod], check=True)


def retried(runtime: Runtime, pod: str, sandbox: str) -> None:
    """DEL until an agent has done it; the shim's own yes without one is but a note for the next."""
    for _ in range(TRIES):
        runtime.wait()
        code, _ = runtime.call("DEL", pod, sandbox)
        if code == 0 and not links(runtime, pod):
            return
    pytest.fail(f"{pod} is not unmade after {TRIES} tries")


def die(node: Node) -> None:
    """Kill the agent, whatever it is doing, and start the next."""
    process = node.running[-1]
    process.send_signal(signal.SIGKILL)
    process.wait()
    node.running.remove(process)
    node.start(*flags(node))


def held(node: Node) -> dict[str, list[str]]:
    """All that a pod could leave on the node."""
    dpctl = (sys.executable, "-c", "import sys; from dpctl.app import main; sys.exit(main())")
    maps = json.loads(node.run(*dpctl, f"--pin-root={node.pins}", "map", "list", "-o", "json"))
    spaces = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    return {
        "links": [one["ifname"] for one in json.loads(node.ip("-j link"))],
        "routes": [  # a bridge without ports loses its carrier a moment after the last of them, which its routes tell
            line.replace(" linkdown", "")
            for kind in ("-4", "-6")
            for line in node.ip(f"{kind} route show table all").splitlines()
        ],
        "neighbours": node.ip("neigh show nud permanent").splitlines(),
        "rules": node.ip("rule show").splitlines(),
        "namespaces": [line for line in spaces.splitlines() if line.startswith(node.name)],
        "files": [path for path in below(node.root) if "/bpf/" not in path],
        "pins": below(node.bpffs),
        "entries": [f"{one['name']} {one['used']}" for one in maps if one["name"] not in BY_PACKETS],
    }


def below(folder: Path) -> list[str]:
    """Every file, and every folder."""
    return sorted(str(path) for path in folder.rglob("*"))
