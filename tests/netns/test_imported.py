"""A node that was moved: a pod on the old bridge keeps its address and is reached, beside pods of ours."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.netns.agents import Node
from tests.netns.pods import CLUSTER6, Runtime

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

OLD, OLD6 = "10.244.0.2", "fd00:244::2"
FAR, FAR6 = "192.0.2.9", "2001:db8::9"


@pytest.fixture
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with one old pod, and a neighbour that knows where pods are."""
    root = tmp_path_factory.mktemp("moved") / "node"
    root.mkdir()
    made = Node.make(f"swmoved{os.getpid()}", root)
    annotated = CLUSTER6.replace("{name: n1}", '{name: n1, annotations: {"sluiceway.io/ipam": host-local}}')
    (root / "manifests/cluster.yaml").write_text(annotated)
    networks = root / "cni/networks/cbr0"
    networks.mkdir(parents=True)
    for address in (OLD, OLD6):
        (networks / address).write_text("old\r\neth0")
    far, old = f"{made.name}far", f"{made.name}old"
    made.run("ip", "netns", "add", far)
    made.run("ip", "netns", "add", old)
    made.ip("addr add 2001:db8::1/64 dev u0 nodad")
    made.ip(f"link set u1 netns {far}")
    inside(far, "addr add 192.0.2.9/24 dev u1", "addr add 2001:db8::9/64 dev u1 nodad", "link set u1 up")
    inside(far, "route add 10.244.0.0/24 via 192.0.2.1", "-6 route add fd00:244::/64 via 2001:db8::1")
    # as the bridge plugin lays it
    made.ip("link add cni0 type bridge")
    made.ip("addr add 10.244.0.1/24 dev cni0")
    made.ip("addr add fd00:244::1/64 dev cni0 nodad")
    made.ip(f"link add veth0badcafe type veth peer name eth0 netns {old}")
    made.ip("link set veth0badcafe master cni0 up")
    made.ip("link set cni0 up")
    inside(
        old, "link set lo up", "link set eth0 up", f"addr add {OLD}/24 dev eth0", f"addr add {OLD6}/64 dev eth0 nodad"
    )
    inside(old, "route add default via 10.244.0.1", "-6 route add default via fd00:244::1")
    yield made
    for netns in (far, old):
        subprocess.run(["ip", "netns", "del", netns], check=True)
    made.remove()


@pytest.fixture
def runtime(node: Node) -> Iterator[Runtime]:
    made = Runtime(node)
    yield made
    made.close()


def inside(netns: str, *lines: str) -> None:
    for words in lines:
        subprocess.run(["ip", "-netns", netns, *words.split()], check=True)


def reaches(netns: str, address: str, tries: int = 5) -> bool:
    command = ["nsenter", f"--net=/run/netns/{netns}", "ping", "-c1", "-W2", address]
    return any(subprocess.run(command, check=False, capture_output=True).returncode == 0 for _ in range(tries))


def test_an_old_pod_is_reached_and_its_address_is_its_own_until_its_del(node: Node, runtime: Runtime) -> None:
    far, old = f"{node.name}far", f"{node.name}old"
    with node.agent_runs(f"--cni-state-dir={node.root / 'cni'}", "--masquerade=off"):
        runtime.wait()
        new = runtime.make()
        code, result = runtime.call("ADD", new)
        assert code == 0, result
        four, six = (ip["address"].partition("/")[0] for ip in result["ips"])
        assert (four, six) == ("10.244.0.3", "fd00:244::3")
        for address in (OLD, OLD6):
            assert reaches(node.name, address)
            assert reaches(far, address)
        for address in (FAR, FAR6, "192.0.2.1", "2001:db8::1"):
            assert reaches(old, address)
        # to the old pod the whole subnet is on its bridge; there somebody has to answer for a new one
        for address in (four, six):
            assert not reaches(old, address, tries=1)
        node.run("sysctl", "-qw", "net.ipv4.conf.cni0.proxy_arp=1", "net.ipv6.conf.cni0.proxy_ndp=1")
        node.ip(f"-6 neigh add proxy {six} dev cni0")
        for netns, address in ((old, four), (old, six), (new, OLD), (new, OLD6)):
            assert reaches(netns, address)
        late, asked = runtime.make(), {"ips": [OLD]}
        assert runtime.call("ADD", late, runtimeConfig=asked)[0] == 11
        assert runtime.call("DEL", "none", "old") == (0, {})
        assert list((node.root / "cni/networks/cbr0").iterdir()) == []
        assert runtime.call("ADD", late, runtimeConfig=asked)[0] == 0
        for pod in (new, late):
            assert runtime.call("DEL", pod) == (0, {})
        assert runtime.left() == {}
