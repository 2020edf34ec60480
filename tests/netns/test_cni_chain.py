"""libcni drives the plugin, by cnitool: with the conflist that the agent installs, and in chains with others' plugins.

The others are Debian's portmap, tuning and loopback, which speak up to 1.0.0, and libcni's own noop, which speaks all.
"""

import json
import os
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from lab.kubernetes import build
from tests.netns.agents import Node
from tests.netns.cnitool import OURS, Tool
from tests.netns.pods import CLUSTER6, Runtime

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

FIRST = {"cniVersion": "1.1.0", "interfaces": [{"name": "net9"}], "routes": [{"dst": "198.51.100.0/24"}]}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    root = tmp_path_factory.mktemp("chain") / "node"
    root.mkdir()
    made = Node.make(f"swchain{os.getpid()}", root)
    (root / "manifests/cluster.yaml").write_text(CLUSTER6)
    far = f"{made.name}far"
    made.run("ip", "netns", "add", far)
    made.ip(f"link set u1 netns {far}")
    for words in ("addr add 192.0.2.9/24 dev u1", "link set u1 up"):
        made.run("nsenter", f"--net=/run/netns/{far}", "ip", *words.split())
    with made.agent_runs():
        yield made
    subprocess.run(["ip", "netns", "del", far], check=True)
    made.remove()


@pytest.fixture
def tool(node: Node) -> Iterator[Tool]:
    runtime = Runtime(node)
    runtime.wait()
    while not (node.root / "conf/10-sluiceway.conflist").exists():  # it comes last; the test's limit ends the wait
        time.sleep(0.01)
    yield Tool(runtime, build.cni_programs(print))
    runtime.collect()
    runtime.close()


def test_the_conflist_that_is_installed_works_at_the_highest_version(tool: Tool) -> None:
    tool.write(json.loads((tool.root / "conf/10-sluiceway.conflist").read_text()))
    pod = tool.runtime.make()
    tool.does("status", pod)
    result = tool.does("add", pod)
    assert result["cniVersion"] == "1.1.0"
    assert [interface["mtu"] for interface in result["interfaces"]] == [1500, 1500]
    tool.does("check", pod)
    tool.runtime.inside(pod, "ip", "route", "del", "default")
    assert "eth0 is not as ADD left it; the pod has no default route via 169.254.1.1" in tool.refused("check", pod)
    tool.does("del", pod)
    tool.does("del", pod)
    assert tool.runtime.left() == {}


def test_a_second_add_of_libcnis_is_refused_in_our_words(tool: Tool) -> None:
    tool.chain("1.1.0", {"type": OURS})
    pod = tool.runtime.make()
    tool.does("add", pod)
    assert "has eth0 already; DEL comes first" in tool.refused("add", pod)
    tool.does("del", pod)
    assert tool.runtime.left() == {}


def test_what_libcni_is_asked_for_arrives(tool: Tool) -> None:
    tool.chain("1.1.0", {"type": OURS})
    pod = tool.runtime.make()
    asked = {"ips": ["10.244.0.88/24"], "mac": "c2:00:00:00:00:08", "aliases": ["x"]}
    result = tool.does("add", pod, CAP_ARGS=json.dumps(asked))
    assert result["ips"][0]["address"] == "10.244.0.88/32"
    assert result["interfaces"][1]["mac"] == "c2:00:00:00:00:08"
    tool.does("check", pod)
    other = tool.runtime.make()
    assert "runtimeConfig.ips[0]: 10.244.0.88 is another pod's" in tool.refused(
        "add", other, CAP_ARGS=json.dumps(asked)
    )
    assert "'COLOR' is not understood" in tool.refused("add", other, CNI_ARGS="COLOR=blue")
    tool.does("add", other, CNI_ARGS="COLOR=blue;IgnoreUnknown=1")
    for one in (pod, other):
        tool.does("del", one)
    assert tool.runtime.left() == {}


