"""An agent that dies within the ADD or DEL of a pod with further networks, and what changes while pods live."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.pods import fail_points
from tests.netns.agents import READY_S, Node
from tests.netns.pods import Runtime
from tests.netns.test_network import (
    TRY_LATER,
    asks,
    definition,
    definitions,
    flags,
    is_clean,
    leases,
    links,
    make,
    records,
    write,
)
from tests.patience import until

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    root = tmp_path_factory.mktemp("networkcrash") / "node"
    made = make(f"swnetc{os.getpid()}", root)
    yield made
    made.remove()


@pytest.fixture
def runtime(node: Node) -> Iterator[Runtime]:
    made = Runtime(node)
    yield made
    made.close()


@pytest.mark.parametrize("point", fail_points.NETWORK_ADD)
def test_the_next_agent_unmakes_networks_whose_add_died(node: Node, runtime: Runtime, point: str) -> None:
    """Before the last is noted nobody was told of them; then they stay until the runtime deletes them."""
    pod = runtime.make()
    process = node.start(*flags(node), environ={"SLUICEWAY_FAIL_AT": point})
    runtime.wait()
    assert runtime.call("ADD", pod, **asks("lan, wide"))[0] == TRY_LATER
    assert process.wait(READY_S) == -signal.SIGKILL
    node.running.remove(process)
    with node.agent_runs(*flags(node)):
        runtime.wait()
        if point == "NETWORKS noted":
            assert [*links(runtime, pod)] == ["eth0", "net1", "net2"]
        else:
            until(lambda: not records(node), "the networks are unmade, though nobody asks")
            assert ([*links(runtime, pod)], leases(node)) == (["eth0"], [])
        assert runtime.call("DEL", pod) == (0, {})
        assert (links(runtime, pod), is_clean(node, runtime)) == ({}, True)


@pytest.mark.parametrize("point", fail_points.NETWORK_DEL)
def test_a_del_that_died_is_completed(node: Node, runtime: Runtime, point: str) -> None:
    pod = runtime.make()
    with node.agent_runs(*flags(node)):
        runtime.wait()
        assert runtime.call("ADD", pod, **asks("lan, wide"))[0] == 0
    process = node.start(*flags(node), environ={"SLUICEWAY_FAIL_AT": point})
    runtime.wait()
    runtime.call("DEL", pod)
    assert process.wait(READY_S) == -signal.SIGKILL
    node.running.remove(process)
    with node.agent_runs(*flags(node)):
        runtime.wait()
        until(lambda: not records(node), "the networks are unmade, though nobody asks again")
        assert runtime.call("DEL", pod) == (0, {})
        assert (links(runtime, pod), is_clean(node, runtime)) == ({}, True)


def test_del_needs_no_definition_no_agent_and_no_option(node: Node, runtime: Runtime) -> None:
    pods = [runtime.make() for _ in range(4)]
    with node.agent_runs(*flags(node)):
        runtime.wait()
        for pod in pods:
            assert runtime.call("ADD", pod, **asks("lan, wide"))[0] == 0
    assert len(leases(node)) == 2 * len(pods)
    write(node, [definition("lan", type="other")])
    late, gone, off, unknown = pods
    assert runtime.call("DEL", late) == (0, {}), "it is left for the next agent"
    subprocess.run(["ip", "netns", "del", gone], check=True)
    with node.agent_runs():
        runtime.wait()
        until(lambda: len(records(node)) == 2, "what nobody can ask for is unmade")
        assert runtime.call("DEL", off) == (0, {})
        assert (len(leases(node)), [*links(runtime, unknown)]) == (2, ["eth0", "net1", "net2"])
        assert runtime.call("DEL", unknown) == (0, {})
        runtime.collect()
        assert is_clean(node, runtime)
    subprocess.run(["ip", "netns", "add", gone], check=True)
    write(node, definitions(node.root))


def test_a_del_that_a_plugin_fails_is_tried_again_and_ours_goes_at_once(node: Node, runtime: Runtime) -> None:
    bridge = Path(node.root / "bin/bridge")
    with node.agent_runs(*flags(node)):
        runtime.wait()
        pod = runtime.make()
        assert runtime.call("ADD", pod, **asks("lan, tuned2"))[0] == 0
        target = bridge.readlink()
        bridge.unlink()
        code, error = runtime.call("DEL", pod)
        assert (code, "net1 of default/lan: plugin bridge: there is no executable" in error["msg"]) == (TRY_LATER, True)
        assert [*links(runtime, pod)] == ["net1"], "the other was unmade"
        bridge.symlink_to(target)
        assert runtime.call("DEL", pod) == (0, {})
        assert (links(runtime, pod), is_clean(node, runtime)) == ({}, True)


def test_isolated_namespaces_have_their_own_definitions(node: Node, runtime: Runtime) -> None:
    with node.agent_runs(*flags(node), "--network-namespace-isolation=on", "--network-global-namespaces=shared"):
        runtime.wait()
        pod = runtime.make()
        code, error = runtime.call("ADD", pod, **asks("other/noted"))
        assert (code, "other/noted is of another namespace" in error["msg"]) == (7, True), error
        assert runtime.call("ADD", pod, **asks("lan"))[0] == 0
        assert runtime.call("DEL", pod) == (0, {})
