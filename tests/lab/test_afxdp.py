"""A pod that takes its packets from AF_XDP sockets has policy, conntrack and services in front of them, both ways.

The application is afxdp_app.c, with the rights to NET_RAW and IPC_LOCK and no others. It computes every checksum, and
counts what it is given: what policy denies never arrives.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench import tools
from lab import agents, use
from lab.cluster import Cluster
from lab.machine import Machine
from lab.use import Client
from tests.lab.afxdp_client import SEGMENTS
from tests.lab.conftest import dropped
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

HERE = Path(__file__).parent
PORT, SERVED = 7000, 70
RUN, PINS = Path("/run/sluiceway/afxdp"), Path("/sys/fs/bpf/sluiceway/afxdp")
RIGHTS = "-all,+net_raw,+ipc_lock"
QUEUES = 2
SERVICE = {
    "kind": "Service",
    "metadata": {"name": "xsk"},
    "spec": {
        "ipFamilyPolicy": "RequireDualStack",
        "selector": {"app": "xsk"},
        "ports": [{"port": SERVED, "targetPort": PORT, "protocol": "UDP"}],
    },
}
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: xsk, namespace: default}
spec:
  podSelector: {matchLabels: {afxdp: "yes"}}
  ingress: [{from: [{podSelector: {matchLabels: {friend: "yes"}}}]}]
  egress: [{to: [{podSelector: {matchLabels: {app: xsk}}}]}]
  policyTypes: [Ingress, Egress]
"""


@dataclass(frozen=True, slots=True)
class Made:
    """Two nodes with an application on the first, friends and strangers on both."""

    cluster: Cluster
    node: Machine
    program: Path
    application: Client
    ips: tuple[str, ...]
    vips: tuple[str, ...]
    friends: tuple[Client, ...]
    strangers: tuple[Client, ...]
    plain: tuple[str, ...]  # a pod with sockets of the kernel's, on the second node

    def client(self, asking: Client, letter: str, count: object, address: str, port: int = PORT) -> str:
        """What a client prints."""
        argv = [sys.executable, "-I", "-S", str(HERE / "afxdp_client.py"), letter, str(count), address, str(port)]
        return asking.machine.run(*argv, context=asking.context).stdout

    def seen(self) -> Mapping[str, Any]:
        """What the application has seen."""
        found: Mapping[str, Any] = json.loads(self.client(self.friends[0], "?", 1, self.ips[0]))
        return found

    def ask(self, asking: Client, place: str, source: str, to: str, port: int, patience_s: float) -> tuple[int, str]:
        """What the application prints that asks by packets of its own, and its exit code."""
        argv = [*app(self.program, "ask", 1, place), source, to, str(port), "hello", str(int(patience_s * 1000))]
        done = asking.machine.run(*argv, context=asking.context, check=False)
        return done.returncode, done.stdout.strip() or done.stderr.strip()


def app(program: Path, mode: str, queues: int, place: str) -> list[str]:
    """The application, with its rights alone."""
    rights = ["setpriv", f"--bounding-set={RIGHTS}", f"--inh-caps={RIGHTS}"]
    return [*rights, str(program), mode, "eth0", str(queues), place]


def socket_of(pod: str) -> str:
    """Where a pod finds its socket."""
    return str(RUN / "pods/default" / pod / "eth0/afxdp.sock")


def map_of(pod: str) -> str:
    """Where a pod finds its map."""
    return str(PINS / "pods/default" / pod / "eth0/xsks_map")


def asked(queues: int, *capture: str) -> dict[str, str]:
    """The annotation."""
    return {"sluiceway.io/afxdp": json.dumps({"queues": queues, "capture": capture})}


def ips_of(item: Mapping[str, Any]) -> tuple[str, ...]:
    """A pod's addresses, IPv4 first."""
    return tuple(ip["ip"] for ip in item["status"]["podIPs"])


def pod(made: Cluster, called: str, node: str, **labels: str) -> Client:
    """A pod to ask from."""
    return use.client(made, made.run(called, node, ["sleep", "infinity"], labels=labels))


@pytest.fixture(scope="module")
def made(lab3_tc: Cluster) -> Iterator[Made]:
    """The cluster without the socket hook: what asks a service is translated packet by packet."""
    up, site = lab3_tc, lab3_tc.site
    program = tools.c_program("afxdp_app", site.folder, HERE)
    policy = site.manifests / "afxdp-policy.yaml"
    policy.write_text(POLICY)
    (service,) = up.apply(json.dumps(SERVICE))
    item = up.run(
        "xsk",
        "n1",
        app(program, "echo", QUEUES, socket_of("xsk")),
        labels={"app": "xsk", "afxdp": "yes"},
        annotations=asked(QUEUES, "udp:7000-7001"),
    )
    friends = tuple(pod(up, f"friend{n}", f"n{n}", friend="yes") for n in (1, 2))
    strangers = tuple(pod(up, f"stranger{n}", f"n{n}") for n in (1, 2))
    vips = tuple(service["spec"]["clusterIPs"])
    plain = ips_of(use.serve(up, "plain", "n2", {"app": "plain"}))
    found = Made(up, site.machine("n1"), program, use.client(up, item), ips_of(item), vips, friends, strangers, plain)
    until(lambda: found.client(friends[0], "w", 1, found.ips[0]) == "1", "the application does not answer")
    until(lambda: found.client(strangers[0], "d", 1, found.ips[0]) == "0", "the policy is not kept")
    yield found
    policy.unlink()
    for name in ("xsk", "plain", "friend1", "friend2", "stranger1", "stranger2"):
        up.delete(name, grace_s=0)


