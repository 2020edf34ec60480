"""The commands in every version, as first plugin and behind another, and in chains with Debian's own plugins."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.agents import READY_S, Node
from tests.netns.pods import Answer, Runtime, conf

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
DEBIAN = Path("/usr/lib/cni")  # containernetworking-plugins, which speak up to 1.0.0
OURS = "sluiceway-cni"
FIRST: dict[str, Any] = {"prevResult": None}
BEHIND: dict[str, Any] = {"prevResult": {"interfaces": [{"name": "net9"}], "ips": [], "routes": [], "dns": {}}}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    root = tmp_path_factory.mktemp("matrix") / "node"
    root.mkdir()
    made = Node.make(f"swmatrix{os.getpid()}", root)
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
def runtime(node: Node) -> Iterator[Runtime]:
    made = Runtime(node)
    made.wait()
    yield made
    made.close()


def _told(config: dict[str, Any], result: Any = None) -> dict[str, Any]:
    previous = config["prevResult"] if result is None else result
    return {} if previous is None else {"prevResult": previous}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("config", [pytest.param(FIRST, id="first"), pytest.param(BEHIND, id="behind another")])
def test_the_commands(runtime: Runtime, version: str, config: dict[str, Any]) -> None:
    pod, call = runtime.make(), runtime.call
    told = _told(config)
    assert call("DEL", pod, version=version, **told) == (0, {}), "before any ADD"
    code, result = call("ADD", pod, version=version, **told)
    assert (code, result["cniVersion"]) == (0, version)
    assert call("ADD", pod, version=version, **told)[0] == 4, "an ADD of the same"
    asked = _told(config, result)
    if version >= "0.4.0":
        assert call("CHECK", pod, version=version, **asked) == (0, {})
        assert call("CHECK", pod, version=version)[0] == 7, "without prevResult"
        runtime.node.run("nsenter", f"--net=/run/netns/{pod}", "ip", "addr", "flush", "dev", "eth0")
        assert call("CHECK", pod, version=version, **asked)[0] == 100, "an address is gone"
    else:
        assert call("CHECK", pod, version=version, **asked)[0] == 1
    if version >= "1.1.0":
        kept: dict[str, Any] = {"cni.dev/valid-attachments": [{"containerID": f"c-{pod}", "ifname": "eth0"}]}
        assert call("GC", pod, version=version, **kept) == (0, {})
        assert "files" in runtime.left(), "it is named"
        assert call("STATUS", pod, version=version) == (0, {})
        kept["cni.dev/valid-attachments"] = []
        assert call("GC", pod, version=version, **kept) == (0, {})
        assert runtime.left() == {}
    assert call("DEL", pod, version=version) == (0, {}), "without prevResult"
    assert call("DEL", pod, version=version, **asked) == (0, {}), "twice"
    assert runtime.left() == {}


def _execute(runtime: Runtime, command: str, pod: str, stdin: bytes = b"", **environment: str) -> Answer:
    argv, base = runtime.command(command, pod)
    wanted = {**base, **environment}
    done = subprocess.run(argv, env=wanted, input=stdin or conf(), capture_output=True, check=False, timeout=READY_S)
    return done.returncode, json.loads(done.stdout or "{}")


def test_a_del_without_a_namespace_cleans_up(runtime: Runtime) -> None:
    pod = runtime.make()
    assert runtime.call("ADD", pod)[0] == 0
    assert _execute(runtime, "DEL", pod, CNI_NETNS="") == (0, {})
    assert runtime.left() == {}


def test_a_del_leaves_the_next_user_of_its_namespaces_path_alone(runtime: Runtime) -> None:
    pod = runtime.make()
    assert runtime.call("ADD", pod, "old")[0] == 0
    subprocess.run(["ip", "netns", "del", pod], check=True)
    subprocess.run(["ip", "netns", "add", pod], check=True)
    assert runtime.call("ADD", pod, "new")[0] == 0
    assert runtime.call("DEL", pod, "old") == (0, {})
    runtime.node.run("nsenter", f"--net=/run/netns/{pod}", "ping", "-c1", "-W2", "192.0.2.1")
    assert runtime.call("DEL", pod, "new") == (0, {})
    assert runtime.left() == {}


@pytest.mark.parametrize(
    ("stdin", "environment", "code", "words"),
    [
        pytest.param(b" ", {}, 6, "stdin is empty", id="an empty configuration"),
        pytest.param(b"{" + b" " * (1 << 20), {}, 6, "over 1 MiB", id="more than 1 MiB of it"),
        pytest.param(conf(pad="x" * 1_000_000), {}, 0, "", id="a little less"),
        pytest.param(b"", {"CNI_IFNAME": "sixteen-letters0"}, 4, "CNI_IFNAME", id="an interface name of 16 letters"),
        pytest.param(b"", {"CNI_ARGS": "COLOR=blue"}, 4, "CNI_ARGS: 'COLOR'", id="an argument nobody knows"),
        pytest.param(b"", {"CNI_ARGS": "IgnoreUnknown=1;COLOR=blue"}, 0, "", id="one that may be ignored"),
        pytest.param(b"", {"CNI_NETNS": "/proc/self/exe"}, 8, "is no namespace", id="a file for a namespace"),
        pytest.param(b"", {"CNI_NETNS": ""}, 4, "CNI_NETNS", id="no namespace"),
    ],
)
def test_bad_input(runtime: Runtime, stdin: bytes, environment: dict[str, str], code: int, words: str) -> None:
    pod = runtime.make()
    given, answer = _execute(runtime, "ADD", pod, stdin, **environment)
    assert given == code, answer
    assert words in str(answer.get("msg", ""))
    assert runtime.call("DEL", pod) == (0, {})
    assert runtime.left() == {}


LOOPBACK = {"type": "loopback"}
TUNING = {"type": "tuning", "sysctl": {"net.core.somaxconn": "512"}}
PORTMAP = {"type": "portmap", "snat": False, "runtimeConfig": {"portMappings": []}}


def _chain(runtime: Runtime, command: str, pod: str, version: str, plugins: list[dict[str, Any]]) -> dict[str, Any]:
    """What libcni does with a list of plugins: each hears the one before it; DEL goes backwards."""
    _, environment = runtime.command(command, pod)
    environment |= {"PATH": os.environ["PATH"], "CNI_PATH": f"{runtime.node.root / 'bin'}:{DEBIAN}"}
    previous = plugins[-1].get("result") if command != "ADD" else None
    for plugin in plugins if command != "DEL" else plugins[::-1]:
        keys = {key: value for key, value in plugin.items() if key != "result"}
        asked = {**keys, "name": "sluiceway", "cniVersion": version}
        if previous is not None:
            asked["prevResult"] = previous
        folder = runtime.node.root / "bin" if plugin["type"] == OURS else DEBIAN
        inside = ["nsenter", f"--net=/run/netns/{runtime.node.name}", str(folder / plugin["type"])]
        done = subprocess.run(
            inside, env=environment, input=json.dumps(asked).encode(), capture_output=True, check=False
        )
        assert done.returncode == 0, (command, plugin["type"], done.stdout, done.stderr)
        if command == "ADD":
            previous = json.loads(done.stdout)
    if command == "ADD":
        plugins[-1]["result"] = previous
    return previous or {}


@pytest.mark.skipif(not DEBIAN.exists(), reason="containernetworking-plugins is not installed")
@pytest.mark.parametrize("version", VERSIONS[:-1])
@pytest.mark.parametrize(
    "names",
    [
        pytest.param((OURS, "tuning", "portmap"), id="before them"),
        pytest.param(("loopback", "tuning", OURS), id="behind them"),
        pytest.param(("loopback", "portmap", OURS, "tuning"), id="between them"),
    ],
)
def test_a_chain_with_plugins_of_others(runtime: Runtime, version: str, names: tuple[str, ...]) -> None:
    pod = runtime.make()
    known: dict[str, dict[str, Any]] = {"tuning": TUNING, "portmap": PORTMAP, "loopback": LOOPBACK, OURS: {}}
    plugins = [{"type": name, **known[name]} for name in names]
    result = _chain(runtime, "ADD", pod, version, plugins)
    assert "eth0" in [interface["name"] for interface in result["interfaces"]]
    inside = ["nsenter", f"--net=/run/netns/{pod}"]
    assert runtime.node.run(*inside, "cat", "/proc/sys/net/core/somaxconn") == "512\n"
    runtime.node.run(*inside, "ping", "-c1", "-W2", "192.0.2.1")
    if version >= "0.4.0":
        _chain(runtime, "CHECK", pod, version, plugins)
    _chain(runtime, "DEL", pod, version, plugins)
    _chain(runtime, "DEL", pod, version, plugins)
    assert runtime.left() == {}


@pytest.mark.skipif(not DEBIAN.exists(), reason="containernetworking-plugins is not installed")
def test_portmap_behind_us_leads_to_the_pod(runtime: Runtime) -> None:
    pod = runtime.make()
    mapping = {"hostPort": 8088, "containerPort": 80, "protocol": "tcp"}
    plugins: list[dict[str, Any]] = [{"type": OURS}, {**PORTMAP, "runtimeConfig": {"portMappings": [mapping]}}]
    _chain(runtime, "ADD", pod, "1.0.0", plugins)
    serve = "import socket; s = socket.create_server(('', 80)); print(flush=True); s.accept()[0].sendall(b'pod')"
    ask = "import socket; print(socket.create_connection(('192.0.2.1', 8088), 3).recv(9).decode())"
    argv = ["nsenter", f"--net=/run/netns/{pod}", sys.executable, "-c", serve]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
        assert server.stdout
        server.stdout.readline()
        far = ["nsenter", f"--net=/run/netns/{runtime.node.name}far"]
        try:
            assert runtime.node.run(*far, sys.executable, "-c", ask) == "pod\n"
        finally:
            server.kill()
    _chain(runtime, "DEL", pod, "1.0.0", plugins)
    assert runtime.left() == {}
