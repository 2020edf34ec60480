"""The DaemonSet is updated to another image and other maps, and back, without loss; a pod tells what it lacks."""

import json
import os
import subprocess
import tarfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import tools
from deploy.build.plugin import build
from lab.kubernetes import cluster as clusters
from lab.kubernetes import daemonset, runtime
from lab.kubernetes.cluster import Cluster
from lab.machine import MACHINE_ITSELF, ExecContext, Machine
from tests.cluster.conftest import Namespace, eventually
from tests.cluster.nodes import namespaces
from tests.cluster.objects import PORT, client, service

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

PROGRAM = "connection_load"
SOURCES = Path(__file__).resolve().parents[1] / "lab"
RATE, KEPT = 500, 1000  # of each of the two loads: new connections a second, and open ones
LEAST_S = 10  # that two updates of three nodes take
WEB = {"app": "web"}
BACKENDS = {"web-2": "n2", "web-3": "n3"}
OTHER_MAPS = {"SLUICEWAY_MAX_SERVICES": "70000"}
PINS = "/sys/fs/bpf/sluiceway"


@pytest.fixture(scope="module")
def made(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with its agents in pods, which reach each other over each subnet; afterwards they run as they did."""
    was = cluster.site.options
    yield clusters.configure(cluster, replace(was, daemonset=True, encapsulation="vxlan"), print)
    if not was.daemonset:
        clusters.configure(cluster, was, print)


def test_a_rolling_update_to_other_maps_and_back_loses_no_connection(made: Cluster, namespace: Namespace) -> None:
    shipped = made.kubectl.get(daemonset.SPACE, daemonset.NAME)["spec"]["template"]["spec"]
    first = shipped["containers"][0]["image"]
    other = f"{first}-other"
    for node in made.site.nodes:
        runtime.tag(node, made.artifacts, first, other)
    before = generations(made)
    n1, outside = made.site.machine("n1"), made.site.outside
    with web(made, namespace) as (program, address, node_port), ExitStack() as running:
        loads = [
            running.enter_context(process(n1, load(program, address, 80), in_pod(namespace, n1, "asking"))),
            running.enter_context(process(outside, load(program, str(n1.addresses[1]), node_port))),
        ]
        update(made, other, OTHER_MAPS)
        between = generations(made)
        update(made, first)
        seen = [report() for report in loads]
    assert all(old.isdisjoint(new) for old, new in zip(before, between, strict=True))
    assert generations(made) == before
    for each in seen:
        print(each)
        assert not any(each["failed"].values()), each
        assert each["kept"] == KEPT
        assert each["opened"] > RATE * LEAST_S


def sluiceway(made: Cluster, folder: Path, *arguments: str) -> str:
    """What `kubectl sluiceway` says; it has to succeed."""
    kubectl = made.kubectl
    environment = os.environ | {"PATH": f"{Path(kubectl.program).parent}:{os.environ['PATH']}"}
    command = [str(build(folder)), f"--kubeconfig={kubectl.kubeconfig}", *arguments]
    entered = ["nsenter", f"--net={kubectl.host.netns}", *command]
    done = subprocess.run(entered, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_installers_check_finds_all_well(made: Cluster, tmp_path: Path) -> None:
    said = sluiceway(made, tmp_path, "status", "--wait", "--timeout=300s", "-o", "json")
    checks = Counter(row["check"] for row in json.loads(said))
    nodes = len(made.site.nodes)
    pairs = nodes * (nodes - 1)
    assert checks == {"agent": nodes, "version": 1, "sync": nodes, "node to node": pairs, "pod to pod": pairs}


def test_the_plugin_asks_the_agent_of_a_node_or_of_a_pods_node(
    made: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    namespace.apply(client("asked", node="n2"))
    name = f"{namespace.name}/asked"
    for where, has_it in (("--node=n1", False), ("--node=n2", True), (f"--pod={name}", True)):
        rows = json.loads(sluiceway(made, tmp_path, "dpctl", where, "pod", "interfaces", "-o", "json"))
        assert (name in {row["pod"] for row in rows}) == has_it, where


def test_a_report_has_what_every_agent_says(made: Cluster, tmp_path: Path) -> None:
    archive = tmp_path / "report.tar.gz"
    sluiceway(made, tmp_path, "report", "-o", str(archive))
    with tarfile.open(archive) as found:
        asked = {Path(name).parts[2] for name in found.getnames() if "/nodes/" in name}
    assert asked == {node.name for node in made.site.nodes}


def _without_net_admin(container: dict[str, Any]) -> None:
    container["securityContext"]["capabilities"]["add"].remove("NET_ADMIN")


def _without_sysctls(container: dict[str, Any]) -> None:
    mounts = container["volumeMounts"]
    mounts[:] = [mount for mount in mounts if mount["mountPath"] != "/host/proc/sys/net"]


@pytest.mark.parametrize(
    ("take", "told"),
    [
        pytest.param(_without_net_admin, "give the process CAP_NET_ADMIN\n", id="a capability"),
        pytest.param(_without_sysctls, "mount the host's /proc/sys/net at /host/proc/sys/net\n", id="a mount"),
    ],
)
def test_what_an_agents_pod_lacks_is_its_last_message(
    made: Cluster, take: Callable[[dict[str, Any]], None], told: str
) -> None:
    """A second agent on a node that has one: it ends before it asks for the pins."""
    spec = made.kubectl.get(daemonset.SPACE, daemonset.NAME)["spec"]["template"]["spec"]
    take(spec["containers"][0])
    name = f"lacking-{uuid.uuid4().hex[:8]}"
    metadata = {"name": name, "namespace": "kube-system"}
    lacking = {"nodeName": "n1", "restartPolicy": "Never"}
    made.kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec | lacking}))
    try:
        made.kubectl.run(
            daemonset.SPACE, "wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Failed", "--timeout=180s"
        )
        [status] = made.kubectl.get(daemonset.SPACE, f"pod/{name}")["status"]["containerStatuses"]
    finally:
        made.kubectl.run(daemonset.SPACE, "delete", f"pod/{name}", "--wait=false")
    ended = status["state"]["terminated"]
    assert ended["exitCode"] == 3
    assert ended["message"].endswith(told)
    assert ended["message"].count("\n") == 1


def update(made: Cluster, image: str, more: Mapping[str, str] | None = None) -> None:
    """Have all agents be of this image, with *more* options than the lab's, one node after the other."""
    daemonset.apply(made.site, made.kubectl, image, more)
    daemonset.wait(made.kubectl)


def generations(made: Cluster) -> list[set[str]]:
    """What is pinned on each node, by the generations' names, which tell layout and sizes."""
    return [set(node.run("ls", PINS).stdout.split()) - {"current", "links", "state"} for node in made.site.nodes]


@contextmanager
def web(made: Cluster, namespace: Namespace) -> Iterator[tuple[str, str, int]]:
    """A service of two backends, and a pod to ask from; the load's program, the cluster IP and the node port."""
    program = str(tools.c_program(PROGRAM, made.site.folder, SOURCES))
    pods = [client(name, node=node) for name, node in {"asking": "n1", **BACKENDS}.items()]
    for pod in pods[1:]:
        pod["metadata"]["labels"] = WEB
    namespace.apply(*pods, service("web", WEB, type="NodePort"))
    found = namespace.get("service", "web")["spec"]
    address, node_port = found["clusterIP"], found["ports"][0]["nodePort"]
    n1 = made.site.machine("n1")
    with ExitStack() as running:
        for name, node in BACKENDS.items():
            machine = made.site.machine(node)
            serve = [program, "serve", str(PORT)]
            running.enter_context(process(machine, serve, in_pod(namespace, machine, name)))
        asking = in_pod(namespace, n1, "asking")
        assert eventually(lambda: is_open(n1, address, 80, asking))
        assert eventually(lambda: is_open(made.site.outside, str(n1.addresses[1]), node_port))
        yield program, address, node_port


def in_pod(namespace: Namespace, node: Machine, pod: str) -> ExecContext:
    """The network of a pod."""
    netns = namespaces(node)[namespace.name, pod].removeprefix("/var")  # a link, which would lead to this host's
    return ExecContext(netns=Path(f"{node.root}{netns}"))


@contextmanager
def process(machine: Machine, argv: list[str], context: ExecContext = MACHINE_ITSELF) -> Iterator[Any]:
    """A program of this host, running there; what is called for what it printed, which ends it."""
    name = f"daemonset-{Path(argv[0]).name}-{argv[1]}"
    log = machine.home / f"{name}.log"
    log.unlink(missing_ok=True)
    machine.daemon(name, argv, context=context)

    def report() -> Any:
        machine.stop(name)
        return json.loads(log.read_text())

    try:
        yield report
    finally:
        machine.stop(name)


def load(program: str, address: str, port: int) -> list[str]:
    """The command that makes new connections to a target, and keeps others to it."""
    return [program, "load", address, str(port), str(RATE), address, str(port), str(KEPT)]


def is_open(machine: Machine, address: str, port: int, context: ExecContext = MACHINE_ITSELF) -> bool:
    """Whether somebody answers there."""
    return machine.run("bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}", check=False, context=context).returncode == 0