def test_what_policy_denies_never_arrives_and_what_it_allows_arrives_whole(made: Made) -> None:
    first = made.seen()["letters"]
    before, was = first.get("a", 0), first.get("d", 0)  # before the policy was known
    sent = 0
    for friend in made.friends:  # from its node and another; by the pod's addresses and by the service's
        for address, port in (*((ip, PORT) for ip in made.ips), *((vip, SERVED) for vip in made.vips)):
            assert made.client(friend, "a", 25, address, port) == "25"
            assert made.client(friend, "a", "segments", address, port) == str(SEGMENTS)
            sent += 25 + SEGMENTS
    for stranger in made.strangers:
        for address, port in (*((ip, PORT) for ip in made.ips), *((vip, SERVED) for vip in made.vips)):
            assert made.client(stranger, "d", 5, address, port) == "0"
            assert made.client(stranger, "d", "segments", address, port) == "0"
    seen = made.seen()
    letters = seen["letters"]
    assert (letters["a"] - before, letters.get("d", 0) - was, seen["wrong"], seen["other"]) == (sent, 0, 0, 0)
    until(lambda: all_have_some(made), "a queue had nothing")


def all_have_some(made: Made) -> bool:
    """Whether each queue had something, after another flow from each node: the kernel's hash chooses."""
    for friend in made.friends:
        made.client(friend, "w", 1, made.ips[0])
    return all(made.seen()["queues"])


def test_what_is_not_captured_the_pods_stack_answers(made: Made) -> None:
    friend = made.friends[0]
    for address in made.ips:
        friend.machine.run("ping", "-c", "1", "-W", "5", address, context=friend.context)


def test_who_is_not_the_pod_is_given_no_map(made: Made) -> None:
    stranger = made.strangers[0]
    done = stranger.machine.run(*app(made.program, "echo", 1, socket_of("xsk")), context=stranger.context, check=False)
    assert (done.returncode, "/host_nak" in done.stderr) == (2, True)


def test_an_agent_dies_and_the_sockets_go_on(made: Made) -> None:
    was = made.seen()["letters"].get("d", 0)
    agents.kill(made.node)
    for friend in made.friends:
        assert made.client(friend, "k", 10, made.vips[0], SERVED) == "10"
        assert made.client(friend, "k", 10, made.ips[1]) == "10"
    assert made.client(made.strangers[0], "d", 5, made.ips[0]) == "0"
    agents.start_again(made.node)
    agents.wait(made.node)
    assert made.client(made.friends[0], "k", 10, made.vips[1], SERVED) == "10"
    letters = made.seen()["letters"]
    assert (letters["k"], letters.get("d", 0) - was) == (50, 0)


@pytest.mark.parametrize(
    ("place", "is_bound"),
    [pytest.param(socket_of, True, id="handshake"), pytest.param(map_of, False, id="pinned map")],
)
def test_it_reaches_services_and_whom_egress_allows_and_leaves_nothing(
    made: Made, place: Callable[[str], str], *, is_bound: bool
) -> None:
    labels = {"friend": "yes", **({"afxdp": "yes"} if is_bound else {})}
    item = made.cluster.run("asker", "n1", ["sleep", "infinity"], labels=labels, annotations=asked(1))
    asker, own, there = use.client(made.cluster, item), ips_of(item), place("asker")
    for source, vip in zip(own, made.vips, strict=True):
        assert made.ask(asker, there, source, vip, SERVED, 20) == (0, f"{vip} {SERVED} hello")
    for source, plain in zip(own, made.plain, strict=True):  # on the other node
        code, said = made.ask(asker, there, source, plain, use.SERVER_PORT, 1 if is_bound else 20)
        assert (code, said.startswith(f"{plain} {use.SERVER_PORT} ")) == ((3, False) if is_bound else (0, True)), said
    assert len(made.node.run("ls", str(PINS / "interfaces")).stdout.split()) == 2
    made.cluster.delete("asker", grace_s=0)
    assert len(made.node.run("ls", str(PINS / "interfaces")).stdout.split()) == 1
    assert made.node.run("find", str(RUN), str(PINS), "-path", "*asker*").stdout == ""


def test_a_socket_at_a_queue_that_the_device_has_not_is_refused_and_others_go_on(made: Made) -> None:
    item = made.cluster.run("wrong", "n1", ["sleep", "infinity"], labels={"friend": "yes"}, annotations=asked(1))
    wrong = use.client(made.cluster, item)
    argv = app(made.program, "echo", QUEUES, socket_of("wrong"))
    done = wrong.machine.run(*argv, context=wrong.context, check=False)
    assert (done.returncode, done.stderr.strip()) == (1, "afxdp_app: bind: Invalid argument")
    assert made.client(made.friends[0], "w", 5, made.ips[0]) == "5"
    source, vip = ips_of(item)[0], made.vips[0]  # nor is its first queue kept from who asks for no more
    assert made.ask(wrong, socket_of("wrong"), source, vip, SERVED, 20) == (0, f"{vip} {SERVED} hello")
    made.cluster.delete("wrong", grace_s=0)


def test_who_sends_more_than_the_device_takes_is_told(made: Made) -> None:
    """Also of a flow that is known, whose packets take the shortcut; else the device would drop them in silence."""
    friend, (four, six) = made.friends[0], made.ips
    device = made.node.run("ls", str(PINS / "interfaces")).stdout.strip()
    for address in (four, six):
        made.client(friend, "m", 10, address)
    made.node.run("ip", "link", "set", device, "mtu", "1300")
    try:
        for address in (four, six):
            before = dropped(made.node, "too_big")
            made.client(friend, "big", 1, address)
            assert dropped(made.node, "too_big") > before
    finally:
        made.node.run("ip", "link", "set", device, "mtu", "1500")
