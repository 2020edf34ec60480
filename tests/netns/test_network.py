"""Pods with further networks, made by Debian's CNI plugins and by ones that fail: real agents, real namespaces."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.model.network import NETWORKS
from agent.pods.network_record import FOLDER
from tests.netns.agents import Node
from tests.netns.pods import CLUSTER6, Runtime, conf
from tests.patience import until

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

DEBIAN = Path("/usr/lib/cni")
TRY_LATER, CONFIG, CHECKED = 11, 7, 100
IPAM = {"type": "host-local", "subnet": "10.50.0.0/24"}
FAIL = """#!/bin/sh
[ "$CNI_COMMAND" = ADD ] || exit 0
echo '{"cniVersion": "1.0.0", "code": 7, "msg": "no such switch", "details": "port 3"}'
exit 1
"""
HANG = """#!/bin/sh
[ "$CNI_COMMAND" = ADD ] && sleep 600
exit 0
"""
# notes what it is told, and answers an ADD with what was before it
NOTE = """#!/bin/sh
{ echo "$CNI_COMMAND $CNI_IFNAME $CNI_ARGS"; cat; echo; } >> @/noted
[ "$CNI_COMMAND" = ADD ] && cat @/answer
exit 0
"""
ANSWER = {"cniVersion": "1.1.0", "interfaces": [], "ips": [{"address": "10.60.0.9/24", "gateway": "10.60.0.1"}]}


def definition(name: str, namespace: str = "default", **config: Any) -> dict[str, Any]:
    """A NetworkAttachmentDefinition; without a configuration it has none."""
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"config": json.dumps({"cniVersion": "1.0.0", **config})} if config else {},
    }


def definitions(root: Path) -> list[dict[str, Any]]:
    """Those of the tests; each has addresses of its own folder."""
    kept = {"dataDir": str(root / "ipam")}
    v6 = {"type": "host-local", "subnet": "fd00:50::/64", **kept}
    tuned = [
        {"type": "macvlan", "master": "u0", "capabilities": {"mac": True, "ips": True}, "ipam": {"type": "static"}},
        {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}},
    ]
    return [
        definition("lan", type="bridge", bridge="swnet0", ipam={**IPAM, **kept}),
        definition("wide", type="bridge", bridge="swnet1", isDefaultGateway=True, ipam=v6),
        definition("tuned", plugins=tuned),
        definition("noted", "other", cniVersion="1.1.0", type="note", capabilities={"bandwidth": True}),
        definition("failing", type="fail"),
        definition("odd", type="odd"),
        definition("hanging", type="hang"),
        definition("absent", type="nowhere"),
        definition("wrong", type="../../bin/sh"),
        definition("file"),
        definition("tuned2", type="macvlan", master="u0"),
        definition("first", "kube-system", type="bridge", bridge="swnet2", ipam={**IPAM, **kept}),
        definition("told", "kube-system", cniVersion="1.1.0", type="note", capabilities={"portMappings": True}),
    ]


def make(name: str, root: Path) -> Node:
    """A node with plugins and definitions."""
    root.mkdir()
    made = Node.make(name, root)
    (root / "manifests/cluster.yaml").write_text(CLUSTER6)
    write(made, definitions(root))
    for plugin in ("bridge", "macvlan", "host-local", "static", "tuning"):
        (root / "bin" / plugin).symlink_to(DEBIAN / plugin)
    for plugin, text in {"fail": FAIL, "odd": FAIL.replace("7", "123"), "hang": HANG, "note": NOTE}.items():
        (root / "bin" / plugin).write_text(text.replace("@", str(root)))
        (root / "bin" / plugin).chmod(0o755)
    (root / "answer").write_text(json.dumps(ANSWER))
    (root / "multus").mkdir()
    kept = {"cniVersion": "0.3.1", "name": "file", "type": "macvlan", "master": "u0"}
    (root / "multus/10-file.conf").write_text(json.dumps(kept))
    return made


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    root = tmp_path_factory.mktemp("network") / "node"
    made = make(f"swnet{os.getpid()}", root)
    yield made
    made.remove()


def write(node: Node, objects: list[dict[str, Any]]) -> None:
    """Put these definitions in place of others."""
    text = "---\n".join(json.dumps(one) + "\n" for one in objects)
    (node.root / "manifests/networks.yaml").write_text(text)


@pytest.fixture
def runtime(node: Node) -> Iterator[Runtime]:
    made = Runtime(node)
    yield made
    made.collect()
    made.close()


def flags(node: Node) -> tuple[str, ...]:
    """What the agent is given."""
    return ("--networks=on", f"--network-conf-dir={node.root}/multus")


def asks(networks: str | list[dict[str, Any]], **more: str) -> dict[str, Any]:
    """A configuration as containerd gives it to a pod with these annotations."""
    text = networks if isinstance(networks, str) else json.dumps(networks)
    return {"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {NETWORKS: text, **more}}}


def links(runtime: Runtime, pod: str) -> dict[str, dict[str, Any]]:
    """A pod's devices by name."""
    found = json.loads(runtime.inside(pod, "ip", "-j", "-d", "addr"))
    return {one["ifname"]: one for one in found if one["ifname"] != "lo"}


