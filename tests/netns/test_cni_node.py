"""What becomes of pods when the node's own affairs go wrong: no addresses, lost files, a reboot, an absent agent."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agent.netlink import netns as namespace
from agent.pods.attachments import boot_id
from maps import abi
from tests.netns.agents import CLUSTER, READY_S, Node
from tests.netns.pods import CLUSTER6, Answer, Runtime

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

OTHERS = CLUSTER.split("---", 1)[1]
TRY_LATER, UNAVAILABLE = 11, 50
WEB = "10.96.0.10"
IDLE = 900  # connections that say nothing


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    (tmp_path / "node").mkdir()
    made = Node.make(f"swnode{os.getpid()}", tmp_path / "node")
    has(made, "podCIDRs: [10.244.0.0/24, 'fd00:244::/64']")
    yield made
    made.remove()


@pytest.fixture
def runtime(node: Node) -> Iterator[Runtime]:
    made = Runtime(node)
    yield made
    made.close()


def has(node: Node, cidrs: str) -> None:
    """Let the Node's object say so; "" for no podCIDR."""
    text = re.sub(r"spec: .*", f"spec: {{{cidrs}}}", CLUSTER6)
    (node.root / "manifests/cluster.yaml").write_text(f"{text}---{OTHERS}")


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it holds in time."""
    deadline = time.monotonic() + READY_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def services(runtime: Runtime) -> set[str]:
    """Addresses of services in the kernel."""
    table = runtime.open(abi.SERVICES)
    try:
        return {str(key.addr.ipv4_mapped) for key, _ in table.items()}
    finally:
        table.close()


def test_a_node_that_has_no_pod_cidr_says_so_serves_no_add_and_does_all_else(node: Node, runtime: Runtime) -> None:
    before, late = runtime.make(), runtime.make()
    with node.agent_runs():
        runtime.wait()
        code, result = runtime.call("ADD", before)
        assert code == 0, result
        has(node, "")
        assert eventually(lambda: runtime.call("STATUS")[0] == UNAVAILABLE)
        for command, code in (("STATUS", UNAVAILABLE), ("ADD", TRY_LATER)):
            given, error = runtime.call(command, late)
            assert (given, "this node has no podCIDR yet" in error["msg"]) == (code, True), error
        assert runtime.call("CHECK", before, prevResult=result) == (0, {})
        runtime.inside(before, "ping", "-c1", "-w5", "192.0.2.1")
        assert node.health("readyz") == "ok"
        has(node, "podCIDRs: [10.244.7.0/24]")
        assert eventually(lambda: runtime.call("STATUS")[0] == 0)
        code, result = runtime.call("ADD", late)
        assert (code, result["ips"][0]["address"]) == (0, "10.244.7.2/32")
        for pod in (before, late):
            assert runtime.call("DEL", pod) == (0, {})
        assert runtime.left() == {}


def test_an_agent_that_starts_on_a_node_without_pod_cidr_serves_services(node: Node, runtime: Runtime) -> None:
    has(node, "")
    with node.agent_runs():
        assert services(runtime) == {WEB}
        assert eventually((node.root / "conf/10-sluiceway.conflist").exists)
        assert runtime.call("STATUS")[0] == UNAVAILABLE
        assert runtime.call("DEL", "none") == (0, {})


def test_an_add_that_comes_before_the_first_sync_gets_a_pod_with_services(node: Node, runtime: Runtime) -> None:
    pod = runtime.make()
    (node.root / "manifests").rename(node.root / "later")
    process = node.start()
    assert eventually(lambda: "not listed yet" in runtime.call("STATUS")[1].get("msg", ""))
    code, error = runtime.call("STATUS")
    assert (code, "podCIDR" in error["msg"]) == (UNAVAILABLE, False), error
    with ThreadPoolExecutor(1) as caller:
        adding = caller.submit(runtime.call, "ADD", pod)
        assert runtime.call("STATUS")[0] == UNAVAILABLE
        (node.root / "later").rename(node.root / "manifests")
        code, result = adding.result()
    assert code == 0, result
    assert services(runtime) == {WEB}
    node.end(process)


def test_where_devices_are_born_without_ipv6_pods_have_it_and_what_they_lack_is_a_problem(
    node: Node, runtime: Runtime
) -> None:
    pod = runtime.make()
    node.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1", "net.ipv6.conf.u0.disable_ipv6=1")
    with node.agent_runs():
        runtime.wait()
        code, result = runtime.call("ADD", pod)
        assert code == 0, result
        for ip in result["ips"]:
            node.run("ping", "-c1", "-w5", ip["address"].partition("/")[0])
        assert eventually(lambda: node.problems() == {("n1", "net.ipv6.conf.u0.disable_ipv6")})
        node.run("sysctl", "-qw", "net.ipv6.conf.u0.disable_ipv6=0")
        assert eventually(lambda: node.problems() == set())
        assert runtime.call("DEL", pod) == (0, {})


def test_where_the_kernel_has_no_ipv6_pods_get_ipv4_alone_and_a_problem_says_why(node: Node, runtime: Runtime) -> None:
    pod = runtime.make()
    process = node.start_without_ipv6()
    node.wait_ready()
    runtime.wait()
    code, result = runtime.call("ADD", pod)
    assert code == 0, result
    (address,) = (ip["address"] for ip in result["ips"])
    assert address.startswith("10.244.0.")
    assert eventually(lambda: node.problems() == {("n1", "spec.podCIDRs")})
    assert runtime.call("DEL", pod) == (0, {})
    node.end(process)


@pytest.mark.parametrize("taken", ["conf/10-sluiceway.conflist", "bin/sluiceway-cni"])
def test_a_file_of_the_plugin_that_somebody_removes_is_back(node: Node, runtime: Runtime, taken: str) -> None:
    path = node.root / taken
    with node.agent_runs():
        runtime.wait()
        assert eventually(path.exists)
        path.unlink()
        assert eventually(path.exists)


def test_a_pod_cidr_that_is_used_up_is_told_before_and_at_the_next_add(node: Node, runtime: Runtime) -> None:
    has(node, "podCIDRs: [10.244.0.0/30, 'fd00:244::/64']")
    first, second = runtime.make(), runtime.make()
    with node.agent_runs():
        runtime.wait()
        assert runtime.call("ADD", first)[0] == 0
        for command, code in (("STATUS", UNAVAILABLE), ("ADD", TRY_LATER)):
            given, error = runtime.call(command, second)
            assert (given, "podCIDR 10.244.0.0/30 is used up" in error["msg"]) == (code, True), error
        assert runtime.call("DEL", second) == (0, {})
        assert runtime.call("DEL", first) == (0, {})
        assert runtime.call("STATUS") == (0, {})
        assert runtime.call("ADD", second)[0] == 0
        assert runtime.call("DEL", second) == (0, {})
        assert runtime.left() == {}


def _lose_files(attachments: Path) -> None:
    for path in attachments.iterdir():
        path.unlink()


def _cut_files(attachments: Path) -> None:
    for path in attachments.iterdir():
        path.write_bytes(path.read_bytes()[:40])


def _reboot(attachments: Path) -> None:
    """As far as the files tell; devices do not survive one, but here they have to go all the same."""
    (journal,) = attachments.iterdir()
    assert journal.stem == boot_id()
    journal.rename(journal.with_stem("00000000-0000-0000-0000-000000000000"))


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(_lose_files, id="the journal is lost"),
        pytest.param(_cut_files, id="the journal is cut"),
        pytest.param(_reboot, id="the journal is of another boot"),
    ],
)
def test_an_attachment_is_void_and_its_address_free_when(
    node: Node, runtime: Runtime, happens: Callable[[Path], None]
) -> None:
    pod = runtime.make()
    fixed: dict[str, Any] = {
        "runtimeConfig": {"ips": ["10.244.0.9"], "portMappings": [{"hostPort": 80, "containerPort": 80}]}
    }
    with node.agent_runs():
        runtime.wait()
        assert runtime.call("ADD", pod, **fixed)[0] == 0
    happens(node.root / "state/attachments")
    with node.agent_runs():
        runtime.wait()
        assert eventually(lambda: runtime.left() == {})
        assert runtime.call("DEL", pod) == (0, {})
        code, result = runtime.call("ADD", pod, **fixed)
        assert code == 0, result
        assert runtime.call("DEL", pod) == (0, {})
        assert runtime.left() == {}


def test_what_was_asked_while_no_agent_ran_is_done_before_the_next_one_serves(node: Node, runtime: Runtime) -> None:
    deleted, collected, gone, kept = (runtime.make() for _ in range(4))
    with node.agent_runs():
        runtime.wait()
        assert [runtime.call("ADD", pod)[0] for pod in (deleted, collected, gone, kept)] == [0] * 4
    assert runtime.call("DEL", deleted) == (0, {})
    subprocess.run(["ip", "netns", "del", gone], check=True)
    assert runtime.execute("DEL", gone, b'{"cniVersion": "0.4.0", "name": "sluiceway"}', CNI_NETNS="") == (0, {})
    valid: dict[str, Any] = {"cni.dev/valid-attachments": [{"containerID": f"c-{kept}", "ifname": "eth0"}]}
    assert runtime.call("GC", **valid) == (0, {})
    assert len(runtime.left()["intents"]) == 3  # type: ignore[arg-type]
    subprocess.run(["ip", "netns", "add", gone], check=True)
    with node.agent_runs():
        runtime.wait()
        left = runtime.left()
        assert ("intents" not in left, len(left["journal"])) == (True, 1)  # type: ignore[arg-type]
        runtime.inside(kept, "ping", "-c1", "-w5", "192.0.2.1")
        assert runtime.call("DEL", kept) == (0, {})
        assert runtime.left() == {}


def test_a_pods_host_port_is_reserved_while_the_pod_is_there(node: Node, runtime: Runtime) -> None:
    def reserved() -> str:
        return node.run("cat", "/proc/sys/net/ipv4/ip_local_reserved_ports").strip()

    node.run("sysctl", "-q", "-w", "net.ipv4.ip_local_reserved_ports=4789")
    process = node.start()
    runtime.wait()
    pod = runtime.make()
    asked: dict[str, Any] = {"runtimeConfig": {"portMappings": [{"hostPort": 40080, "containerPort": 80}]}}
    assert runtime.call("ADD", pod, **asked)[0] == 0
    assert eventually(lambda: reserved() == "4789,30000-32767,40080")
    process.kill()
    process.wait()
    assert reserved() == "4789,30000-32767,40080"
    process = node.start()
    runtime.wait()
    node.wait_ready()
    assert reserved() == "4789,30000-32767,40080"
    assert runtime.call("DEL", pod, **asked)[0] == 0
    assert eventually(lambda: reserved() == "4789,30000-32767")
    process.terminate()
    assert process.wait(READY_S) == 0
    node.run(*node.agent("cleanup"))
    assert reserved() == "4789"


def test_the_conflist_comes_when_the_node_can_serve_and_is_for_root_alone(node: Node, runtime: Runtime) -> None:
    conflist, binary = node.root / "conf/10-sluiceway.conflist", node.root / "bin/sluiceway-cni"
    process = node.start()
    assert eventually(conflist.exists)
    # from here on a kubelet would send pods
    json.loads(conflist.read_text())
    assert (conflist.stat().st_mode & 0o777, binary.stat().st_mode & 0o777) == (0o600, 0o755)
    assert services(runtime) == {WEB}
    assert runtime.call("STATUS") == (0, {})
    process.send_signal(signal.SIGTERM)
    assert process.wait(READY_S) == 0
    assert conflist.exists(), "the next agent serves the same"
    subprocess.run(node.agent("cleanup"), check=True)
    assert not conflist.exists()
    assert not binary.exists()


def test_a_configuration_that_comes_before_ours_is_a_problem_of_the_node_while_it_is_there(node: Node) -> None:
    other = node.root / "conf/05-x.conflist"
    with node.agent_runs():
        other.write_text('{"name": "x", "plugins": [{"type": "bridge"}]}')
        assert eventually(lambda: node.problems() == {("n1", "--cni-conf-dir")})
        other.unlink()
        assert eventually(lambda: node.problems() == set())


def test_64_requests_at_once_for_16_attachments_end_whole_or_not_at_all(node: Node, runtime: Runtime) -> None:
    pods = [runtime.make() for _ in range(16)]
    with node.agent_runs():
        runtime.wait()
        answers = _at_once(runtime, [(command, pod) for pod in pods for command in ("ADD", "DEL", "ADD", "CHECK")])
        assert {code for code, _ in answers} <= {0, 4, 7}, "done, there already, or without prevResult"
        for pod in pods:
            assert runtime.call("DEL", pod) == (0, {})
        assert runtime.left() == {}


def test_an_agent_that_is_killed_among_64_adds_leaves_nothing_that_a_del_does_not_find(
    node: Node, runtime: Runtime
) -> None:
    pods = [runtime.make() for _ in range(64)]
    process = node.start()
    runtime.wait()
    killer = threading.Timer(0.4, process.kill)
    killer.start()
    answers = _at_once(runtime, [("ADD", pod) for pod in pods])
    assert process.wait(READY_S) == -signal.SIGKILL
    assert {code for code, _ in answers} <= {0, TRY_LATER}
    with node.agent_runs():
        runtime.wait()
        assert {code for code, _ in _at_once(runtime, [("DEL", pod) for pod in pods])} == {0}
        assert runtime.left() == {}


def _at_once(runtime: Runtime, asked: list[tuple[str, str]]) -> list[Answer]:
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda c=command, p=pod: answers.append(runtime.call(c, p))) for command, pod in asked
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_idle_connections_to_the_http_port_hold_no_pod_up(node: Node, runtime: Runtime) -> None:
    has(node, "podCIDRs: [10.244.7.0/24]")
    pod = runtime.make()
    with node.agent_runs(), ExitStack() as idle:
        runtime.wait()
        with namespace.inside(f"/run/netns/{node.name}"):
            for _ in range(IDLE):
                idle.enter_context(socket.create_connection(("127.0.0.1", 9650)))
        assert runtime.call("ADD", pod)[0] == 0
        assert runtime.call("STATUS")[0] == 0
        assert (node.health("livez"), node.health("readyz")) == ("ok", "ok")
        assert runtime.call("DEL", pod) == (0, {})
