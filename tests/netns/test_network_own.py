"""Further interfaces that the agent makes itself, and ones that come while a pod runs: real agents, real namespaces."""

import json
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
from agent.model.policy import POLICY_FOR
from agent.pods.network_record import FOLDER, SUFFIX
from agent.pods.veth_spec import HOST_MAC
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
    leases,
    links,
    make,
    records,
    statuses,
    write,
)
from tests.patience import until

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

DPCTL = "import sys; from dpctl.app import main; sys.exit(main())"
LAB = Path(__file__).parents[1] / "lab"
OURS = (
    definition("ours", type="sluiceway-cni", kind="veth"),
    definition("xsk", type="sluiceway-cni", kind="afxdp", afxdp={"capture": ["udp:7000-7999"]}),
    definition("kindless", type="sluiceway-cni"),
)
PING = 98  # octets of its frame
CHANGES = (("added", "done"), ("removed", "done"), ("removed", "failed"), ("added", "failed"))
DENY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny", "namespace": "default"},
    "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]},
}
MULTI = {
    "apiVersion": "k8s.cni.cncf.io/v1beta1",
    "kind": "MultiNetworkPolicy",
    "metadata": {"name": "further", "namespace": "default", "annotations": {POLICY_FOR: "ours"}},
    "spec": {
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}],
    },
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    root = tmp_path_factory.mktemp("o") / "n"  # a socket's path has 107 octets
    made = make(f"swo{os.getpid()}", root)
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


def dpctl(node: Node, *words: str) -> str:
    """What dpctl prints on the node."""
    at, more = words.index("--") if "--" in words else len(words), [f"--state-dir={node.root}/state"]
    argv = [*words[:at], *more, *words[at:]]
    return node.run(sys.executable, "-c", DPCTL, f"--pin-root={node.pins}", *argv)


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


def reaches(node: Node, pod: str, address: str, source: str = "eth0") -> bool:
    """Whether an address answers a pod, at an address or an interface of it, within a second."""
    command = [*node.inside, "nsenter", f"--net=/run/netns/{pod}", "ping", "-c1", "-W1", "-I", source, address]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def counted(node: Node, series: str) -> float:
    """One of the agent's metrics, without its prefix; fails where it has none."""
    (line,) = (one for one in node.health("metrics").splitlines() if one.startswith(f"sluiceway_{series} "))
    return float(line.rpartition(" ")[2])


def said(node: Node, client: str, server: str) -> set[tuple[str, str]]:
    """What is said of what comes in at a port, and by which policy."""
    rows = json.loads(of_policy(node, "why", client, server, "80", "-o", "json"))
    return {(row["verdict"], row["policy"]) for row in rows if row["direction"] == "ingress"}


def of_policy(node: Node, *words: str) -> str:
    """What dpctl policy prints on the node, whatever its status."""
    argv = ["-c", DPCTL, f"--pin-root={node.pins}", "policy", *words, f"--run-dir={node.root}/run"]
    command = [*node.inside, sys.executable, *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def pod_object(name: str, networks: str, **labels: str) -> dict[str, Any]:
    """The Pod as the API has it."""
    notes = {"annotations": {NETWORKS: networks}} if networks else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels, **notes},
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
        web = pod_object(pod, "ours@data0, lan, xsk", app="web")
        write(node, every(node.root, web, DENY))
        until(lambda: not reaches(node, other, first[0]), "policy holds for the first interface")
        assert not any(reaches(node, other, address) for address in (second[0], fourth[1])), "and for ours beside it"
        rows = json.loads(dpctl(node, "pod", "interfaces", f"default/{pod}", "-o", "json"))
        assert [(row["interface"], row["kind"], row["network"], row["policy"]) for row in rows] == [
            ("eth0", "veth", "sluiceway", "ingress"),
            ("data0", "veth", "default/ours", "ingress"),
            ("net2", "bridge", "default/lan", "sees no packet"),
            ("net3", "afxdp", "default/xsk", "ingress"),
        ]
        assert (rows[1]["mtu"], {*second} <= {*rows[1]["addresses"]}, rows[1]["rx_packets"] > 0) == (1500, True, True)
        names = dpctl(node, "pod", "exec", pod, "--", "ip", "-br", "link")
        assert "data0" in names
        (only,) = json.loads(dpctl(node, "pod", "netns", pod, "-o", "json"))
        assert (only["netns"], only["process"]) == (f"/run/netns/{pod}", None)
        code, error = runtime.call("ADD", runtime.make(), **asks("kindless"))
        assert (code, "without a kind" in error["msg"]) == (7, True), error
        assert ("default/kindless", "spec.config.kind") in node.problems(), "and so it is told at once"
        (uplink,) = json.loads(node.ip("-j link show u0"))
        for mac in (there["eth0"]["address"], there["net3"]["address"], HOST_MAC, uplink["address"]):
            code, error = runtime.call("ADD", runtime.make(), **asks([{"name": "ours", "mac": mac}]))
            assert (code, f"runtimeConfig.mac: {mac} is of " in error["msg"]) == (TRY_LATER, True), error
        assert runtime.call("CHECK", pod, prevResult=result) == (0, {})
        runtime.inside(pod, "ip", "addr", "flush", "dev", "data0")
        code, error = runtime.call("CHECK", pod, prevResult=result)
        assert (code, "data0 of default/ours: plugin sluiceway-cni: " in error["details"]) == (CHECKED, True), error
        assert runtime.call("DEL", pod) == (0, {})
        assert runtime.call("DEL", other) == (0, {})
        assert (links(runtime, pod), is_clean(node, runtime)) == ({}, True)
        assert not (place / pod).exists()
        write(node, every(node.root))


