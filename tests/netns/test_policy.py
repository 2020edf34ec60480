"""A real agent, pods and a policy: what sockets meet is what dpctl and metrics tell, also when the agent is dead."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agent.serve.policy_report import read
from maps.pins import PinRoot
from tests.netns.agents import Node
from tests.netns.pods import CLUSTER6, Runtime
from tests.patience import until

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

POLICY = "NetworkPolicy default/web"
OPEN, CLOSED = 8080, 8081
NAMESPACE = "{apiVersion: v1, kind: Namespace, metadata: {name: default}}"
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: {app}}}}}
spec: {{nodeName: n1, containers: [{{name: c, ports: [{{name: http, containerPort: 8080}}]}}]}}
"""
RULES = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: client}}}]
    ports: [{port: http}]
"""
SERVE = """
import selectors, socket
heard = selectors.DefaultSelector()
for port in (8080, 8081):
    heard.register(socket.create_server(("", port), family=socket.AF_INET), selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in heard.select():
        key.fileobj.accept()[0].close()
"""
ASK = """
import socket, sys
s = socket.socket()
s.settimeout(float(sys.argv[3]))
sys.exit(bool(s.connect_ex((sys.argv[1], int(sys.argv[2])))))
"""
ASK_ON = """
import select, socket, sys
asked = passed = 0
while not select.select([sys.stdin], [], [], 0.01)[0]:
    s = socket.socket()
    s.settimeout(float(sys.argv[3]))
    asked += 1
    passed += s.connect_ex((sys.argv[1], int(sys.argv[2]))) == 0
    s.close()
print(asked, passed)
"""
LATE_S = 20.0  # within which an answer comes that is to come
SOON_S = 0.5  # who is denied hears nothing, and waits
TOLD = """
import socket, sys
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
    s = socket.socket(type=kind)
    s.settimeout(10)
    try:
        s.connect((sys.argv[1], int(sys.argv[2])))
        s.send(b"x")
        s.recv(1)
        print("answered")
    except OSError as error:
        print(type(error).__name__)
"""
ISOLATED = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: alone, namespace: default}
spec: {podSelector: {matchLabels: {app: other}}, policyTypes: [Ingress], ingress: []}
"""


class Pod(NamedTuple):
    """A pod by its namespace on the machine, its name in the cluster, and its address."""

    netns: str
    name: str
    address: str


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    root = tmp_path / "node"
    root.mkdir()
    made = Node.make(f"swpolicy{os.getpid()}", root)
    (root / "manifests/cluster.yaml").write_text(f"{CLUSTER6}---\n{NAMESPACE}\n")
    yield made
    made.remove()


@pytest.fixture
def pods(node: Node) -> Iterator[tuple[Pod, Pod, Pod]]:
    """One with a policy, one that it means, and another; the agent that attached them lives."""
    runtime = Runtime(node)
    names = [runtime.make() for _ in range(3)]
    objects = "---".join(
        POD.format(name=name, app=app) for name, app in zip(names, ("web", "client", "other"), strict=True)
    )
    (node.root / "manifests/pods.yaml").write_text(objects)
    (node.root / "manifests/policy.yaml").write_text(RULES)
    node.start()
    node.wait_ready()
    found = []
    for name in names:
        code, result = runtime.call("ADD", name)
        assert code == 0, result
        found.append(Pod(name, f"default/{name}", result["ips"][0]["address"].partition("/")[0]))
    until(lambda: _named(node) >= {pod.name for pod in found}, "the agent leaves the pods' names")
    yield (found[0], found[1], found[2])
    runtime.close()


@pytest.fixture
def web(pods: tuple[Pod, Pod, Pod]) -> Iterator[Pod]:
    """The first of them, which listens at both ports."""
    inside = ["nsenter", f"--net=/run/netns/{pods[0].netns}", sys.executable, "-c", SERVE]
    with subprocess.Popen(inside, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        yield pods[0]
        server.kill()


def test_dpctl_tells_what_sockets_meet_also_when_the_agent_is_dead(
    node: Node, pods: tuple[Pod, Pod, Pod], web: Pod
) -> None:
    _, client, other = pods
    flows = [(pod, port) for pod in (client, other) for port in (OPEN, CLOSED)]
    for is_agent_alive in (True, False):
        if not is_agent_alive:
            _kill(node)
        before = _counted(node)
        passed = {flow: _reaches(flow[0], web, flow[1], LATE_S if flow == flows[0] else SOON_S) for flow in flows}
        assert [flow for flow, has in passed.items() if has] == [(client, OPEN)]
        for (pod, port), has in passed.items():
            for ends in ((pod.name, web.name), (pod.address, web.address)):
                assert _dpctl(node, "policy", "why", *ends, str(port))[0] == (0 if has else 1)
        accepted, denied = _counted(node)
        assert accepted == before[0] + 1
        assert denied >= before[1] + 3
        rows = _rows(node, "drops", "--reason", "policy_ingress", "--pod", other.name)
        assert {(row["source_name"], row["destination_name"], row["policy"]) for row in rows} == {
            (other.name, web.name, POLICY)
        }
        assert {row["destination"]["port"] for row in rows} == {OPEN, CLOSED}
        (rule,) = (row for row in _rows(node, "policy", "show", web.name) if row["by"].startswith(f"{POLICY} "))
        assert rule["what"] == "TCP port 'http' (TCP 8080) from pods app=client of namespace default"


def test_metrics_tell_what_was_judged_and_how_long_a_change_took(
    node: Node, pods: tuple[Pod, Pod, Pod], web: Pod
) -> None:
    other = pods[2]
    labels = f'{{direction="ingress",policy="{POLICY}"}}'
    assert _metric(node, "policies") == 1
    assert _metric(node, "policy_unknown_pods") == 0
    assert _metric(node, f"policy_denied_packets_total{labels}") == 0
    assert not _reaches(other, web, OPEN, SOON_S)
    assert _metric(node, f"policy_denied_packets_total{labels}") >= 1
    changes = _metric(node, "policy_propagation_seconds_count")
    (node.root / "manifests/policy.yaml").write_text(RULES.replace("app: client", "app: other"))
    until(lambda: _metric(node, "policy_propagation_seconds_count") > changes, "the change is in force")
    assert _reaches(other, web, OPEN)
    assert _metric(node, f"policy_accepted_flows_total{labels}") == 1


def test_who_is_denied_is_told_where_that_is_asked_for_and_may_himself_be_isolated(
    node: Node, pods: tuple[Pod, Pod, Pod], web: Pod
) -> None:
    other = pods[2]
    (node.root / "manifests/alone.yaml").write_text(ISOLATED)
    assert not _reaches(other, web, OPEN, SOON_S)
    node.end(node.running[0])
    with node.agent_runs("--policy-reject=on"):
        inside = ["nsenter", f"--net=/run/netns/{other.netns}", sys.executable, "-c", TOLD]
        told = subprocess.run([*inside, web.address, str(OPEN)], capture_output=True, text=True, check=True)
        assert told.stdout.split() == ["ConnectionRefusedError"] * 2
        rows = _rows(node, "policy", "list")
        assert {row["policy"] for row in rows} == {POLICY, "NetworkPolicy default/alone"}


def test_a_generation_of_maps_is_exchanged_and_nothing_passes_that_did_not(
    node: Node, pods: tuple[Pod, Pod, Pod], web: Pod
) -> None:
    _, client, other = pods
    assert not _reaches(other, web, OPEN, SOON_S)
    (old,) = PinRoot(node.pins).generations()
    with _asking(client, web, LATE_S) as may, _asking(other, web, SOON_S) as may_not:
        node.end(node.running[0])
        with node.agent_runs("--max-services=70000"):
            until(lambda: old not in PinRoot(node.pins).generations(), "the old generation is gone")
            assert _reaches(client, web, OPEN)
            found = [[int(number) for number in one.communicate("\n")[0].split()] for one in (may, may_not)]
    (asked, passed), (denied, leaked) = found
    assert (passed, leaked) == (asked, 0)
    assert asked > denied > 1


@contextmanager
def _asking(client: Pod, server: Pod, patience_s: float) -> Iterator[subprocess.Popen[str]]:
    """What opens connections until it is told to end, and then says how many it asked for and how many there were."""
    inside = ["nsenter", f"--net=/run/netns/{client.netns}", sys.executable, "-c", ASK_ON]
    argv = [*inside, server.address, str(OPEN), str(patience_s)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asking:
        yield asking
        asking.kill()


def _reaches(client: Pod, server: Pod, port: int, within_s: float = LATE_S) -> bool:
    inside = ["nsenter", f"--net=/run/netns/{client.netns}", sys.executable, "-c", ASK]
    return subprocess.run([*inside, server.address, str(port), str(within_s)], check=False).returncode == 0


def _kill(node: Node) -> None:
    (agent,) = node.running
    agent.kill()
    agent.wait()
    node.running.remove(agent)


def _dpctl(node: Node, *words: str) -> tuple[int, str]:
    """Exit code and output."""
    code = "import sys; from dpctl.app import main; sys.exit(main())"
    command = [*node.inside, sys.executable, "-c", code, "--pin-root", str(node.pins), *words]
    done = subprocess.run([*command, "--run-dir", str(node.root / "run")], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def _rows(node: Node, *words: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(_dpctl(node, *words, "-o", "json")[1])
    return rows


def _counted(node: Node) -> tuple[int, int]:
    """Flows that the policy accepted, and packets that it denied."""
    (row,) = _rows(node, "policy", "list")
    assert row["policy"] == POLICY
    return row["accepted"], row["denied"]


def _named(node: Node) -> set[str]:
    found = read(node.root / "run")
    return {name for name, pod in found.pods.items() if pod.slot} if found else set()


def _metric(node: Node, name: str) -> float:
    lines = (line.rpartition(" ") for line in node.health("metrics").splitlines())
    return next(float(value) for found, _, value in lines if found == f"sluiceway_{name}")