def test_a_gc_of_libcnis_deletes_what_it_remembers(tool: Tool) -> None:
    tool.chain("1.1.0", {"type": OURS})
    pod = tool.runtime.make()
    tool.does("add", pod)
    # cnitool names nothing as valid, not even an empty list: libcni deletes by itself, and we are asked for nothing
    assert "cni.dev/valid-attachments: the configuration lacks the list" in tool.refused("gc", pod)
    assert tool.runtime.left() == {}


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
@pytest.mark.parametrize(
    "names",
    [
        pytest.param((OURS, "noop"), id="before noop"),
        pytest.param(("noop", OURS), id="behind noop"),
        pytest.param(("noop", OURS, "noop"), id="between noops"),
    ],
)
def test_noop_hears_what_the_chain_says(tool: Tool, version: str, names: Sequence[str]) -> None:
    noops = [_noop(tool, place) if name == "noop" else {"type": name} for place, name in enumerate(names)]
    tool.chain(version, *noops)
    pod = tool.runtime.make()
    for place, name in enumerate(names):
        if name == "noop":
            first = json.dumps({**FIRST, "cniVersion": version})
            _report(tool, place, first if place == 0 else "PASSTHROUGH")
    result = tool.does("add", pod)
    assert result["interfaces"][-1]["name"] == "eth0"
    assert (result["interfaces"][0]["name"] == "net9") == (names[0] == "noop")
    for place, name in enumerate(names):
        if name == "noop":
            _report(tool, place, "")
    tool.does("status", pod)
    tool.does("check", pod)
    tool.does("del", pod)
    tool.does("del", pod)
    assert tool.runtime.left() == {}
    if names[-1] == "noop":
        heard = _heard(tool, len(names) - 1)
        assert [command for command, _ in heard] == [
            "ADD",
            *(["STATUS"] if version == "1.1.0" else []),
            "CHECK",
            "DEL",
            "DEL",
        ]
        assert heard[0][1]["prevResult"] == result, "ADD's is handed on"
        assert dict(heard)["CHECK"]["prevResult"] == result


def _noop(tool: Tool, place: int) -> dict[str, Any]:
    (tool.root / f"heard{place}").write_text("")
    return {
        "type": "noop",
        "debugFile": str(tool.root / f"report{place}"),
        "commandLog": str(tool.root / f"heard{place}"),
    }


def _report(tool: Tool, place: int, result: str) -> None:
    (tool.root / f"report{place}").write_text(json.dumps({"ReportResult": result}))


def _heard(tool: Tool, place: int) -> list[tuple[str, dict[str, Any]]]:
    log = json.loads((tool.root / f"heard{place}").read_text())
    return [(entry["Command"], json.loads(b64decode(entry["CmdArgs"]["StdinData"]))) for entry in log]


LOOPBACK = {"type": "loopback"}
TUNING = {"type": "tuning", "sysctl": {"net.core.somaxconn": "512"}}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": False}


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
@pytest.mark.parametrize(
    "plugins",
    [
        pytest.param(({"type": OURS}, TUNING, PORTMAP), id="before them"),
        pytest.param((LOOPBACK, TUNING, {"type": OURS}), id="behind them"),
        pytest.param((LOOPBACK, PORTMAP, {"type": OURS}, TUNING), id="between them"),
    ],
)
def test_a_chain_with_debians_plugins(tool: Tool, version: str, plugins: Sequence[Mapping[str, Any]]) -> None:
    tool.chain(version, *plugins)
    pod = tool.runtime.make()
    result = tool.does("add", pod)
    assert "eth0" in [interface["name"] for interface in result["interfaces"]]
    assert tool.runtime.inside(pod, "cat", "/proc/sys/net/core/somaxconn") == "512\n"
    tool.runtime.inside(pod, "ping", "-c1", "-w5", "192.0.2.1")
    if version >= "0.4.0":
        tool.does("check", pod)
    tool.does("del", pod)
    tool.does("del", pod)
    assert tool.runtime.left() == {}


def test_portmap_behind_us_leads_to_the_pod(tool: Tool) -> None:
    ours = {"type": OURS, "capabilities": {}}  # or the host port would be ours
    tool.chain("1.0.0", ours, PORTMAP)
    pod = tool.runtime.make()
    mapping = {"hostPort": 8088, "containerPort": 80, "protocol": "tcp"}
    asked = json.dumps({"portMappings": [mapping]})
    tool.does("add", pod, CAP_ARGS=asked)
    assert "host ports" not in tool.runtime.left()
    serve = "import socket; s = socket.create_server(('', 80)); print(flush=True); s.accept()[0].sendall(b'pod')"
    ask = "import socket; print(socket.create_connection(('192.0.2.1', 8088), 3).recv(9).decode())"
    argv = ["nsenter", f"--net=/run/netns/{pod}", sys.executable, "-c", serve]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
        assert server.stdout
        server.stdout.readline()
        far = ["nsenter", f"--net=/run/netns/{tool.runtime.node.name}far"]
        try:
            assert tool.runtime.node.run(*far, sys.executable, "-c", ask) == "pod\n"
        finally:
            server.kill()
    tool.does("del", pod, CAP_ARGS=asked)
    assert tool.runtime.left() == {}