def test_the_way_out_can_be_ours_by_any_gateway(node: Node, runtime: Runtime) -> None:
    """At the other end of a veth is the node, which nobody has to know by an address."""
    node.ip("addr add 198.51.100.1/32 dev lo")
    node.ip("addr add 2001:db8:51::1/128 dev lo")
    with node.agent_runs(*flags(node)):
        runtime.wait()
        pod = runtime.make()
        out = [{"name": "ours", "default-route": ["10.9.9.9", "fd99::9"]}]
        assert runtime.call("ADD", pod, **asks(out))[0] == 0
        ways = {("10.9.9.9", "net1"), ("fd99::9", "net1")}
        assert ways < {*defaults(runtime, pod)}
        four, six = addresses(links(runtime, pod)["net1"])
        for address, by in (("198.51.100.1", four), ("2001:db8:51::1", six)):
            assert by in runtime.inside(pod, "ip", "route", "get", address)
            until(lambda address=address, by=by: reaches(node, pod, address, by), f"{address} is reached")  # type: ignore[misc]
        assert runtime.call("DEL", pod) == (0, {})
        assert is_clean(node, runtime)


def test_a_multinetworkpolicy_is_for_the_interfaces_of_its_network(node: Node, runtime: Runtime) -> None:
    with node.agent_runs(*flags(node)):
        runtime.wait()
        pod, client = runtime.make(), runtime.make()
        asked = (web := pod_object(pod, "ours@data0", app="web")), pod_object(client, "ours@data0", app="client")
        write(node, every(node.root, *asked))
        for each in (pod, client):
            assert runtime.call("ADD", each, **asks("ours@data0"))[0] == 0
        first, second = (addresses(links(runtime, pod)[name])[0] for name in ("eth0", "data0"))
        data0 = addresses(links(runtime, client)["data0"])[0]
        ways = [("eth0", first), ("eth0", second), (data0, second)]
        assert [reaches(node, client, to, by) for by, to in ways] == [True, True, True]
        write(node, every(node.root, *asked, MULTI))
        until(lambda: not reaches(node, client, second), "only who is on the network reaches its interface")
        assert [reaches(node, client, to, by) for by, to in ways] == [True, False, True]
        for by, verdict in ((f"default/{client}/data0", "accepted"), (f"default/{client}", "denied")):
            assert said(node, by, f"default/{pod}/data0") == {(verdict, "MultiNetworkPolicy default/further")}
        write(node, every(node.root, web, MULTI))
        until(lambda: not reaches(node, client, second, data0), "a client without the label is none")
        shown = of_policy(node, "list")
        assert "MultiNetworkPolicy default/further" in shown
        assert f"default/{pod}/data0" in shown
        for each in (pod, client):
            assert runtime.call("DEL", each) == (0, {})
        assert is_clean(node, runtime)
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


