"""Real flows between real pods pass or not as the oracle of `tests.policy` says, and nothing leaks while things change.

SLUICEWAY_POLICY_ROUNDS says how many rounds, SLUICEWAY_POLICY_SEED what they are drawn from; both are printed.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from random import Random

import pytest

from lab import agents
from lab.kubernetes.cluster import Cluster, pod_cidrs
from tests.cluster import nodes
from tests.cluster.conftest import Namespace, eventually
from tests.cluster.nodes import Sockets
from tests.cluster.objects import PORT, Manifest, client, together
from tests.cluster.policy_world import Wrong, labelled, trial

pytestmark = pytest.mark.cluster

ROUNDS = int(os.environ.get("SLUICEWAY_POLICY_ROUNDS", "3"))
ROUNDS_OF_A_WORLD = 4  # then there are other pods
CHANGES = 3
FLOWS = 250  # after each change, and before the first
SHOWN = 20
STARTING = 4  # pods at once, on each of two nodes
KILLED = 3  # times
ASKED_WITHIN_S = 0.05
ANSWERED_S, SILENT_S = 10.0, 0.5  # for an answer that comes, and for one that does not


@pytest.mark.timeout(600 + 30 * ROUNDS)
def test_flows_pass_as_the_oracle_says(cluster: Cluster) -> None:
    seed = int(os.environ.get("SLUICEWAY_POLICY_SEED", time.time_ns() % 1_000_000))
    began, asked, passed, late = time.monotonic(), 0, 0, 0
    wrong: list[str] = []
    with labelled(cluster, Random(seed)):  # noqa: S311  no secret
        for first in range(0, ROUNDS, ROUNDS_OF_A_WORLD):
            rng = Random(seed + first)  # noqa: S311  no secret
            with nodes.sockets(cluster) as opened, trial(cluster, opened, rng, f"p{seed}-{first}-") as there:
                wrong += told(seed + first, "without a policy", there.wrong(FLOWS))
                for number in range(first, min(first + ROUNDS_OF_A_WORLD, ROUNDS)):
                    there.govern()
                    what = "policies drawn anew"
                    for _ in range(CHANGES + 1):
                        wrong += told(seed + first, f"round {number}: {what}", there.wrong(FLOWS))
                        what = there.change()
                asked, passed, late = asked + there.asked, passed + there.passed, late + there.late
            print(f"seed {seed}: {asked} flows, {passed} allowed, {late} right at second try, {len(wrong)} wrong")
    took = time.monotonic() - began
    assert not wrong, f"seed {seed}, {asked} flows in {took:.0f} s: {len(wrong)} wrong\n" + "\n".join(wrong[:SHOWN])


def told(seed: int, when: str, wrong: list[Wrong]) -> list[str]:
    """The wrong flows in words, which are printed as they come."""
    found = [f"seed {seed}, {when}: {one}" for one in wrong]
    for line in found:
        print(line)
    return found


@pytest.fixture
def sockets(cluster: Cluster) -> Iterator[Mapping[str, Sockets]]:
    """What opens sockets on each node."""
    with nodes.sockets(cluster) as running:
        yield running


def test_a_pod_that_starts_under_its_policy_never_gets_a_packet_through(
    namespace: Namespace, sockets: Mapping[str, Sockets]
) -> None:
    namespace.apply(client("peer", node="n1"), deny({"app": "denied"}))
    peer, netns = ips(namespace, "peer"), netns_of(namespace, "peer", "n1")
    sockets["n1"]("serve", netns=[netns], ports=[PORT])
    given = {
        f"denied-{node}-{number}": (node, [str(cidr[200 + number]) for cidr in pod_cidrs(namespace.cluster)[node]])
        for node in ("n1", "n2")
        for number in range(STARTING)
    }
    free: dict[str, tuple[str, list[str]]] = {"free-n1": ("n1", []), "free-n2": ("n2", [])}
    pods = [eager(name, node, peer, addresses) for name, (node, addresses) in (given | free).items()]
    namespace.kubectl("apply", "-f", "-", stdin=together(pods))
    flows = [
        (netns, source, protocol, address, PORT)
        for _, addresses in given.values()
        for source, address in zip(peer, addresses, strict=True)
        for protocol in ("TCP", "UDP")
    ]
    ends: set[str] = set()

    def are_ready() -> bool:
        ends.update(sockets["n1"]("ask", flows=flows, within_s=ASKED_WITHIN_S))
        ready = namespace.kubectl(
            "get", "pods", "-o", "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"
        )
        return ready.split() == ["True"] * (len(pods) + 1)

    assert eventually(are_ready, 180)
    for _ in range(20):
        ends.update(sockets["n1"]("ask", flows=flows, within_s=ASKED_WITHIN_S))
    assert "passed" not in ends
    for name in free:
        assert all(sockets["n1"]("packets", netns=netns, source=source) > 0 for source in ips(namespace, name)), name
    for name, (_, addresses) in given.items():
        assert ips(namespace, name) == addresses
        assert [sockets["n1"]("packets", netns=netns, source=source) for source in addresses] == [0, 0], name


def test_nothing_leaks_and_what_is_allowed_goes_on_while_agents_are_killed(
    namespace: Namespace, sockets: Mapping[str, Sockets]
) -> None:
    ends = [(kind, node) for kind in ("friend", "stranger") for node in ("n1", "n2")]
    pods = [client(f"{kind}-{node}", node=node) for kind, node in ends]
    for pod, (kind, _) in zip(pods, ends, strict=True):
        pod["metadata"]["labels"] = {"app": kind}
    target = client("server", node="n2")
    target["metadata"]["labels"] = {"app": "server"}
    namespace.apply(target, *pods)
    there, netns = ips(namespace, "server"), netns_of(namespace, "server", "n2")
    sockets["n2"]("serve", netns=[netns], ports=[PORT])
    spaces = {(kind, node): netns_of(namespace, f"{kind}-{node}", node) for kind, node in ends}
    own = {(kind, node): ips(namespace, f"{kind}-{node}") for kind, node in ends}

    def asked(kind: str, node: str, within_s: float) -> list[str]:
        flows = [
            (spaces[kind, node], source, protocol, address, PORT)
            for source, address in zip(own[kind, node], there, strict=True)
            for protocol in ("TCP", "UDP")
        ]
        return list(sockets[node]("ask", flows=flows, within_s=within_s))

    def ends_as_wanted(kind: str, node: str) -> bool:
        if kind == "friend":
            return set(asked(kind, node, ANSWERED_S)) == {"passed"}
        return set(asked(kind, node, SILENT_S)) == {"silent"}

    assert all(set(asked(*each, ANSWERED_S)) == {"passed"} for each in ends)
    namespace.apply(allow({"app": "server"}, {"app": "friend"}))
    for each in ends:
        assert eventually(lambda each=each: ends_as_wanted(*each)), each  # type: ignore[misc]
    for kind, node in ends:
        for source, address in zip(own[kind, node], there, strict=True):
            do = "hold" if kind == "friend" else "send"
            sockets[node](do, netns=spaces[kind, node], source=source, address=address, port=PORT)
    before = strangers(sockets, netns, own)
    machines = [node for node in namespace.cluster.site.nodes if node.name in {"n1", "n2"}]
    trips = [0, 0]
    for _ in range(KILLED):
        for machine in machines:
            agents.kill(machine)
        time.sleep(0.5)
        trips = goes_on(sockets, trips)
        for machine in machines:
            agents.start_again(machine)
        for machine in machines:
            agents.wait(machine)
        trips = goes_on(sockets, trips)
    assert strangers(sockets, netns, own) == before
    for each in ends:
        assert ends_as_wanted(*each), each
    goes_on(sockets, trips)


def goes_on(sockets: Mapping[str, Sockets], before: Sequence[int]) -> list[int]:
    """How often the held connections of each node were answered: more than before, and none was lost."""

    def count() -> list[int]:
        now = [sockets[node]("progress") for node in ("n1", "n2")]
        assert [lost for _, lost in now] == [[], []]
        return [count for count, _ in now]

    assert eventually(lambda: all(now > old for now, old in zip(count(), before, strict=True))), (before, count())
    time.sleep(0.3)
    return count()


def strangers(
    sockets: Mapping[str, Sockets], netns: str, own: Mapping[tuple[str, str], Sequence[str]]
) -> Mapping[str, int]:
    """The packets of strangers that the server has seen, by their address."""
    sources = [source for (kind, _), each in own.items() if kind == "stranger" for source in each]
    return {source: sockets["n2"]("packets", netns=netns, source=source) for source in sources}


def ips(namespace: Namespace, pod: str) -> list[str]:
    """A pod's addresses, IPv4 first."""
    return [entry["ip"] for entry in namespace.get("pod", pod)["status"]["podIPs"]]


