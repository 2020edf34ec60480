"""The real shim asks a real CNI server in a node's namespace; only the reconcile loop is a fake."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.netlink import requests
from agent.pods.attachments import boot_id, host_device
from agent.pods.journal import Journal
from tests.netns.cni_server import PREFIX, Answer, Node, inside, run

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shim") / "sluiceway-cni"
    source = ROOT / "cni/sluiceway-cni.c"
    run("musl-gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(path), str(source))
    return path


@pytest.fixture
def node(shim: Path, tmp_path: Path) -> Iterator[Node]:
    name = f"{PREFIX}n"
    run("ip", "netns", "add", name)
    made = Node(name, shim, tmp_path)
    try:
        inside(name, "ip", "link", "set", "lo", "up")
        inside(name, "ip", "link", "add", "up0", "mtu", "1400", "type", "veth", "peer", "name", "wire")
        inside(name, "ip", "link", "set", "wire", "up")
        inside(name, "ip", "addr", "add", "192.0.2.10/24", "dev", "up0")
        inside(name, "ip", "addr", "add", "2001:db8::10/64", "dev", "up0", "nodad")
        inside(name, "ip", "link", "set", "up0", "up")
        inside(name, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        made.start()
        yield made
    finally:
        if made.server:
            made.stop()
        for namespace_name in (*made.pods, name):
            subprocess.run(["ip", "netns", "del", namespace_name], check=False)


def test_a_pod_reaches_its_node_and_another_pod_in_both_families(node: Node) -> None:
    first, second = node.pod(), node.pod()
    code, result = node.call("ADD", first)
    assert code == 0, result
    code, other = node.call("ADD", second)
    assert code == 0, other
    four, six = (ip["address"].partition("/")[0] for ip in other["ips"])

    inside(first, "ping", "-c1", "-w5", "192.0.2.10")
    inside(first, "ping", "-c1", "-w5", "2001:db8::10")
    inside(first, "ping", "-c1", "-w5", four)
    inside(first, "ping", "-c1", "-w5", six)
    inside(node.name, "ping", "-c1", "-w5", four)
    inside(node.name, "ping", "-c1", "-w5", six)


def test_a_pod_that_went_without_a_del_is_collected(node: Node) -> None:
    dead, alive = node.pod(), node.pod()
    for pod in (dead, alive):
        code, result = node.call("ADD", pod)
        assert code == 0, result
    assert node.cni
    node.do(node.cni.collect)
    assert len(node.loop.attached) == 2
    run("ip", "netns", "del", dead)
    node.pods.remove(dead)
    while len(node.host_ends()) == 2:  # the kernel takes its time; the test's limit ends the wait
        time.sleep(0.01)
    node.do(node.cni.collect)
    assert [str(a.pod) for a in node.cni.attachments()] == [f"default/{alive}"]
    assert list(node.loop.attached) == [host_device(f"c-{alive}", "eth0")]
    assert node.call("DEL", dead)[0] == 0


def test_the_veth_is_as_the_datapath_expects_it(node: Node) -> None:
    pod = node.pod()
    code, result = node.call("ADD", pod)
    assert code == 0, result
    host = host_device(f"c-{pod}", "eth0")
    inner = json.loads(inside(pod, "ip", "-j", "link", "show", "eth0"))[0]
    outer = json.loads(inside(node.name, "ip", "-j", "link", "show", host))[0]
    assert (outer["address"], outer["mtu"], inner["mtu"]) == ("ee:ee:ee:ee:ee:ee", 1400, 1400)
    assert [(i["name"], i["mac"], i["mtu"]) for i in result["interfaces"]] == [
        (host, "ee:ee:ee:ee:ee:ee", 1400),
        ("eth0", inner["address"], 1400),
    ]
    assert [ip["address"] for ip in result["ips"]] == ["10.77.1.2/32", "fd77:1::2/128"]
    assert "default via 169.254.1.1 dev eth0 proto static onlink" in inside(pod, "ip", "route")
    assert "default via fe80::ecee:eeff:feee:eeee dev eth0" in inside(pod, "ip", "-6", "route")
    neighbours = inside(pod, "ip", "neigh")
    assert neighbours.count("lladdr ee:ee:ee:ee:ee:ee PERMANENT") == 2
    assert f"10.77.1.2 dev {host} proto 89 scope link" in inside(node.name, "ip", "route")
    assert f"fd77:1::2 dev {host} proto 89" in inside(node.name, "ip", "-6", "route")
    assert inside(node.name, "ip", "neigh", "show", "dev", host).count(f"lladdr {inner['address']} PERMANENT") == 2
    assert "clsact" in inside(node.name, "tc", "qdisc", "show", "dev", host), "the request had no ifindex"
    attachment = node.loop.attached[host]
    assert (str(attachment.pod), attachment.mac) == (f"default/{pod}", inner["address"])


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_add_check_and_del_speak_every_version(node: Node, version: str) -> None:
    pod = node.pod()
    code, result = node.call("ADD", pod, version=version)
    assert (code, result["cniVersion"]) == (0, version)
    assert ("version" in result["ips"][0]) == (version < "1.0.0")
    if version > "0.3.1":
        assert node.call("CHECK", pod, version=version, config={"prevResult": result}) == (0, {})
    assert node.call("DEL", pod, version=version, config={"prevResult": result}) == (0, {})
    assert node.call("DEL", pod, version=version) == (0, {}), "a second DEL succeeds"
    assert node.host_ends() == []
    assert node.loop.attached == {}
    assert Journal(node.directory / "attachments", boot_id()).load() == ()


def test_check_sees_an_address_that_was_taken_away(node: Node) -> None:
    pod = node.pod()
    _, result = node.call("ADD", pod)
    inside(pod, "ip", "addr", "del", "10.77.1.2/32", "dev", "eth0")
    code, error = node.call("CHECK", pod, config={"prevResult": result})
    assert (code, error["code"]) == (100, 100)
    assert "10.77.1.2 is not on eth0" in error["details"]


def test_check_sees_a_route_of_the_nodes_that_was_taken_away(node: Node) -> None:
    pod = node.pod()
    _, result = node.call("ADD", pod)
    for address, family in (("10.77.1.2", "-4"), ("fd77:1::2", "-6")):
        inside(node.name, "ip", family, "route", "del", address, "proto", "89")
        code, error = node.call("CHECK", pod, config={"prevResult": result})
        assert (code, f"the node has no route to {address}" in error["details"]) == (100, True), error


def test_del_succeeds_when_the_namespace_is_gone(node: Node) -> None:
    pod = node.pod()
    node.call("ADD", pod)
    run("ip", "netns", "del", pod)
    node.pods.remove(pod)
    assert node.call("DEL", pod) == (0, {})
    assert node.host_ends() == []


def test_a_second_add_is_refused_and_leaves_the_first_alone(node: Node) -> None:
    pod = node.pod()
    node.call("ADD", pod)
    code, error = node.call("ADD", pod)
    assert (code, error["code"]) == (4, 4)
    inside(pod, "ping", "-c1", "-w5", "192.0.2.10")


def _take_name(_node: Node, pod: str) -> None:
    inside(pod, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")


def _lose_namespace(node: Node, pod: str) -> None:
    run("ip", "netns", "del", pod)
    node.pods.remove(pod)


def _refuse(node: Node, _pod: str) -> None:
    node.loop.refuse = True


def _break_preparation(node: Node, _pod: str) -> None:
    node.prepared = (requests.add_clsact(0), requests.set_filter(0, 0, "pod_ingress", ingress=True))  # 0 is no program


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        pytest.param(_take_name, 4, id="an interface of the name exists"),
        pytest.param(_lose_namespace, 8, id="the namespace is gone"),
        pytest.param(_refuse, 11, id="the loop refuses the endpoint"),
        pytest.param(_break_preparation, 11, id="the programs cannot be attached"),
    ],
)
def test_a_failed_add_leaves_nothing(node: Node, spoil: Callable[[Node, str], None], code: int) -> None:
    pod = node.pod()
    spoil(node, pod)
    for _ in range(3):
        assert node.call("ADD", pod)[0] == code
    assert node.host_ends() == []
    assert node.loop.attached == {}
    assert Journal(node.directory / "attachments", boot_id()).load() == ()
    assert "proto 89" not in inside(node.name, "ip", "route")


def test_a_path_that_leads_to_no_pods_namespace_is_refused_by_what_it_leads_to(node: Node) -> None:
    code, error = node.call("ADD", node.name)
    assert (code, error["msg"].endswith("is the node's own network namespace")) == (8, True), error
    other = Path("/run/netns", f"{PREFIX}file")
    other.touch()
    try:
        code, error = node.call("ADD", other.name)
    finally:
        other.unlink()
    assert (code, error["msg"].endswith("is no network namespace")) == (8, True), error
    assert node.host_ends() == []


def test_a_pod_has_ipv6_also_where_new_devices_are_born_without(node: Node) -> None:
    pod = node.pod()
    inside(pod, "sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=1")
    assert node.call("ADD", pod)[0] == 0
    assert "fd77:1::2/128" in inside(pod, "ip", "-6", "addr", "show", "eth0")


def test_a_pod_is_made_also_on_a_node_whose_new_devices_are_born_without_ipv6(node: Node) -> None:
    inside(node.name, "sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=1")
    pod = node.pod()
    code, result = node.call("ADD", pod)
    assert code == 0, result
    for ip in result["ips"]:
        inside(node.name, "ping", "-c1", "-w5", ip["address"].partition("/")[0])


def test_a_second_interface_answers_and_leaves_the_first_as_it_was(node: Node) -> None:
    pod, other = node.pod(), node.pod()
    results = [node.call("ADD", pod, interface=interface) for interface in ("eth0", "net1")]
    assert [code for code, _ in results] == [0, 0], results
    assert node.call("ADD", other)[0] == 0
    before = [inside(pod, "ip", family, "route", "show", "default") for family in ("-4", "-6")]
    assert all("eth0" in text and "net1" not in text for text in before)
    addresses = [ip["address"].partition("/")[0] for _, result in results for ip in result["ips"]]
    for address in addresses:  # of both interfaces, in both families
        inside(node.name, "ping", "-c1", "-w5", address)
        inside(other, "ping", "-c1", "-w5", address)
    answers_by = [inside(pod, "ip", "route", "get", "192.0.2.10", "from", address) for address in addresses[::2]]
    assert ["dev eth0" in answers_by[0], "dev net1" in answers_by[1]] == [True, True], answers_by
    for interface, (_, result) in zip(("eth0", "net1"), results, strict=True):
        assert node.call("CHECK", pod, config={"prevResult": result}, interface=interface) == (0, {})
    assert node.call("DEL", pod, interface="net1") == (0, {})
    assert [inside(pod, "ip", family, "route", "show", "default") for family in ("-4", "-6")] == before
    inside(node.name, "ping", "-c1", "-w5", addresses[0])
    code, again = node.call("ADD", pod, interface="net1")
    assert code == 0, again
    inside(node.name, "ping", "-c1", "-w5", again["ips"][0]["address"].partition("/")[0])


def test_a_gc_that_an_agent_left_lying_spares_pods_made_since(node: Node) -> None:
    old, new = node.pod(), node.pod()
    assert node.call("ADD", old)[0] == 0
    node.stop()
    assert node.call("GC", old, config={"cni.dev/valid-attachments": []}) == (0, {}), "left for the next agent"
    (left,) = (node.directory / "cni-intents").iterdir()
    kept = left.read_bytes()
    node.start()
    assert node.call("STATUS", old) == (0, {})
    assert node.host_ends() == []
    assert node.call("ADD", new)[0] == 0
    node.stop()
    left.write_bytes(kept)  # as if the agent of the time had hung
    node.start()
    assert node.call("STATUS", new) == (0, {})
    assert node.host_ends() == [host_device(f"c-{new}", "eth0")]
    assert list((node.directory / "cni-intents").iterdir()) == []


def test_a_new_agent_knows_the_living_and_removes_the_dead(node: Node) -> None:
    alive, dead, orphan = node.pod(), node.pod(), "swp00000000aa"
    node.call("ADD", alive)
    node.call("ADD", dead)
    before = node.loop.attached[host_device(f"c-{alive}", "eth0")]
    node.stop()
    run("ip", "netns", "del", dead)
    node.pods.remove(dead)
    inside(node.name, "ip", "link", "add", orphan, "address", "ee:ee:ee:ee:ee:ee", "type", "veth", "peer", "name", "x")
    assert node.start() == (before,)
    assert node.host_ends() == [before.link.host_device]
    _, result = node.call("ADD", node.pod())
    assert result["ips"][0]["address"] == "10.77.1.3/32", "the dead one's, whose turn it is; never the living one's"


def test_a_del_without_an_agent_is_done_by_the_next_one(node: Node) -> None:
    pod = node.pod()
    node.call("ADD", pod)
    node.stop()
    assert node.call("DEL", pod) == (0, {})
    assert node.call("STATUS", pod)[0] == 50
    assert len(node.host_ends()) == 1
    node.start()
    assert node.call("STATUS", pod) == (0, {}), "served after what was left"
    assert node.host_ends() == []
    assert list((node.directory / "cni-intents").iterdir()) == []


def test_gc_removes_what_the_runtime_does_not_name(node: Node) -> None:
    kept, gone = node.pod(), node.pod()
    node.call("ADD", kept)
    node.call("ADD", gone)
    valid = [{"containerID": f"c-{kept}", "ifname": "eth0"}]
    assert node.call("GC", kept, config={"cni.dev/valid-attachments": valid}) == (0, {})
    assert node.host_ends() == [host_device(f"c-{kept}", "eth0")]


def test_sixteen_pods_at_once_get_sixteen_addresses(node: Node) -> None:
    pods = [node.pod() for _ in range(16)]
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda p=p: answers.append(node.call("ADD", p))) for p in pods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [code for code, _ in answers] == [0] * 16
    assert len({result["ips"][0]["address"] for _, result in answers}) == 16