def test_interfaces_come_and_go_while_a_pod_runs(node: Node, runtime: Runtime) -> None:
    pod = runtime.make()

    def annotate(networks: str | list[dict[str, Any]]) -> None:
        text = networks if isinstance(networks, str) else json.dumps(networks)
        write(node, every(node.root, pod_object(pod, text)))

    def names() -> list[str]:
        return [*links(runtime, pod)]

    def told() -> list[str]:
        (path,) = (node.root / "state" / FOLDER).glob(f"*{SUFFIX}")  # beside a draft, while one is written
        return [one["interface"] for one in json.loads(json.loads(path.read_text())["status"])]

    annotate("lan")
    with node.agent_runs(*flags(node)):
        runtime.wait()
        assert runtime.call("ADD", pod, **asks("lan"))[0] == 0
        lan = links(runtime, pod)["net1"]
        annotate("lan, ours@data0")
        until(lambda: told() == ["eth0", "net1", "data0"], "one has come")
        there = links(runtime, pod)
        assert (names(), there["net1"]["ifindex"]) == (["eth0", "net1", "data0"], lan["ifindex"])
        node.run("ping", "-c1", "-w5", addresses(there["data0"])[0])
        annotate("ours@data0, failing")
        until(lambda: names() == ["eth0", "data0"] and not leases(node), "one has gone, with its address")
        problem = ("default/" + pod, f"metadata.annotations['{NETWORKS}']")
        until(lambda: problem in node.problems(), "what fails is told")
        assert links(runtime, pod)["data0"]["ifindex"] == there["data0"]["ifindex"]
        assert told() == ["eth0", "data0"]
        for way in ("ingress", "egress"):  # the ping, there and back
            of_data0 = f'{{direction="{way}",interface="data0",kind="veth",pod="default/{pod}"}}'
            assert counted(node, f"interface_packets_total{of_data0}") >= 1
            assert counted(node, f"interface_bytes_total{of_data0}") >= PING
        changes = [counted(node, f'network_changes_total{{change="{c}",result="{r}"}}') for c, r in CHANGES]
        assert (changes[:3], changes[3] >= 1) == ([1, 1, 0], True), "data0 came, net1 went, and one is refused"
    out = {"name": "lan", "interface": "l0", "default-route": ["10.50.0.1"]}
    annotate([{"name": "ours", "interface": "data0"}, out, {"name": "wide", "interface": "w0"}])
    with node.agent_runs(*flags(node)):
        until(lambda: told() == ["eth0", "data0", "l0", "w0"], "what was asked for meanwhile")
        assert (names(), problem in node.problems()) == (["eth0", "data0", "l0", "w0"], False)
        ours4, ours6 = ("169.254.1.1", "eth0"), ("fe80::ecee:eeff:feee:eeee", "eth0")
        assert defaults(runtime, pod) == [("10.50.0.1", "l0"), ours6, ours4], "none of w0's plugin's own"
        rules = runtime.inside(pod, "ip", "rule")
        annotate("ours@data0, wide@w0")
        until(lambda: told() == ["eth0", "data0", "w0"], "the way out is another's no more")
        assert defaults(runtime, pod) == [ours6, ours4]
        annotate([{"name": "ours", "interface": "data0"}, {"name": "wide", "interface": "w0"}, out])
        until(lambda: told() == ["eth0", "data0", "w0", "l0"], "and once more")
        assert runtime.inside(pod, "ip", "rule") == rules
        (row,) = (json.loads(path.read_text()) for path in records(node))
        assert [one["step"] for one in row["interfaces"]] == ["made", "made", "made"]
        assert runtime.call("DEL", pod) == (0, {})
        assert (links(runtime, pod), is_clean(node, runtime)) == ({}, True)
    write(node, every(node.root))


def test_a_device_goes_into_a_pods_namespace_and_comes_back(node: Node, runtime: Runtime) -> None:
    """As docs/dpctl.md has it."""
    with node.agent_runs(*flags(node)):
        runtime.wait()
        pod = runtime.make()
        assert runtime.call("ADD", pod)[0] == 0
        node.ip("link add eth9 type veth peer name eth9-peer")
        (where,) = json.loads(dpctl(node, "pod", "netns", pod, "-o", "json"))
        node.ip(f"link set eth9 netns {where['netns']}")
        dpctl(node, "pod", "exec", pod, "--", "ip", "link", "set", "eth9", "name", "data9", "up")
        assert {*links(runtime, pod)} == {"eth0", "data9"}
        for command, status in (("/etc/passwd", 126), ("/etc/passwd/x", 126), ("nowhere", 127)):
            with pytest.raises(subprocess.CalledProcessError) as failed:
                dpctl(node, "pod", "exec", pod, "--", command)
            assert (failed.value.returncode, f"Error: {command}: " in failed.value.stderr) == (status, True)
        back = f"ip link set data9 netns /run/netns/{node.name} name eth9"  # the node's first process is another's here
        dpctl(node, "pod", "exec", pod, "--", *back.split())
        assert [*links(runtime, pod)] == ["eth0"]
        node.ip("link del eth9")
        assert runtime.call("DEL", pod) == (0, {})
        assert is_clean(node, runtime)
