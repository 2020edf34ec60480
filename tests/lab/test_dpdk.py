"""DPDK as Debian ships it takes and sends a pod's packets by either way to the map, with policy and services in front.

testpmd counts what it is given and what it sends: what policy denies never arrives, to the packet, and is counted.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import use
from lab.cluster import Cluster
from lab.machine import Machine
from lab.use import Client
from tests.lab import testpmd
from tests.lab.conftest import dropped
from tests.lab.test_afxdp import HERE, PINS, RUN, asked, ips_of
from tests.lab.testpmd import Mounted
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel, pytest.mark.fastpath]

PORT, SERVED, OWN = 7000, 70, 9000
QUEUES = 2
MAP = "/tmp/afxdp_dp"  # noqa: S108, where DPDK looks
WAYS = (
    pytest.param(Mounted(str(RUN / "pods/default/pmd"), MAP, "use_cni"), id="handshake"),
    pytest.param(
        Mounted(str(PINS / "pods/default/pmd/eth0/xsks_map"), f"{MAP}/eth0/xsks_map", "use_pinned_map"),
        id="pinned map",
    ),
)
ALLOWED, DENIED = 25, 5  # datagrams to each address
BURSTS, BURST = 3, 32
GATEWAY = "ee:ee:ee:ee:ee:ee"  # of every pod; bpf/dp/packet/addr.h
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: pmd, namespace: default}
spec:
  podSelector: {matchLabels: {app: pmd}}
  ingress: [{from: [{podSelector: {matchLabels: {friend: "yes"}}}]}]
  egress: [{to: [{podSelector: {matchLabels: {app: answers}}}]}]
  policyTypes: [Ingress, Egress]
"""


@dataclass(frozen=True, slots=True)
class Made:
    """A pod for testpmd, who may ask it and who may not, whom it may ask and whom it may not."""

    node: Machine  # the pod's
    pod: Client
    ips: tuple[str, ...]  # the pod's
    vips: tuple[str, ...]  # its service's
    friends: tuple[Client, ...]
    strangers: tuple[Client, ...]
    answers: str  # the address of the service that it may ask
    silent: str  # the address of a pod that it may not ask

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where others ask it."""
        return (*((ip, PORT) for ip in self.ips), *((vip, SERVED) for vip in self.vips))


def send(asking: Client, letter: str, count: int, to: tuple[str, int]) -> int:
    """How many of so many datagrams come back; one of the letter d is not waited for."""
    script = [sys.executable, "-I", "-S", str(HERE / "afxdp_client.py")]
    return int(asking.machine.run(*script, letter, str(count), to[0], str(to[1]), context=asking.context).stdout)


def service(app: str, port: int, target: int) -> str:
    """A Service of both families over UDP."""
    ports = [{"port": port, "targetPort": target, "protocol": "UDP"}]
    spec = {"ipFamilyPolicy": "RequireDualStack", "selector": {"app": app}, "ports": ports}
    return json.dumps({"kind": "Service", "metadata": {"name": app}, "spec": spec})


@pytest.fixture(scope="module")
def made(lab3_tc: Cluster) -> Iterator[Made]:
    """The cluster without the socket hook: what asks a service is translated packet by packet."""
    up = lab3_tc
    ((own,), (answers,)) = (
        up.apply(service(*asks)) for asks in (("pmd", SERVED, PORT), ("answers", SERVED, use.SERVER_PORT))
    )
    notes = asked(QUEUES, f"udp:{PORT}", f"udp:{OWN}")
    pod = up.run("pmd", "n1", ["sleep", "infinity"], labels={"app": "pmd"}, annotations=notes)
    use.serve(up, "answers", "n2", {"app": "answers"})
    silent = use.serve(up, "silent", "n2", {})

    def pods(name: str, **labels: str) -> tuple[Client, ...]:
        made = (up.run(f"{name}{n}", f"n{n}", ["sleep", "infinity"], labels=labels) for n in (1, 2))
        return tuple(use.client(up, item) for item in made)

    friends, strangers = pods("friend", friend="yes"), pods("stranger")
    policy = up.site.manifests / "dpdk-policy.yaml"
    policy.write_text(POLICY)
    node, vips = up.site.machine("n1"), tuple(own["spec"]["clusterIPs"])
    answer = str(answers["spec"]["clusterIPs"][0])
    found = Made(node, use.client(up, pod), ips_of(pod), vips, friends, strangers, answer, ips_of(silent)[0])
    before = dropped(node, "policy_ingress")

    def is_kept() -> bool:
        send(strangers[0], "d", 1, (found.ips[0], PORT))
        return dropped(node, "policy_ingress") > before

    until(is_kept, "the policy is not kept")
    yield found
    policy.unlink()
    for called in ("pmd", "answers", "silent", "friend1", "friend2", "stranger1", "stranger2"):
        up.delete(called, grace_s=0)
    for called in ("pmd", "answers"):
        up.remove("Service", called)


@pytest.mark.parametrize("mounted", WAYS)
def test_testpmd_is_given_what_policy_allows_and_answers_it(made: Made, mounted: Mounted) -> None:
    before = dropped(made.node, "policy_ingress")
    with testpmd.running(made.pod, mounted, QUEUES, "--forward-mode=5tswap") as running:
        running.type("start", until="nb forwarding ports")
        for friend in made.friends:  # from its node and another; by the pod's addresses and by the service's
            assert [send(friend, "a", ALLOWED, to) for to in made.addresses] == [ALLOWED] * len(made.addresses)
        for stranger in made.strangers:
            assert not any(send(stranger, "d", DENIED, to) for to in made.addresses)
        told = ALLOWED * len(made.friends) * len(made.addresses)
        assert running.counted() == (told, told)
    denied = DENIED * len(made.strangers) * len(made.addresses)
    assert dropped(made.node, "policy_ingress") - before == denied


@pytest.mark.parametrize("mounted", WAYS)
@pytest.mark.parametrize("is_allowed", [True, False], ids=["to a service", "to whom egress denies"])
def test_what_testpmd_sends_is_judged_translated_and_answered(
    made: Made, mounted: Mounted, *, is_allowed: bool
) -> None:
    to, port = (made.answers, SERVED) if is_allowed else (made.silent, use.SERVER_PORT)
    before = dropped(made.node, "policy_egress")
    peers = (f"--eth-peer={queue},{GATEWAY}" for queue in range(QUEUES))
    asks = (*peers, f"--tx-ip={made.ips[0]},{to}", f"--tx-udp={OWN},{port}", f"--burst={BURST}")
    with testpmd.running(made.pod, mounted, QUEUES, "--forward-mode=rxonly", *asks) as running:
        running.type(f"start tx_first {BURSTS}", until="nb forwarding ports")
        sent = QUEUES * BURSTS * BURST
        if is_allowed:
            until(lambda: running.counted()[0] >= sent, "not all is answered")
            assert running.counted() == (sent, sent)
        else:
            until(lambda: dropped(made.node, "policy_egress") - before >= sent, "not all is denied")
            assert running.counted() == (0, sent)
    assert dropped(made.node, "policy_egress") - before == (0 if is_allowed else sent)
