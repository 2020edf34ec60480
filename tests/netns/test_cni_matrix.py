"""Every command in every version of the specification, at every place in a chain of plugins: one row, one sentence.

A row is a story of one attachment. What it leaves behind after its last DEL is looked for in the kernel, on the disk
and in the agent.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Any

import pytest

from agent.pods.attachments import host_device
from maps import abi
from tests.netns.agents import CLUSTER, Node
from tests.netns.pods import CLUSTER6, Answer, Runtime, conf

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
VALID = "cni.dev/valid-attachments"
REFUSED, UNKNOWN, OLD = 4, 3, 1  # the specification's codes: environment, container, version
NOT_AS_LEFT = 100
HOST_PORT = 8099
OTHER = {"interfaces": [{"name": "net9"}], "routes": [{"dst": "198.51.100.0/24"}], "dns": {"domain": "other"}}


@dataclass
class Trial:
    """One attachment, of one version, at one place in a chain."""

    runtime: Runtime
    version: str
    before: dict[str, Any]  # what the plugin before us answered; empty when we are the first
    behind: dict[str, Any]  # what the one behind us added; empty when we are the last
    pod: str
    result: dict[str, Any]

    def add(self, **config: Any) -> Answer:
        """ADD; the result that a runtime keeps is remembered."""
        previous: dict[str, Any] = {"prevResult": self.before} if self.before else {}
        code, result = self.runtime.call("ADD", self.pod, version=self.version, **previous, **config)
        if code == 0:
            self.result = result | {key: [*result[key], *self.behind[key]] for key in self.behind if key != "dns"}
        return code, result

    def then(self, command: str, **config: Any) -> Answer:
        """A later command, with what the runtime kept."""
        return self.runtime.call(command, self.pod, version=self.version, prevResult=self.result, **config)

    def is_alive(self) -> bool:
        """Whether the pod reaches its node in both families."""
        for address in ("192.0.2.1", "2001:db8::1"):
            self.runtime.inside(self.pod, "ping", "-c1", "-w5", address)
        return True

    def check_finds(self, fault: str) -> None:
        """CHECK tells of this."""
        code, error = self.then("CHECK")
        assert (code, fault in error["details"]) == (NOT_AS_LEFT, True), error

    def valid(self, *containers: str) -> dict[str, Any]:
        """GC's list."""
        return {VALID: [{"containerID": container, "ifname": "eth0"} for container in containers]}

    @property
    def container(self) -> str:
        """Its container."""
        return f"c-{self.pod}"

    @property
    def device(self) -> str:
        """The node's end."""
        return host_device(self.container, "eth0")


Story = Callable[[Trial], None]
STORIES: list[tuple[str, str, Story]] = []


def story(sentence: str, since: str = VERSIONS[0]) -> Callable[[Story], Story]:
    """A row of the matrix: its sentence, and the first version that can tell it."""

    def told(function: Story) -> Story:
        STORIES.append((sentence, since, function))
        return function

    return told


@story("ADD gives eth0 its addresses, in the words of the version")
def _add(trial: Trial) -> None:
    code, result = trial.add()
    assert (code, result["cniVersion"]) == (0, trial.version)
    assert all(("version" in ip) == (trial.version < "1.0.0") for ip in result["ips"])
    ours = result["interfaces"][-2:]
    assert [(one["name"], one.get("sandbox", "")) for one in ours] == [
        (trial.device, ""),
        ("eth0", f"/run/netns/{trial.pod}"),
    ]
    assert all(("mtu" in one) == (trial.version >= "1.1.0") for one in ours)
    assert {result["interfaces"][ip["interface"]]["name"] for ip in result["ips"]} == {"eth0"}
    there = json.loads(trial.runtime.inside(trial.pod, "ip", "-j", "addr", "show", "eth0"))
    told = {str(ip_interface(ip["address"]).ip) for ip in result["ips"]}
    assert told == {one["local"] for one in there[0]["addr_info"] if one["scope"] == "global"}
    assert trial.is_alive()


@story("ADD passes on what the plugin before it answered")
def _pass_on(trial: Trial) -> None:
    _, result = trial.add()
    for key in ("interfaces", "routes"):
        assert result[key][: len(trial.before.get(key, ()))] == trial.before.get(key, [])
    assert result["dns"] == trial.before.get("dns", {})


@story("a second ADD is refused, and the first one's pod goes on")
def _add_twice(trial: Trial) -> None:
    trial.add()
    code, error = trial.add()
    assert (code, "CNI_CONTAINERID" in error["msg"], error["cniVersion"]) == (REFUSED, True, trial.version)
    assert trial.is_alive()


