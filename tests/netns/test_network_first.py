"""Another network as a pod's first: a real agent, real namespaces, and plugins of Debian's."""

import json
import os
from collections.abc import Iterator

import pytest

from tests.netns.agents import Node
from tests.netns.pods import Runtime
from tests.netns.test_network import asks, defaults, flags, is_clean, links, make, statuses

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with an agent."""
    made = make(f"swfirst{os.getpid()}", tmp_path_factory.mktemp("first") / "node")
    with made.agent_runs(*flags(made)):
        yield made
    made.remove()


@pytest.fixture
def runtime(served: Node) -> Iterator[Runtime]:
    made = Runtime(served)
    made.wait()
    yield made
    made.collect()
    made.close()


def test_another_network_can_be_a_pods_first(served: Node, runtime: Runtime) -> None:
    pod = runtime.make()
    first = {"v1.multus-cni.io/default-network": '[{"name": "first", "default-route": ["10.50.0.1"]}]'}
    code, result = runtime.call("ADD", pod, **asks("lan", **first))
    assert (code, [ip["address"] for ip in result["ips"]]) == (0, ["10.50.0.2/24"]), result
    assert [*links(runtime, pod)] == ["eth0", "net1"]
    keys = ("name", "interface", "default", "gateway")
    found = [tuple(map(one.get, keys)) for one in statuses(served)[0]]
    assert found == [("kube-system/first", "eth0", True, ["10.50.0.1"]), ("default/lan", "net1", None, None)]
    assert defaults(runtime, pod) == [("10.50.0.1", "eth0")]
    assert runtime.left() == {}, "nothing of it is ours"
    assert runtime.call("CHECK", pod, prevResult=result) == (0, {})
    assert runtime.call("DEL", pod) == (0, {})
    assert (links(runtime, pod), is_clean(served, runtime)) == ({}, True)


def test_a_first_networks_plugins_hear_of_the_pods_host_ports(served: Node, runtime: Runtime) -> None:
    """As the runtime says them; what they do not declare they are not told."""
    pod = runtime.make()
    (served.root / "noted").unlink(missing_ok=True)
    asked = asks("", **{"v1.multus-cni.io/default-network": "told"})
    ports = [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}]
    asked["runtimeConfig"] |= {"portMappings": ports, "bandwidth": {"IngressRate": 8000}}
    code, result = runtime.call("ADD", pod, version="1.0.0", **asked)
    assert (code, result["cniVersion"]) == (0, "1.0.0"), "the runtime knows no later one"
    assert runtime.call("DEL", pod) == (0, {})
    told = [json.loads(line) for line in (served.root / "noted").read_text().splitlines()[1::2]]
    assert [one["runtimeConfig"] for one in told] == [{"portMappings": ports}] * 2
    assert is_clean(served, runtime)
