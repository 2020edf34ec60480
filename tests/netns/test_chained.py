"""Policy over the bridge plugin's network, as flannel has it: `--network chained`, and ours the last of the chain."""

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.bridged import ALL, FAR, FAR6, NONE, PORTS, SETTLE_S, BridgedNode, bridged

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

B_8080 = "[{port: 8080}, {port: 8080, protocol: UDP}]"
FROM_A = (
    "{podSelector: {matchLabels: {app: b}},"
    f" ingress: [{{from: [{{podSelector: {{matchLabels: {{app: a}}}}}}], ports: {B_8080}}}]}}"
)
TO_B = (
    "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress],"
    f" egress: [{{to: [{{podSelector: {{matchLabels: {{app: b}}}}}}], ports: {B_8080}}}]}}"
)
TO_C = (
    "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress],"
    " egress: [{to: [{podSelector: {matchLabels: {app: c}}}]}]}"
)
DENY_ALL = "{podSelector: {}, policyTypes: [Ingress, Egress]}"
VIP, VIP6 = "10.96.0.77", "fd00:10:96::77"


def flags(site: BridgedNode) -> tuple[str, ...]:
    """The agent's."""
    return "--network=chained", f"--cni-state-dir={site.node.root}/results/cni"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgedNode]:
    """A node with its agent."""
    root = tmp_path_factory.mktemp("bridged") / "node"
    root.mkdir()
    with bridged(root, "swbr") as made, made.node.agent_runs(*flags(made)):
        made.serve(made.far)
        yield made


@pytest.fixture
def pods(site: BridgedNode) -> Iterator[tuple[str, str, str]]:
    """Pods with the labels a, b and c on one bridge; gone at the end."""
    site.policy()
    a, b, c = names = tuple(site.pod(app) for app in "abc")
    for name in names:
        site.add(name)
    site.wait_passes(a, b, ALL)
    yield a, b, c
    for name in names:
        site.does("del", name)
        site.forget(name)


def test_pods_of_one_bridge_speak_as_policy_says(site: BridgedNode, pods: tuple[str, str, str]) -> None:
    a, b, c = pods
    assert site.passes(c, b) == ALL
    site.policy(FROM_A)
    site.wait_passes(c, b, NONE)
    assert site.passes(a, b) == ALL
    assert site.passes(a, b, PORTS[1]) == NONE
    assert site.passes(b, c) == ALL
    assert site.passes(b, b) == ALL
    site.policy(TO_B)
    site.wait_passes(c, b, ALL)
    assert site.passes(a, b) == ALL
    assert site.passes(a, b, PORTS[1]) == NONE
    assert site.passes(a, c) == NONE
    assert site.passes(c, a) == ALL


def test_the_node_reaches_its_pods_and_the_outside_only_where_it_may(
    site: BridgedNode, pods: tuple[str, str, str]
) -> None:
    a, b, _ = pods
    assert site.passes(site.far, b) == ALL
    assert all(site.ask(a, "STREAM", address, 8080).startswith("answered") for address in (FAR, FAR6))
    site.policy(DENY_ALL)
    site.wait_passes(a, b, NONE)
    assert site.passes(site.node.name, b) == ALL
    assert site.passes(site.far, b) == NONE
    for kind in ("STREAM", "DGRAM"):
        assert [site.ask(a, kind, address, 8080) for address in (FAR, FAR6)] == ["TimeoutError"] * 2
    for address in site.addresses[b]:
        site.node.run("ping", "-c1", "-w5", address)


def test_nobody_is_reached_by_a_broadcast_who_may_not_be_reached(site: BridgedNode, pods: tuple[str, str, str]) -> None:
    a, b, _ = pods
    hears = (
        "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::', 7000)); s.settimeout({})"
    )
    for policy, is_heard in (("", True), (FROM_A, False)):
        site.policy(policy)
        site.wait_passes(a, b, NONE if policy else ALL, PORTS[1])
        for said in ("'ff02::1%eth0', 7000", "'::ffff:10.244.0.255', 7000"):
            listener = site.starts(b, f"{hears.format(60 if is_heard else 3)}; print(flush=True); s.recv(9)")
            shout = "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)"
            shout += "; s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)"
            site.starts(a, f"{shout}; print(flush=True); s.sendto(b'x', ({said}))").wait()
            assert (listener.wait() == 0) is is_heard, (policy, said)


@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["IPv4", "IPv6"])
def test_a_cluster_ip_leads_to_whom_policy_lets_it(site: BridgedNode, pods: tuple[str, str, str], vip: str) -> None:
    a, b, c = pods
    backend = next(address for address in site.addresses[b] if (":" in address) == (":" in vip))
    site.service("b", vip, backend)
    site.wait_asks(a, "STREAM", vip, 80, "answered")
    for client in (a, b, c):
        for kind in ("STREAM", "DGRAM"):
            assert site.ask(client, kind, vip, 80).startswith("answered"), (client, kind)
    # in fragments
    assert site.ask(a, "DGRAM", vip, 80, 4000).startswith("answered")
    assert site.ask(a, "DGRAM", backend, 8080, 4000).startswith("answered")
    # who has no socket there says so, under the service's address
    assert site.ask(a, "DGRAM", vip, 81) == "ConnectionRefusedError"
    site.policy(TO_C)
    site.wait_asks(a, "STREAM", vip, 80, "TimeoutError")
    assert site.ask(a, "DGRAM", vip, 80) == "TimeoutError"
    assert site.ask(c, "DGRAM", vip, 80).startswith("answered")
    site.policy(FROM_A)
    site.wait_asks(a, "STREAM", vip, 80, "answered")
    assert site.ask(c, "STREAM", vip, 80) == "TimeoutError"
    site.node.run("rm", str(site.node.root / "manifests/service-b.yaml"))