@story("ADD after a DEL gives another address")
def _add_again(trial: Trial) -> None:
    _, first = trial.add()
    trial.then("DEL")
    _, second = trial.add()
    assert not {ip["address"] for ip in first["ips"]} & {ip["address"] for ip in second["ips"]}


@story("DEL of what nobody added succeeds")
def _del_first(trial: Trial) -> None:
    assert trial.then("DEL") == (0, {})


@story("DEL leaves nothing, and succeeds again")
def _del_twice(trial: Trial) -> None:
    trial.add()
    assert trial.then("DEL") == (0, {})
    assert trial.runtime.left() == {}
    assert "eth0" not in trial.runtime.inside(trial.pod, "ip", "link")
    assert trial.then("DEL") == (0, {})


@story("DEL without prevResult leaves nothing")
def _del_alone(trial: Trial) -> None:
    trial.add()
    assert trial.runtime.call("DEL", trial.pod, version=trial.version) == (0, {})


@story("DEL without CNI_NETNS leaves nothing")
def _del_without_netns(trial: Trial) -> None:
    trial.add()
    stdin = conf(trial.version, prevResult=trial.result)
    assert trial.runtime.execute("DEL", trial.pod, stdin, CNI_NETNS="") == (0, {})


@story("DEL of a namespace that is gone leaves nothing")
def _del_without_namespace(trial: Trial) -> None:
    trial.add()
    subprocess.run(["ip", "netns", "del", trial.pod], check=True)
    assert trial.then("DEL") == (0, {})
    subprocess.run(["ip", "netns", "add", trial.pod], check=True)


@story("DEL leaves the next user of its namespace's path alone")
def _del_of_a_reused_path(trial: Trial) -> None:
    trial.add()
    for verb in ("del", "add"):
        subprocess.run(["ip", "netns", verb, trial.pod], check=True)
    code, _ = trial.runtime.call("ADD", trial.pod, "next", version=trial.version)
    assert code == 0
    assert trial.then("DEL") == (0, {})
    assert trial.is_alive()
    assert trial.runtime.call("DEL", trial.pod, "next", version=trial.version) == (0, {})


@story("CHECK finds all as ADD left it", since="0.4.0")
def _check(trial: Trial) -> None:
    trial.add()
    assert trial.then("CHECK") == (0, {})


@story("CHECK without prevResult is refused", since="0.4.0")
def _check_alone(trial: Trial) -> None:
    trial.add()
    code, error = trial.runtime.call("CHECK", trial.pod, version=trial.version)
    assert (code, "prevResult" in error["msg"]) == (7, True)


@story("CHECK of what nobody added knows no such container", since="0.4.0")
def _check_first(trial: Trial) -> None:
    assert trial.then("CHECK")[0] == UNKNOWN


@story("CHECK misses an address", since="0.4.0")
def _check_address(trial: Trial) -> None:
    trial.add()
    trial.runtime.inside(trial.pod, "ip", "-6", "addr", "flush", "dev", "eth0", "scope", "global")
    trial.check_finds("is not on eth0")


@story("CHECK misses an address in prevResult", since="0.4.0")
def _check_previous(trial: Trial) -> None:
    trial.add()
    lost = trial.result["ips"].pop()
    trial.check_finds(f"prevResult.ips: {ip_interface(lost['address']).ip} is missing")


@story("CHECK misses the pod's default route", since="0.4.0")
def _check_route(trial: Trial) -> None:
    trial.add()
    trial.runtime.inside(trial.pod, "ip", "route", "del", "default")
    trial.check_finds("the pod has no default route via 169.254.1.1")


ROUNDS_UNDER_WAY = 5  # at most, of the agent, when a pod's ADD has been answered


@story("CHECK misses a program", since="0.4.0")
def _check_program(trial: Trial) -> None:
    trial.add()
    node = trial.runtime.node
    ifindex = json.loads(node.ip(f"-j link show {trial.device}"))[0]["ifindex"]
    code, error = 0, dict[str, Any]()
    for _ in range(ROUNDS_UNDER_WAY):
        # by clsact at first, by a tcx link when there is time for one
        node.run("sh", "-c", f"tc filter del dev {trial.device} ingress || true")
        (node.pins / f"links/pod_ingress-{ifindex}").unlink(missing_ok=True)
        code, error = trial.then("CHECK")
        if code:  # else a round that began with the ADD has put it back
            break
    assert (code, f"the programs are not on {trial.device}" in error["details"]) == (NOT_AS_LEFT, True), error


