"""A pod's bandwidth on the wire: TCP and UDP, both directions, over an agent's death, until DEL."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from maps import abi
from maps.pins import PinRoot
from maps.table import Table
from tests.netns.agents import Node
from tests.netns.pods import CLUSTER6, Runtime

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

MBIT = 10**6
RATE = 20 * MBIT
SECONDS = 2.0
NODE4 = "192.0.2.1"
# counts octets from the first on, for some seconds
SINK = """
import socket, sys, time
kind = socket.SOCK_STREAM if sys.argv[1] == "TCP" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, kind)
s.bind((sys.argv[2], 5001))
if kind == socket.SOCK_STREAM:
    s.listen()
print("ready", flush=True)
if kind == socket.SOCK_STREAM:
    s, _ = s.accept()
s.settimeout(60)
count, began = len(s.recv(65536)), time.monotonic()
while (took := time.monotonic() - began) < float(sys.argv[3]):
    count += len(s.recv(65536))
print(count * 8 / took)
"""
SOURCE = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "TCP" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, kind)
s.connect((sys.argv[2], 5001))
data = bytes(65536 if kind == socket.SOCK_STREAM else 1200)
try:
    while True:
        s.send(data)
except OSError:
    pass
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    root = tmp_path / "node"
    root.mkdir()
    made = Node.make(f"swlimit{os.getpid()}", root)
    (root / "manifests/cluster.yaml").write_text(CLUSTER6)
    yield made
    made.remove()


@pytest.fixture
def runtime(node: Node) -> Iterator[Runtime]:
    made = Runtime(node)
    yield made
    made.close()


def bandwidth(**asked: int) -> dict[str, Any]:
    return {"runtimeConfig": {"bandwidth": asked}}


def added(runtime: Runtime, config: dict[str, Any] | None = None) -> tuple[str, Sequence[str]]:
    """A pod and its addresses."""
    pod = runtime.make()
    code, result = runtime.call("ADD", pod, **(config or {}))
    assert code == 0, result
    return pod, [ip["address"].partition("/")[0] for ip in result["ips"]]


def measured(source: str, sink: str, protocol: str, address: str) -> float:
    """Bits per second that reach *address* in the namespace *sink* when *source* sends all it can."""
    into = [["nsenter", f"--net=/run/netns/{netns}", sys.executable, "-c"] for netns in (sink, source)]
    with subprocess.Popen([*into[0], SINK, protocol, address, str(SECONDS)], stdout=subprocess.PIPE, text=True) as ear:
        assert ear.stdout
        assert ear.stdout.readline() == "ready\n"
        with subprocess.Popen([*into[1], SOURCE, protocol, address]) as mouth:
            found = ear.stdout.read()
            mouth.kill()
    return float(found)


def assert_kept(found: float) -> None:
    """The burst of a quarter of a second comes on top; on a machine with no time for it much less gets through."""
    assert 0.3 * RATE < found < 1.1 * (1 + 0.25 / SECONDS) * RATE, f"{found / MBIT:.1f} Mbit/s"


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("version", [0, 1], ids=["IPv4", "IPv6"])
def test_between_pods_of_a_node_either_ones_limit_holds(
    node: Node, runtime: Runtime, protocol: str, version: int
) -> None:
    with node.agent_runs():
        free, slow = added(runtime), added(runtime, bandwidth(ingressRate=RATE, egressRate=RATE))
        assert_kept(measured(free[0], slow[0], protocol, slow[1][version]))
        assert_kept(measured(slow[0], free[0], protocol, free[1][version]))


def test_tcp_has_the_rate_also_where_a_burst_is_asked_for_in_which_it_could_not(node: Node, runtime: Runtime) -> None:
    with node.agent_runs():
        asked = bandwidth(ingressRate=RATE, ingressBurst=RATE // 50, egressRate=RATE, egressBurst=RATE // 50)
        free, slow = added(runtime), added(runtime, asked)
        assert_kept(measured(free[0], slow[0], "TCP", slow[1][0]))
        assert_kept(measured(slow[0], free[0], "TCP", free[1][0]))


def test_what_the_nodes_stack_sends_and_gets_is_kept_too_and_a_pod_without_a_limit_is_free(
    node: Node, runtime: Runtime
) -> None:
    with node.agent_runs():
        free, slow = (
            added(runtime),
            added(runtime, bandwidth(IngressRate=RATE, IngressBurst=0xFFFFFFFF, EgressRate=RATE)),
        )
        assert_kept(measured(node.name, slow[0], "TCP", slow[1][0]))
        assert_kept(measured(slow[0], node.name, "TCP", NODE4))
        assert measured(node.name, free[0], "TCP", free[1][0]) > 2 * RATE


def shown(node: Node, address: str) -> tuple[int, int]:
    """What dpctl tells of an address."""
    words = ["--pin-root", str(node.pins), "endpoint", "list", "-o", "json"]
    code = "import sys; from dpctl.app import main; sys.exit(main())"
    rows = json.loads(node.run(sys.executable, "-c", code, *words))
    return next((row["ingress_rate"], row["egress_rate"]) for row in rows if row["address"] == address)


def table(node: Node) -> Table[int, abi.AttachmentLimits]:
    generation = PinRoot(node.pins).current()
    assert generation
    return Table.open(abi.LIMITS, generation.map_path("limits"))


def limited(limits: Table[int, abi.AttachmentLimits]) -> list[tuple[int, abi.AttachmentLimits]]:
    """The limits that some slot has."""
    return [(slot, found) for slot, found in limits.items() if found.ingress.rate or found.egress.rate]


def test_a_limit_outlives_the_agent_is_checked_and_goes_with_its_pod(node: Node, runtime: Runtime) -> None:
    process = node.start()
    node.wait_ready()
    runtime.wait()
    pod, (four, six) = added(runtime, bandwidth(ingressRate=RATE, ingressBurst=8 * MBIT, egressRate=2 * RATE))
    free, _ = added(runtime)
    process.kill()
    process.wait()
    node.running.remove(process)
    assert measured(free, pod, "UDP", four) < 2 * RATE, "nobody's agent runs"
    limits = table(node)
    ((slot, record),) = limited(limits)
    assert (record.ingress.rate, record.ingress.burst_ns, record.egress.rate) == (RATE, 400_000_000, 2 * RATE)
    with node.agent_runs():
        runtime.wait()
        ((_, after),) = limited(limits)
        assert after.ingress.at_ns >= record.ingress.at_ns > 0, "what was counted goes on"
        assert shown(node, four) == shown(node, six) == (RATE, 2 * RATE)
        given = {"ips": [{"address": f"{address}/32"} for address in (four, six)]}
        assert runtime.call("CHECK", pod, prevResult=given) == (0, {})
        limits.update([(slot, abi.AttachmentLimits(record.ingress, abi.Limit(RATE, 0, 0)))])
        code, error = runtime.call("CHECK", pod, prevResult=given)
        assert (code, "the limits map does not lead" in error["details"]) == (100, True)
        for each in (pod, free):
            assert runtime.call("DEL", each) == (0, {})
        assert limited(limits) == []
        assert runtime.left() == {}
    limits.close()


def test_a_bad_bandwidth_leaves_no_pod(node: Node, runtime: Runtime) -> None:
    with node.agent_runs():
        code, error = runtime.call("ADD", runtime.make(), **bandwidth(ingressRate=-1))
        assert (code, error["msg"]) == (7, "runtimeConfig.bandwidth.ingressRate: -1 is no number of bits")
        assert runtime.left() == {}
