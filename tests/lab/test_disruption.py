"""Backends roll, agents die, programs and maps are exchanged, XDP comes and goes: no connection fails, none is reset.

``SLUICEWAY_DISRUPTION_S`` says for how many seconds, else it is skipped; ``make disruption`` takes a minute twice.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle
from pathlib import Path

import pytest

from bench import tools
from lab import agents, cluster, pods, site
from lab.cluster import Cluster
from lab.errors import LabError
from lab.machine import Machine
from lab.pods import Port
from lab.site import Options
from tests.lab.test_xdp import take_what_xdp_sends

SECONDS = float(os.environ.get("SLUICEWAY_DISRUPTION_S", "0"))
PORT = 8080
PROGRAM = "connection_load"
RATE, KEPT = 500, 1000  # of each of the two loads: new connections a second, and open ones
DRAINED_S = 6.0  # longer than a node is without an agent that would hear of it
SERVES_S = 0.5  # in which CNI is answered
AGENT_S = 120  # in which one is back
SAYS_S = 60.0  # in which a load says what it saw, on a busy machine
HERE = Path(__file__).parent
EXCHANGE = [sys.executable, str(HERE / "exchange_links.py")]  # every second, on the third node
# in turn: as it was, with XDP, with another size of maps (a generation of its own), with both
FLAGS = ((), ("--xdp=native",), ("--max-services=70000",), ("--xdp=native", "--max-services=70000"))

pytestmark = [
    pytest.mark.netns,
    pytest.mark.kernel,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not SECONDS, reason="asked for by SLUICEWAY_DISRUPTION_S"),
]


def service(app: str) -> str:
    """A Service of that name, with a node port."""
    spec = {"type": "NodePort", "ipFamilyPolicy": "RequireDualStack", "selector": {"app": app}}
    ports = [{"port": 80, "targetPort": PORT}]
    return json.dumps({"kind": "Service", "metadata": {"name": app}, "spec": {**spec, "ports": ports}})


@pytest.fixture(params=[True, False], ids=["socket hooks", "tc alone"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes; the other end of the first one's uplink takes what XDP sends."""
    name = f"swlab-disruption-{os.getpid()}"
    try:
        up = cluster.up(name, Options(nodes=3, socket_lb=request.param), print)
        take_what_xdp_sends(up, tmp_path)
        tools.c_program(PROGRAM, up.site.folder, HERE)
        yield up
    finally:
        site.remove(name)


def test_no_connection_fails_whatever_is_exchanged(made: Cluster) -> None:
    program = str(made.site.folder / PROGRAM)
    rolling, steady = (made.apply(service(app))[0] for app in ("rolling", "steady"))
    for node in made.site.node_names:
        serve(made, f"steady-{node}", node, "steady")
        serve(made, f"rolling-{node}", node, "rolling")
    by_name = [str(word) for each in (rolling, steady) for word in (each["spec"]["clusterIP"], 80)]
    first = made.site.machine("n1")
    ports = [each["spec"]["ports"][0]["nodePort"] for each in (rolling, steady)]
    by_port = [str(word) for port in ports for word in (first.addresses[1], port)]
    asking = made.run("asking", "n1", load(program, by_name))
    outside = made.site.outside
    outside.daemon("load", load(program, by_port))
    third = made.site.machine("n3")
    third.daemon("exchange", EXCHANGE)
    until = time.monotonic() + SECONDS
    with ThreadPoolExecutor() as pool:
        done = [pool.submit(roll, made, until), pool.submit(exchange, first, until)]
        done.append(pool.submit(die_and_return, made.site.machine("n2"), until))
        times = [each.result() for each in done]
    third.stop("exchange", within_s=SAYS_S)
    times.append(int((third.home / "exchange.log").read_text()))
    pods.end(first, asking, signal.SIGTERM, SAYS_S)
    outside.stop("load", within_s=SAYS_S)
    assert min(times) >= 1
    assert times[-1] > SECONDS / 2
    inside = json.loads(pods.log(first, asking).read_text())
    for seen in (inside, json.loads((outside.home / "load.log").read_text())):
        print(times, seen)
        assert not any(seen["failed"].values()), seen
        assert seen["kept"] == KEPT
        assert seen["opened"] > RATE * SECONDS / 2


def load(program: str, targets: list[str]) -> list[str]:
    """The command that makes connections to the first of two targets, and keeps some to the second."""
    return [program, "load", *targets[:2], str(RATE), *targets[2:], str(KEPT)]


def serve(made: Cluster, called: str, node: str, app: str) -> None:
    """A pod that answers."""
    argv = [str(made.site.folder / PROGRAM), "serve", str(PORT)]
    again(lambda: made.run(called, node, argv, labels={"app": app}, ports=(Port("tcp", PORT),)))


def again(act: Callable[[], object]) -> None:
    """Act until it succeeds, as the kubelet does: while no agent runs CNI asks to be called again."""
    deadline = time.monotonic() + AGENT_S
    while True:
        try:
            act()
        except LabError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def roll(made: Cluster, until: float) -> int:
    """A new pod in place of an old one, again and again; how often."""
    old = {node: f"rolling-{node}" for node in made.site.node_names}
    for times, node in enumerate(cycle(old)):
        if time.monotonic() > until:
            return times
        called = f"rolling-{node}-{times}"
        serve(made, called, node, "rolling")
        again(partial(made.delete, old[node], grace_s=DRAINED_S))
        old[node] = called
    raise AssertionError


def exchange(node: Machine, until: float) -> int:
    """Another agent in place of each, with other programs and maps; how often."""
    for times, flags in enumerate(cycle(FLAGS)):
        if time.monotonic() > until:
            return times
        agents.stop(node)
        agents.start_again(node, flags=flags)
        agents.wait(node)
        time.sleep(SERVES_S)
    raise AssertionError


def die_and_return(node: Machine, until: float) -> int:
    """The agent is killed, and another follows; how often."""
    times = 0
    while time.monotonic() < until:
        agents.kill(node)
        agents.start_again(node)
        agents.wait(node)
        time.sleep(SERVES_S)
        times += 1
    return times