@story("CHECK misses a map entry", since="0.4.0")
def _check_map(trial: Trial) -> None:
    trial.add()
    table = trial.runtime.open(abi.ENDPOINTS)
    table.delete([key for key, end in table.items() if not end.flags & abi.EndpointFlag.ENDPOINT_NODE])
    table.close()
    trial.check_finds("the endpoints map does not lead")


@story("CHECK misses a host port", since="0.4.0")
def _check_host_port(trial: Trial) -> None:
    asked = {"portMappings": [{"hostPort": HOST_PORT, "containerPort": 80, "protocol": "tcp"}]}
    trial.add(runtimeConfig=asked)
    assert trial.then("CHECK", runtimeConfig=asked) == (0, {})
    table = trial.runtime.open(abi.SERVICES)
    table.delete([key for key, _ in table.items() if key.port == HOST_PORT and not key.addr.ipv4_mapped])
    table.close()
    trial.check_finds(f"the services map does not lead 2001:db8::1 port {HOST_PORT}/TCP to {trial.device}")


@story("CHECK misses what serves a host port", since="0.4.0")
def _check_host_port_backend(trial: Trial) -> None:
    trial.add(runtimeConfig={"portMappings": [{"hostPort": HOST_PORT, "containerPort": 80, "protocol": "udp"}]})
    table = trial.runtime.open(abi.BACKENDS)
    table.delete([key for key, one in table.items() if one.flags & abi.BackendFlag.BACKEND_LOCAL])
    table.close()
    trial.check_finds("the backends map does not lead set_id ")


@story("CHECK misses the namespace", since="0.4.0")
def _check_namespace(trial: Trial) -> None:
    trial.add()
    for verb in ("del", "add"):
        subprocess.run(["ip", "netns", verb, trial.pod], check=True)
    trial.check_finds("is gone")


@story("GC with an empty list deletes it", since="1.1.0")
def _gc_all(trial: Trial) -> None:
    trial.add()
    assert trial.then("GC", **trial.valid()) == (0, {})
    assert trial.runtime.left() == {}


@story("GC keeps what it names and deletes its neighbour", since="1.1.0")
def _gc_some(trial: Trial) -> None:
    trial.add()
    neighbour = trial.runtime.make()
    assert trial.runtime.call("ADD", neighbour, version=trial.version)[0] == 0
    assert trial.then("GC", **trial.valid(trial.container)) == (0, {})
    assert trial.runtime.left()["devices"] == [trial.device]
    assert trial.is_alive()


@story("GC of another network keeps it", since="1.1.0")
def _gc_other(trial: Trial) -> None:
    trial.add()
    assert trial.then("GC", name="other", **trial.valid()) == (0, {})
    assert trial.is_alive()


@story("STATUS is well", since="1.1.0")
def _status(trial: Trial) -> None:
    assert trial.then("STATUS") == (0, {})


@story("a command that is younger than the version is refused")
def _too_young(trial: Trial) -> None:
    trial.add()
    for command, since in SINCE.items():
        if trial.version < since:
            code, error = trial.then(command, **trial.valid())
            assert (code, f"{command} exists since {since}" in error["msg"]) == (OLD, True)
    assert trial.is_alive()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    root = tmp_path_factory.mktemp("matrix") / "node"
    root.mkdir()
    made = Node.make(f"swmatrix{os.getpid()}", root)
    made.ip("addr add 2001:db8::1/64 dev u0 nodad")
    (root / "manifests/cluster.yaml").write_text(f"{CLUSTER6}---{CLUSTER.split('---', 1)[1]}")
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


def rows() -> Sequence[Any]:
    """The matrix, a story in all its versions at a time."""
    return [
        pytest.param(told, version, id=f"{version}: {sentence}")
        for sentence, since, told in STORIES
        for version in VERSIONS
        if version >= since
    ]


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        pytest.param({}, {}, id="alone"),
        pytest.param(OTHER, {}, id="behind another"),
        pytest.param({}, OTHER, id="before another"),
    ],
)
@pytest.mark.parametrize(("told", "version"), rows())
def test_of_the_matrix(
    runtime: Runtime, told: Story, version: str, before: dict[str, Any], behind: dict[str, Any]
) -> None:
    trial = Trial(runtime, version, before, behind, runtime.make(), {"cniVersion": version})
    told(trial)
    assert trial.then("DEL") == (0, {})
    assert runtime.left() == {}