def test_the_chain_passes_on_what_the_bridge_answered(site: BridgedNode) -> None:
    first, other = (site.pod("a") for _ in range(2))
    before = site.add(first)
    site.chain()
    plain = site.add(other)
    site.chain(site.ours())
    assert [one["name"].rstrip("0123456789abcdef") for one in before["interfaces"]] == [
        one["name"].rstrip("0123456789abcdef") for one in plain["interfaces"]
    ]
    assert before.keys() == plain.keys()
    assert [ip["gateway"] for ip in before["ips"]] == [ip["gateway"] for ip in plain["ips"]]
    for name in (first, other):
        site.does("del", name)
        site.forget(name)


def test_del_takes_our_programs_and_leaves_the_device(site: BridgedNode, pods: tuple[str, str, str]) -> None:
    a, b, _ = pods
    site.policy(DENY_ALL)
    site.wait_passes(a, b, NONE)
    before = site.ports()
    for pod in (a, b):
        assert site.only_ours("DEL", pod) == (0, {})
    assert site.passes(a, b) == ALL
    assert site.ports() == before
    assert len(site.runtime.pins()) == 2  # c's
    for pod in (a, b):
        assert site.only_ours("DEL", pod) == (0, {})


def test_check_and_gc_know_what_they_have_made(site: BridgedNode, pods: tuple[str, str, str]) -> None:
    a, b, _ = pods
    for pod in pods:
        site.does("check", pod)
    mac = json.loads(site.runtime.inside(a, "ip", "-j", "link", "show", "eth0"))[0]["address"]
    site.runtime.inside(a, "ip", "link", "set", "eth0", "address", "02:00:00:00:00:99")
    _, error = site.only_ours("CHECK", a)
    assert f"eth0 has the MAC 02:00:00:00:00:99, not {mac}" in error["details"]
    site.runtime.inside(a, "ip", "link", "set", "eth0", "address", mac)
    site.does("check", a)
    site.runtime.inside(b, "ip", "addr", "del", f"{site.addresses[b][0]}/24", "dev", "eth0")
    assert f"{site.addresses[b][0]} is not on eth0" in site.only_ours("CHECK", b)[1]["details"]
    site.runtime.inside(b, "ip", "addr", "add", f"{site.addresses[b][0]}/24", "dev", "eth0")
    valid: dict[str, Any] = {"cni.dev/valid-attachments": [{"containerID": site.container(a), "ifname": "eth0"}]}
    assert site.runtime.call("GC", **valid) == (0, {})
    assert len(site.runtime.pins()) == 2  # a's
    assert site.runtime.call("STATUS") == (0, {})


def test_what_has_no_end_on_the_node_is_refused_by_name(site: BridgedNode) -> None:
    pod = site.pod("a")
    site.chain(site.ours(), maker="macvlan")
    text = f"prevResult: eth0 in /run/netns/{pod} is a macvlan and has no end of its own on the node"
    assert text in site.tool.refused("add", pod, **site.args(pod))
    site.does("del", pod)
    site.tool.write({"cniVersion": "1.0.0", "name": "sluiceway", "plugins": [site.ours()]})
    assert "prevResult: the configuration lacks it" in site.tool.refused("add", pod, **site.args(pod))
    site.chain(site.ours())
    site.does("add", pod)
    site.does("del", pod)
    site.forget(pod)


def test_policy_holds_over_ptp(site: BridgedNode) -> None:
    site.policy()
    site.chain(site.ours(), maker="ptp")
    a, b = (site.pod(app) for app in "ab")
    for pod in (a, b):
        site.add(pod)
    site.wait_passes(a, b, ALL)
    site.policy(FROM_A)
    site.wait_passes(a, b, NONE, PORTS[1])
    assert site.passes(a, b) == ALL
    assert site.passes(site.node.name, b, PORTS[1]) == ALL
    for pod in (a, b):
        site.does("del", pod)
        site.forget(pod)
    site.chain(site.ours())


def test_pods_from_before_are_attached_and_an_agent_that_dies_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("earlier") / "node"
    root.mkdir()
    with bridged(root, "swbe") as site:
        site.chain()
        a, b, c = (site.pod(app) for app in "abc")
        for pod in (a, b, c):
            site.add(pod)
        site.policy(FROM_A)
        assert site.passes(c, b) == ALL
        site.chain(site.ours())
        process = site.node.start(*flags(site))
        site.node.wait_ready()
        site.wait_passes(c, b, NONE)
        assert site.passes(a, b) == ALL
        new = site.pod("a")
        site.add(new)
        site.wait_passes(new, b, ALL)
        stream = site.streams(a, b)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (site.passes(a, b), site.passes(new, b), site.passes(c, b)) == (ALL, ALL, NONE)
        with site.node.agent_runs(*flags(site)):
            assert (site.passes(a, b), site.passes(new, b), site.passes(c, b)) == (ALL, ALL, NONE)
            site.policy(DENY_ALL)
            site.wait_passes(new, b, NONE)
            site.policy()
            site.wait_passes(c, b, ALL)
            assert stream.poll() is None, "the connection went on"
            for pod in (a, b, c, new):
                site.does("del", pod)
            deadline = time.monotonic() + SETTLE_S
            while site.runtime.pins():
                assert time.monotonic() < deadline, site.runtime.pins()
                time.sleep(0.1)