def addresses(link: dict[str, Any]) -> list[str]:
    """Its global addresses."""
    return [one["local"] for one in link["addr_info"] if one["scope"] == "global"]


def defaults(runtime: Runtime, pod: str) -> list[tuple[str, str]]:
    """The main table's default routes: gateway and device, the preferred first."""
    found = [
        (route.get("metric", 0), route["gateway"], route["dev"])
        for family in ("-4", "-6")
        for route in json.loads(runtime.inside(pod, "ip", "-j", family, "route", "show", "default"))
    ]
    return [(gateway, device) for _, gateway, device in sorted(found)]


def leases(node: Node) -> list[str]:
    """What host-local has noted."""
    return sorted(
        path.name
        for path in (node.root / "ipam").glob("*/*")
        if "last_reserved" not in path.name and path.name != "lock"
    )


def records(node: Node) -> list[Path]:
    """The agent's records of pods' networks."""
    return sorted((node.root / "state" / FOLDER).glob("*"))


def statuses(node: Node) -> list[list[dict[str, Any]]]:
    """What would be written to pods."""
    return [json.loads(json.loads(path.read_text())["status"]) for path in records(node)]


def is_clean(node: Node, runtime: Runtime) -> bool:
    """Whether nothing of any pod is left: ours, the plugins', the records."""
    return (runtime.left(), leases(node), records(node)) == ({}, [], [])


@pytest.fixture(scope="module")
def served(node: Node) -> Iterator[Node]:
    """The node, with an agent."""
    with node.agent_runs(*flags(node)):
        yield node


def test_networks_come_behind_ours_in_their_order_and_go_in_reverse(served: Node, runtime: Runtime) -> None:
    runtime.wait()
    pod = runtime.make()
    code, result = runtime.call("ADD", pod, **asks("lan@data0, wide"))
    assert (code, [one["name"] for one in result["interfaces"]][1:]) == (0, ["eth0"]), "the runtime hears of ours"
    there = links(runtime, pod)
    assert [*there] == ["eth0", "data0", "net2"]
    assert addresses(there["data0"]) == ["10.50.0.2"]
    assert defaults(runtime, pod) == [("169.254.1.1", "eth0"), ("fe80::ecee:eeff:feee:eeee", "eth0")]
    ours, lan, wide = statuses(served)[0]
    assert ours == {
        "name": "sluiceway",
        "interface": "eth0",
        "ips": addresses(there["eth0"]),
        "mac": there["eth0"]["address"],
        "mtu": 1500,
        "default": True,
        "dns": {},
        "gateway": ["169.254.1.1", "fe80::ecee:eeff:feee:eeee"],
    }
    assert lan == {
        "name": "default/lan",
        "interface": "data0",
        "ips": ["10.50.0.2"],
        "mac": there["data0"]["address"],
        "dns": {},
    }
    assert (wide["interface"], wide["ips"]) == ("net2", addresses(there["net2"]))
    assert runtime.call("CHECK", pod, prevResult=result) == (0, {})
    runtime.inside(pod, "ip", "addr", "flush", "dev", "data0")
    code, error = runtime.call("CHECK", pod, prevResult=result)
    assert (code, "data0 of default/lan: plugin bridge: " in error["details"]) == (CHECKED, True), error
    code, error = runtime.call("ADD", pod, **asks("lan@data0, wide"))
    assert (code, "has eth0 already" in error["msg"]) == (4, True), "what is there is left alone"
    assert [*links(runtime, pod)] == ["eth0", "data0", "net2"]
    assert runtime.call("DEL", pod) == (0, {})
    assert (links(runtime, pod), is_clean(served, runtime)) == ({}, True)
    assert runtime.call("DEL", pod) == (0, {})