def netns_of(namespace: Namespace, pod: str, node: str) -> str:
    """A pod's network namespace, as a path of its node."""
    return nodes.namespaces(namespace.cluster.site.machine(node))[namespace.name, pod]


def eager(name: str, node: str, peers: Sequence[str], addresses: Sequence[str]) -> Manifest:
    """A pod that sends to its peers from its init container on, and then answers by TCP and UDP too."""
    pod = client(name, node=node)
    pod["metadata"]["labels"] = {"app": name.partition("-")[0]}
    if addresses:
        annotated = zip(("ipv4", "ipv6"), addresses, strict=True)
        pod["metadata"]["annotations"] = {f"sluiceway.io/{family}": address for family, address in annotated}
    sends = "; ".join(f"echo >/dev/udp/{peer}/{PORT}; timeout 0.1 bash -c '</dev/tcp/{peer}/{PORT}'" for peer in peers)
    main = pod["spec"]["containers"][0]
    serve = f"agnhost netexec --http-port {PORT} --udp-port {PORT}"
    once = {
        **main,
        "name": "once",
        "args": [],
        "command": ["bash", "-c", f"for i in {{1..10}}; do {sends}; done; true"],
    }
    main |= {"args": [], "command": ["bash", "-c", f"/{serve} & while true; do {sends}; done"]}
    pod["spec"]["initContainers"] = [once]
    return pod


def deny(who: Mapping[str, str]) -> Manifest:
    """These pods are reached by nobody, and reach nobody."""
    return _policy("deny", {"podSelector": {"matchLabels": dict(who)}, "policyTypes": ["Ingress", "Egress"]})


def allow(who: Mapping[str, str], friends: Mapping[str, str]) -> Manifest:
    """These pods are reached by their friends alone."""
    peers = [{"podSelector": {"matchLabels": dict(friends)}}]
    return _policy("allow", {"podSelector": {"matchLabels": dict(who)}, "ingress": [{"from": peers}]})


def _policy(name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}
