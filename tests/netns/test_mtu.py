"""A real agent: the MTU of pods, at both ends of their veths, follows the uplink's while they run."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.pods.attachments import host_device
from tests.netns.agents import CLUSTER, Node
from tests.netns.pods import CLUSTER6, Runtime

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

WITHIN_S = 90.0  # within a second on a machine at rest; without a notice it would be three minutes
VXLAN = "--encapsulation=vxlan"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    (tmp_path / "node").mkdir()
    made = Node.make(f"swmtu{os.getpid()}", tmp_path / "node")
    made.ip("addr add 2001:db8::1/64 dev u0 nodad")
    others = CLUSTER.split("---", 1)[1]
    (made.root / "manifests/cluster.yaml").write_text(f"{CLUSTER6}---{others}")
    yield made
    made.remove()


@pytest.fixture
def runtime(node: Node) -> Iterator[Runtime]:
    made = Runtime(node)
    yield made
    made.close()


def pod(runtime: Runtime) -> str:
    """A pod that is attached."""
    made = runtime.make()
    code, result = runtime.call("ADD", made)
    assert code == 0, result
    return made


def ends(node: Node, of: str) -> tuple[int, int]:
    """The MTU of a pod's veth: at the node's end and at the pod's."""
    command = ["nsenter", f"--net=/run/netns/{of}", "ip", "-j", "link", "show", "eth0"]
    inside = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    outside = node.ip(f"-j link show {host_device(f'c-{of}', 'eth0')}")
    return json.loads(outside)[0]["mtu"], json.loads(inside)[0]["mtu"]


def seen_within(node: Node, pods: list[str], mtu: int) -> float:
    """Seconds until all pods have the MTU.

    Raises:
        AssertionError: they do not have it in time.
    """
    began = time.monotonic()
    while (now := {ends(node, each) for each in pods}) != {(mtu, mtu)}:
        assert time.monotonic() < began + WITHIN_S, now
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("options", "less"),
    [pytest.param([], 0, id="natively"), pytest.param([VXLAN], 50, id="VXLAN leaves room for what it adds")],
)
def test_running_pods_and_new_ones_follow_the_uplink_up_and_down(
    node: Node, runtime: Runtime, options: list[str], less: int
) -> None:
    with node.agent_runs(*options):
        pods = [pod(runtime) for _ in range(3)]
        assert {ends(node, each) for each in pods} == {(1500 - less, 1500 - less)}
        for mtu in (1400, 9000, 1500):
            node.ip(f"link set u0 mtu {mtu}")
            print(f"{len(pods)} pods have {mtu - less} after {seen_within(node, pods, mtu - less):.2f} s")
            if options:
                assert f"mtu {mtu - less} " in node.ip("link show swtunnel")
            pods.append(pod(runtime))
            assert ends(node, pods[-1]) == (mtu - less, mtu - less)


def test_no_pod_gets_less_than_ipv6_lives_with(node: Node, runtime: Runtime) -> None:
    with node.agent_runs(VXLAN):
        pods = [pod(runtime)]
        node.ip("link set u0 mtu 1290")
        seen_within(node, pods, 1280)
        addresses = subprocess.run(
            ["nsenter", f"--net=/run/netns/{pods[0]}", "ip", "-6", "addr", "show", "scope", "global"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert "fd00:244::" in addresses
        assert ends(node, pod(runtime)) == (1280, 1280)


def test_an_mtu_that_is_told_stays(node: Node, runtime: Runtime) -> None:
    with node.agent_runs("--mtu=1300"):
        first = pod(runtime)
        node.ip("link set u0 mtu 1450")
        time.sleep(0.5)
        assert {ends(node, each) for each in (first, pod(runtime))} == {(1300, 1300)}


def test_pods_get_the_mtu_of_another_mode_with_the_agents_next_start(node: Node, runtime: Runtime) -> None:
    with node.agent_runs():
        old = pod(runtime)
    with node.agent_runs(VXLAN):
        seen_within(node, [old], 1450)


def test_a_pod_that_is_gone_stands_in_nobodys_way(node: Node, runtime: Runtime) -> None:
    with node.agent_runs():
        stays, goes = pod(runtime), pod(runtime)
        subprocess.run(["ip", "netns", "del", goes], check=True)
        runtime.pods.remove(goes)
        node.ip("link set u0 mtu 1400")
        seen_within(node, [stays], 1400)
