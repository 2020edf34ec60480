"""Further interfaces that the agent makes itself: real agents, real namespaces."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.model.network import NETWORKS
from bench import tools
from tests.netns.agents import READY_S, Node
from tests.netns.pods import Runtime
from tests.netns.test_network import (
    CHECKED,
    TRY_LATER,
    addresses,
    asks,
    defaults,
    definition,
    definitions,
    flags,
    is_clean,
    links,
    make,
    records,
    statuses,
    until,
    write,
)

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

LAB = Path(__file__).parents[1] / "lab"
OURS = (
    definition("ours", type="sluiceway-cni", kind="veth"),
    definition("xsk", type="sluiceway-cni", kind="afxdp", afxdp={"capture": ["udp:7000-7999"]}),
    definition("kindless", type="sluiceway-cni"),
)
DENY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny", "namespace": "default"},
    "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]},
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    root = tmp_path_factory.mktemp("networkown") / "node"
    made = make(f"swneto{os.getpid()}", root)
    write(made, every(made.root))
    yield made
    made.remove()


@pytest.fixture
def runtime(node: Node) -> Iterator[Runtime]:
    made = Runtime(node)
    yield made
    made.close()


def every(root: Path, *more: dict[str, Any]) -> list[dict[str, Any]]:
    return [*definitions(root), *OURS, *more]


@contextmanager
def echoing(node: Node, pod: str, interface: str, socket: Path) -> Iterator[None]:
    """An AF_XDP application on an interface of a pod, which sends datagrams back."""
    program = tools.c_program("afxdp_app", node.root, LAB)
    command = [*node.inside, "nsenter", f"--net=/run/netns/{pod}", str(program), "echo", interface, "1", str(socket)]
    with subprocess.Popen(command) as running:
        try:
            yield
        finally:
            running.terminate()


def answered(node: Node, pod: str, address: str) -> int:
    """How many datagrams come back of one that a pod sends, which is not waited for long."""
    client = [sys.executable, "-I", "-S", str(LAB / "afxdp_client.py"), "d", "1", address, "7000"]
    return int(node.run("nsenter", f"--net=/run/netns/{pod}", *client))


def reaches(node: Node, pod: str, address: str) -> bool:
    """Whether an address answers a pod within a second."""
    command = [*node.inside, "nsenter", f"--net=/run/netns/{pod}", "ping", "-c1", "-W1", address]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def pod_object(name: str, networks: str) -> dict[str, Any]:
    """The Pod as the API has it."""
    notes = {"annotations": {NETWORKS: networks}} if networks else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", **notes},
        "spec": {"nodeName": "n1"},
    }


def test_our_own_kinds_are_made_looked_at_and_unmade(node: Node, runtime: Runtime) -> None:
    place = node.root / "run/afxdp/pods/default"
    with node.agent_runs(*flags(node)):
        runtime.wait()
        pod = runtime.make()
        code, result = runtime.call("ADD", pod, **asks("ours@data0, lan, xsk"))
        assert code == 0, result
        there = links(runtime, pod)
        assert [*there] == ["eth0", "data0", "net2", "net3"]
        assert {one["linkinfo"]["info_kind"] for one in there.values()} == {"veth"}
        first, second, fourth = (addresses(there[name]) for name in ("eth0", "data0", "net3"))
        assert len({*first, *second, *fourth}) == 6, "both families, of the node's pod CIDRs"
        assert [device for _, device in defaults(runtime, pod)] == ["eth0", "eth0"]
        for address in (*second, *fourth):
            node.run("ping", "-c1", "-w5", address)
        _, ours, _, xsk = statuses(node)[0]
        assert (ours["name"], ours["ips"], ours["mac"]) == ("default/ours", second, there["data0"]["address"])
        assert (xsk["name"], xsk["ips"], "device-info" in xsk) == ("default/xsk", fourth, False)
        assert (place / pod / "net3/afxdp.sock").is_socket()
        assert "xdp" in there["net3"], "its program is at the pod's end"
        other = runtime.make()
        assert runtime.call("ADD", other)[0] == 0
        assert all(reaches(node, other, address) for address in (*first, *second, *fourth))
        with echoing(node, pod, "net3", place / pod / "net3/afxdp.sock"):
            until(lambda: answered(node, other, fourth[0]) == 1, "the socket answers on the further interface")
            assert answered(node, other, second[0]) == 0, "and on no other"
        web = pod_object(pod, "ours@data0, lan, xsk")
        web["metadata"]["labels"] = {"app": "web"}
        write(node, every(node.root, web, DENY))
        until(lambda: not reaches(node, other, first[0]), "policy holds for the first interface")
        assert not any(reaches(node, other, address) for address in (second[0], fourth[1])), "and for ours beside it"
        code, error = runtime.call("ADD", runtime.make(), **asks("kindless"))
        assert (code, "without a kind" in error["msg"]) == (7, True), error
        assert runtime.call("CHECK", pod, prevResult=result) == (0, {})
        runtime.inside(pod, "ip", "addr", "flush", "dev", "data0")
        code, error = runtime.call("CHECK", pod, prevResult=result)
        assert (code, "data0 of default/ours: plugin sluiceway-cni: " in error["details"]) == (CHECKED, True), error
        assert runtime.call("DEL", pod) == (0, {})
        assert runtime.call("DEL", other) == (0, {})
        assert (links(runtime, pod), is_clean(node, runtime)) == ({}, True)
        assert not (place / pod).exists()
        write(node, every(node.root))


def test_what_of_our_own_kinds_was_half_made_is_unmade(node: Node, runtime: Runtime) -> None:
    pod = runtime.make()
    process = node.start(*flags(node), environ={"SLUICEWAY_FAIL_AT": "NETWORK made"})
    runtime.wait()
    assert runtime.call("ADD", pod, **asks("xsk, lan"))[0] == TRY_LATER
    assert process.wait(READY_S) == -signal.SIGKILL
    node.running.remove(process)
    assert [*links(runtime, pod)] == ["eth0", "net1"]
    with node.agent_runs(*flags(node)):
        runtime.wait()
        until(lambda: not records(node), "it is unmade, though nobody asks")
        assert [*links(runtime, pod)] == ["eth0"]
        assert runtime.call("DEL", pod) == (0, {})
        assert (links(runtime, pod), is_clean(node, runtime)) == ({}, True)
