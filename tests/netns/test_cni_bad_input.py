"""What a bad ADD gets on a real node: the specification's code, a message that names the field, and nothing left."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.netns.agents import READY_S, Node
from tests.netns.pods import CLUSTER6, Runtime, conf

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

MIB = 1 << 20
OTHER = "10.244.0.99"  # a pod has it already


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    root = tmp_path_factory.mktemp("bad") / "node"
    root.mkdir()
    made = Node.make(f"swbad{os.getpid()}", root)
    (root / "manifests/cluster.yaml").write_text(CLUSTER6)
    with made.agent_runs():
        yield made
    made.remove()


@pytest.fixture
def runtime(node: Node) -> Iterator[Runtime]:
    made = Runtime(node)
    made.wait()
    yield made
    made.collect()
    made.close()


def changed(**keys: Any) -> bytes:
    """A configuration with other values; None takes a key away."""
    config = {**json.loads(conf()), **keys}
    return json.dumps({key: value for key, value in config.items() if value is not None}).encode()


def asking(**keys: Any) -> bytes:
    """One whose runtime asks for something."""
    return conf(runtimeConfig=keys)


def filled(size: int) -> bytes:
    """A configuration of exactly so many octets."""
    return conf(pad="x" * (size - len(conf(pad=""))))


MAPPING = {"hostPort": 8080, "containerPort": 80}
STDIN = [
    pytest.param(b"", 6, "stdin is empty", id="empty stdin"),
    pytest.param(b" \n", 6, "stdin is empty", id="blank stdin"),
    pytest.param(filled(MIB + 1), 6, "stdin is over 1 MiB", id="a byte over 1 MiB of stdin"),
    pytest.param(b"{", 6, "stdin is no JSON", id="half an object"),
    pytest.param(b"[" * 100_000, 6, "stdin is no JSON", id="JSON nested without end"),
    pytest.param(b'{"name": "\xff"}', 6, "stdin is no JSON", id="text that is no UTF-8"),
    pytest.param(b"[]", 6, "no JSON object", id="a list"),
    pytest.param(conf("9.9.9"), 1, "cniVersion: '9.9.9'", id="an unknown version"),
    pytest.param(changed(cniVersion=None), 1, "cniVersion: '0.1.0'", id="no version"),
    pytest.param(changed(cniVersion=1.1), 1, "cniVersion: 1.1", id="a version by number"),
    pytest.param(changed(name=None), 7, "name: the configuration lacks it", id="no network's name"),
    pytest.param(changed(name=7), 7, "name: 7 is no string", id="a network's name by number"),
    pytest.param(changed(name="a/b"), 7, "name: 'a/b'", id="a network's name that is a path"),
    pytest.param(changed(dns=[]), 7, "dns: [] is no object", id="dns that is a list"),
    pytest.param(changed(prevResult=[]), 7, "prevResult: [] is no object", id="a previous result that is a list"),
    pytest.param(changed(prevResult={"ips": {}}), 7, "prevResult.ips", id="a previous result's addresses as an object"),
    pytest.param(changed(runtimeConfig=1), 7, "runtimeConfig: 1 is no object", id="a runtime's wishes by number"),
    pytest.param(asking(mac="x"), 7, "runtimeConfig.mac", id="a MAC that is none"),
    pytest.param(asking(ips=["x"]), 7, "runtimeConfig.ips[0]", id="an address that is none"),
    pytest.param(
        asking(ips=["192.0.2.77"]), 7, "runtimeConfig.ips[0]: 192.0.2.77 is in no podCIDR", id="a foreign one"
    ),
    pytest.param(asking(ips=["10.244.0.0"]), 7, "runtimeConfig.ips[0]: 10.244.0.0 is no pod's", id="the network's own"),
    pytest.param(asking(ips=[OTHER]), 11, f"runtimeConfig.ips[0]: {OTHER} is another pod's", id="a taken one"),
    pytest.param(
        asking(ips=["fd00:244::77", OTHER]),
        11,
        "runtimeConfig.ips",
        id="a taken one behind a free one of the other family",
    ),
    pytest.param(
        asking(portMappings=[MAPPING | {"hostPort": "80"}]), 7, "portMappings[0].hostPort", id="a port as text"
    ),
    pytest.param(
        asking(portMappings=[MAPPING, MAPPING | {"protocol": "x"}]),
        7,
        "portMappings[1].protocol",
        id="an unknown protocol",
    ),
    pytest.param(
        asking(portMappings=[MAPPING | {"hostPort": 9999}]),
        11,
        "runtimeConfig.portMappings: host port",
        id="a taken port",
    ),
]
ENVIRONMENT = [
    pytest.param({"CNI_CONTAINERID": ""}, 4, "CNI_CONTAINERID", id="no container"),
    pytest.param({"CNI_CONTAINERID": "../x"}, 4, "CNI_CONTAINERID: '../x'", id="a container that is a path"),
    pytest.param({"CNI_IFNAME": ""}, 4, "CNI_IFNAME", id="no interface"),
    pytest.param({"CNI_IFNAME": "sixteen-letters0"}, 4, "CNI_IFNAME", id="an interface of 16 characters"),
    pytest.param({"CNI_IFNAME": "ääääääää"}, 4, "CNI_IFNAME", id="an interface of 16 octets in 8 characters"),
    pytest.param({"CNI_IFNAME": "eth%d"}, 4, "CNI_IFNAME: 'eth%d'", id="an interface that the kernel would number"),
    pytest.param({"CNI_IFNAME": "a b"}, 4, "CNI_IFNAME", id="an interface with a blank"),
    pytest.param({"CNI_IFNAME": "lo"}, 4, "CNI_IFNAME: lo exists", id="an interface that is there"),
    pytest.param({"CNI_ARGS": "COLOR=blue"}, 4, "CNI_ARGS: 'COLOR'", id="an argument that nobody knows"),
    pytest.param({"CNI_ARGS": "IgnoreUnknown=0;COLOR=blue"}, 4, "CNI_ARGS: 'COLOR'", id="one that may not be ignored"),
    pytest.param({"CNI_ARGS": "K8S_POD_NAME"}, 4, "CNI_ARGS: 'K8S_POD_NAME'", id="an argument without a value"),
    pytest.param({"CNI_NETNS": ""}, 4, "CNI_NETNS", id="no namespace"),
    pytest.param({"CNI_NETNS": "/run/netns/nobody"}, 8, "CNI_NETNS: /run/netns/nobody", id="a namespace that is gone"),
    pytest.param(
        {"CNI_NETNS": "/proc/self/exe"}, 8, "CNI_NETNS: /proc/self/exe: is no network", id="a file for a namespace"
    ),
    pytest.param(
        {"CNI_NETNS": "/proc/self/ns/mnt"}, 8, "CNI_NETNS: /proc/self/ns/mnt", id="a namespace of another kind"
    ),
    pytest.param({"CNI_COMMAND": "FROB"}, 4, "CNI_COMMAND: 'FROB'", id="an unknown command"),
    pytest.param({"CNI_COMMAND": ""}, 4, "CNI_COMMAND", id="no command"),
]


@pytest.mark.parametrize(("stdin", "code", "words"), STDIN)
def test_a_bad_configuration(runtime: Runtime, stdin: bytes, code: int, words: str) -> None:
    expect(runtime, stdin, {}, code, words)


@pytest.mark.parametrize(("environment", "code", "words"), ENVIRONMENT)
def test_a_bad_environment(runtime: Runtime, environment: dict[str, str], code: int, words: str) -> None:
    expect(runtime, conf(), environment, code, words)


def _take_name(runtime: Runtime, pod: str) -> None:
    runtime.inside(pod, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")


def _add(runtime: Runtime, pod: str) -> None:
    assert runtime.call("ADD", pod)[0] == 0


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(_take_name, "CNI_IFNAME: eth0 exists already", id="the interface's name is taken"),
        pytest.param(_add, "has eth0 already; DEL comes first", id="an ADD of the same"),
    ],
)
def test_a_pod_that_has_an_eth0_keeps_it(runtime: Runtime, spoil: Callable[[Runtime, str], None], words: str) -> None:
    pod = runtime.make()
    spoil(runtime, pod)
    before = runtime.left(), runtime.inside(pod, "ip", "addr")
    code, error = runtime.call("ADD", pod)
    assert (code, words in error["msg"]) == (4, True), error
    assert (runtime.left(), runtime.inside(pod, "ip", "addr")) == before


@pytest.mark.parametrize(
    ("stdin", "environment"),
    [
        pytest.param(filled(MIB), {}, id="exactly 1 MiB of stdin"),
        pytest.param(conf(), {"CNI_ARGS": "COLOR=blue;IgnoreUnknown=1"}, id="an argument that may be ignored"),
        pytest.param(conf(), {"CNI_IFNAME": "fifteen-letters"}, id="an interface of 15 characters"),
        pytest.param(conf(unknown={"a": [1]}), {}, id="a key that nobody knows"),
        pytest.param(
            asking(PortMappings=None, Bandwidth=None, dns={"Servers": ["192.0.2.53"]}), {}, id="containerd's nulls"
        ),
        pytest.param(conf(prevResult={"interfaces": None, "ips": None}), {}, id="a previous result's nulls"),
    ],
)
def test_what_is_no_mistake(runtime: Runtime, stdin: bytes, environment: dict[str, str]) -> None:
    pod = runtime.make()
    code, result = runtime.execute("ADD", pod, stdin, **environment)
    assert code == 0, result
    assert runtime.execute("DEL", pod, stdin, **environment) == (0, {})
    assert runtime.left() == {}


def expect(runtime: Runtime, stdin: bytes, environment: dict[str, str], code: int, words: str) -> None:
    """An ADD fails so, twice, and neither the node nor the pod has more than before."""
    pod, neighbour = runtime.make(), runtime.make()
    taken = asking(ips=[OTHER], portMappings=[MAPPING | {"hostPort": 9999}])
    assert runtime.execute("ADD", neighbour, taken)[0] == 0
    before = runtime.left(), runtime.inside(pod, "ip", "addr")
    for _ in range(2):
        given, answer = runtime.execute("ADD", pod, stdin, **environment)
        assert (given, answer["code"], words in answer["msg"]) == (code, code, True), answer
        assert answer["cniVersion"] in {"1.0.0", "1.1.0", "9.9.9"}
    assert (runtime.left(), runtime.inside(pod, "ip", "addr")) == before


def test_a_mistake_with_no_agent_is_told_at_once_or_promised_nothing(runtime: Runtime) -> None:
    argv, environment = runtime.command("DEL", "none")
    environment |= {"CNI_CONTAINERID": "../x", "SLUICEWAY_CNI_SOCKET": str(runtime.node.root / "nowhere/cni.sock")}
    done = subprocess.run(argv, env=environment, input=conf(), capture_output=True, check=False, timeout=READY_S)
    answer = json.loads(done.stdout)
    assert (done.returncode, "CNI_CONTAINERID" in answer["msg"]) == (4, True), answer
    assert not (runtime.node.root / "nowhere").exists()