def test_what_the_long_form_asks_for_reaches_the_plugins(served: Node, runtime: Runtime) -> None:
    runtime.wait()
    pod = runtime.make()
    tuned = {"name": "tuned", "mac": "02:11:22:33:44:55", "ips": ["10.70.0.5/24"], "interface": "m0"}
    noted = {
        "name": "noted",
        "namespace": "other",
        "bandwidth": {"ingressRate": 1000},
        "cni-args": {"color": "red", "deep": {"a": 1}},
    }
    (served.root / "noted").unlink(missing_ok=True)
    code, error = runtime.call("ADD", pod, **asks([tuned, {"name": "lan"}, {"name": "lan"}, noted]))
    assert code == 0, error
    there = links(runtime, pod)
    assert [*there] == ["eth0", "m0", "net2", "net3"]
    assert (there["m0"]["address"], addresses(there["m0"])) == ("02:11:22:33:44:55", ["10.70.0.5"])
    assert (addresses(there["net2"]), addresses(there["net3"])) != ([], [])
    assert runtime.inside(pod, "sysctl", "-n", "net.ipv4.conf.m0.arp_filter").strip() == "1", "a chain's second plugin"
    command, config = (served.root / "noted").read_text().splitlines()
    assert command.startswith("ADD net4 color=red;IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=")
    told = json.loads(config)
    assert (told["name"], told["cniVersion"]) == ("noted", "1.1.0")
    assert told["runtimeConfig"] == {"bandwidth": {"ingressRate": 1000}}
    assert told["args"] == {"cni": {"color": "red", "deep": {"a": 1}}}
    assert "capabilities" not in told
    assert statuses(served)[0][-1] == {"name": "other/noted", "interface": "net4", "ips": ["10.60.0.9"], "dns": {}}
    neighbour = runtime.make()
    assert runtime.call("ADD", neighbour, **asks("lan"))[0] == 0
    valid: dict[str, Any] = {"cni.dev/valid-attachments": [{"containerID": f"c-{neighbour}", "ifname": "eth0"}]}
    assert runtime.call("GC", **valid) == (0, {})
    assert [*links(runtime, neighbour)] == ["eth0", "net1"]
    assert links(runtime, pod) == {}
    lines = (served.root / "noted").read_text().splitlines()
    deleted = json.loads(lines[3])
    assert (lines[2].split()[:2], deleted["prevResult"]) == (["DEL", "net4"], ANSWER)
    assert runtime.call("DEL", neighbour) == (0, {})
    assert is_clean(served, runtime)


def test_gc_is_handed_on_to_plugins_that_know_it(served: Node, runtime: Runtime) -> None:
    runtime.wait()
    pod = runtime.make()
    assert runtime.call("ADD", pod, **asks("other/noted"))[0] == 0
    (served.root / "noted").unlink()
    valid = [{"containerID": f"c-{pod}", "ifname": "eth0"}]
    named: dict[str, Any] = {"cni.dev/valid-attachments": valid}
    assert runtime.call("GC", **named) == (0, {})
    command, config = (served.root / "noted").read_text().splitlines()
    kept = json.loads(config)["cni.dev/valid-attachments"]
    assert (command.strip(), kept) == ("GC", [{"containerID": f"c-{pod}", "ifname": "net1"}])
    assert runtime.call("DEL", pod) == (0, {})


def test_a_default_route_that_is_asked_for_leaves_the_cluster_to_ours(served: Node, runtime: Runtime) -> None:
    runtime.wait()
    pod = runtime.make()
    _, result = runtime.call("ADD", pod, **asks([{"name": "lan", "default-route": ["10.50.0.1"]}]))
    assert defaults(runtime, pod) == [
        ("10.50.0.1", "net1"),
        ("fe80::ecee:eeff:feee:eeee", "eth0"),
        ("169.254.1.1", "eth0"),
    ]

    def way(to: str, *more: str) -> str:
        found = json.loads(runtime.inside(pod, "ip", "-j", "route", "get", to, *more))
        return str(found[0]["dev"])

    (own,) = (a for a in addresses(links(runtime, pod)["eth0"]) if "." in a)
    assert [way("198.51.100.1"), way("10.244.7.7"), way("192.0.2.1")] == ["net1", "net1", "eth0"]
    assert [way("10.244.0.9"), way("198.51.100.1", "from", own)] == ["eth0", "eth0"]
    served.run("ping", "-c1", "-w5", own)
    assert runtime.call("CHECK", pod, prevResult=result) == (0, {})
    ours, lan = statuses(served)[0]
    assert ("gateway" in ours, lan["gateway"]) == (False, ["10.50.0.1"])
    assert runtime.call("DEL", pod) == (0, {})
    assert is_clean(served, runtime)


@pytest.mark.parametrize(
    ("networks", "code", "says"),
    [
        pytest.param(
            "nowhere", TRY_LATER, "there is no NetworkAttachmentDefinition default/nowhere", id="no definition"
        ),
        pytest.param("wrong", CONFIG, "default/wrong cannot be used: spec.config.type: '../../bin/sh'", id="a path"),
        pytest.param("absent", TRY_LATER, "plugin nowhere: there is no executable", id="no executable"),
        pytest.param("lan, failing", CONFIG, "net2 of default/failing: plugin fail: no such switch; port 3", id="no"),
        pytest.param("lan, odd", 123, "net2 of default/odd: plugin odd: no such switch", id="a code of its own"),
        pytest.param(
            [{"name": "lan", "ips": ["10.50.0.9"]}], CONFIG, "[0].ips: no plugin of default/lan", id="not heard"
        ),
        pytest.param([{"name": "lan", "ipz": []}], CONFIG, "[0].ipz: is not known", id="a key that is not known"),
        pytest.param("lan@eth0", CONFIG, "[0].interface: eth0 is another interface", id="ours"),
    ],
)
def test_a_pod_that_cannot_have_all_its_networks_has_none(
    served: Node, runtime: Runtime, networks: Any, code: int, says: str
) -> None:
    runtime.wait()
    pod = runtime.make()
    for _ in range(2):
        given, error = runtime.call("ADD", pod, **asks(networks))
        assert (given, says in error["msg"]) == (code, True), error
    assert (links(runtime, pod), is_clean(served, runtime)) == ({}, True)


def test_a_plugin_that_hangs_keeps_no_other_pod_waiting(served: Node, runtime: Runtime) -> None:
    runtime.wait()
    pod, other = runtime.make(), runtime.make()
    argv, environment = runtime.command("ADD", pod)
    slow = subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert slow.stdin
    slow.stdin.write(conf(**asks("lan, hanging")))
    slow.stdin.close()
    until(lambda: bool(of_container(pod)), "the plugin is executed")
    assert runtime.call("ADD", other, **asks("lan"))[0] == 0
    assert runtime.call("STATUS")[0] == 0
    assert runtime.call("DEL", other) == (0, {})
    assert slow.poll() is None
    for number in of_container(pod):
        os.kill(number, signal.SIGKILL)
    assert slow.stdout
    with slow:
        assert "plugin hang: it was killed by signal 9" in json.loads(slow.stdout.read())["msg"]
    assert slow.returncode == TRY_LATER
    assert (links(runtime, pod), is_clean(served, runtime)) == ({}, True)


def of_container(pod: str) -> list[int]:
    """The hanging plugin's processes for a pod."""
    wanted = f"CNI_CONTAINERID=c-{pod}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            is_it = (
                wanted in path.read_bytes().split(b"\0")
                and b"sluiceway-cni" not in (path.parent / "cmdline").read_bytes()
            )
        except OSError:
            continue
        if is_it:
            found.append(int(path.parent.name))
    return found


def test_a_definition_without_configuration_has_that_of_a_file(served: Node, runtime: Runtime) -> None:
    runtime.wait()
    pod = runtime.make()
    assert runtime.call("ADD", pod, **asks("file"))[0] == 0
    assert links(runtime, pod)["net1"]["linkinfo"]["info_kind"] == "macvlan"
    assert runtime.call("DEL", pod) == (0, {})
    assert is_clean(served, runtime)


def test_wrong_definitions_and_annotations_are_problems_at_once(served: Node, runtime: Runtime) -> None:
    runtime.wait()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asks", "namespace": "default", "annotations": {NETWORKS: "lan, nowhere"}},
        "spec": {"nodeName": "n1"},
    }
    write(served, [*definitions(served.root), pod])
    field = f"metadata.annotations['{NETWORKS}'][1]"
    wanted = {
        ("default/wrong", "spec.config.type"),
        ("default/asks", field),
    }
    until(lambda: wanted <= served.problems(), f"{wanted}, {served.problems()}")
    write(served, [*definitions(served.root), definition("nowhere", type="bridge"), pod])
    until(lambda: ("default/asks", field) not in served.problems(), "it is there")
    write(served, definitions(served.root))
