"""Services over the bridge plugin's network and ptp's, without kube-proxy: `--network chained --service-proxy on`."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.netlink import netns as namespace
from tests.netns.bridged import ALL, BridgedNode, bridged
from tests.netns.served import (
    CHECK_PORT,
    CLUSTER_IPS,
    EXTERNAL,
    NODE_AT,
    NODE_PORT,
    OVERLAY_POD,
    asks,
    neighbour,
    overlay,
    places,
    serve,
    unserved,
    wait_attached,
    wait_refused,
    wait_served,
    wait_silent,
)

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


PROXY = """
table inet proxy {{
  chain pre {{
    type nat hook prerouting priority dstnat
    ip daddr {vip} meta l4proto {{ tcp, udp }} th dport 80 dnat ip to {backend}:8080
  }}
}}
"""


def flags(site: BridgedNode, *more: str, proxy: str = "on") -> tuple[str, ...]:
    """The agent's."""
    return "--network=chained", f"--service-proxy={proxy}", f"--cni-state-dir={site.node.root}/results/cni", *more


@pytest.fixture
def site(tmp_path: Path) -> Iterator[BridgedNode]:
    """A node whose devices check sources strictly, without an agent, beside another node."""
    root = tmp_path / "node"
    root.mkdir()
    with bridged(root, "swsp") as made:
        for name in ("default", "all"):
            made.node.run("sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=1")
        neighbour(made)
        yield made


def all_are_served(site: BridgedNode, clients: list[str], *, sockets: bool) -> None:
    """Pods, the node and the neighbour reach both services at each of their addresses, by TCP and UDP."""
    for name in ("here", "there"):
        for client in (*clients, site.node.name):
            assert unserved(site, client, places(name), sockets=sockets) == {}, (name, client)
        assert unserved(site, site.far, places(name, outside=True)) == {}, name


def started(site: BridgedNode, maker: str = "bridge") -> tuple[str, str]:
    """Two pods from before the agent, of which the second is the service's endpoint here."""
    site.chain(maker=maker)
    a, b = (site.pod(app) for app in "ab")
    for pod in (a, b):
        site.add(pod)
    serve(site, b)
    site.chain(site.ours(), maker=maker)
    return a, b


@pytest.mark.parametrize(
    ("maker", "policy", "modes"),
    [
        pytest.param("bridge", "on", ("off", "host", "on"), id="bridge"),
        pytest.param("ptp", "off", ("off",), id="ptp, without policy"),
    ],
)
def test_all_who_ask_are_served(site: BridgedNode, maker: str, policy: str, modes: tuple[str, ...]) -> None:
    a, b = started(site, maker)
    for socket_lb in modes:
        with site.node.agent_runs(*flags(site, f"--socket-lb={socket_lb}", f"--network-policy={policy}")):
            wait_attached(site, 2)  # a connection from before would go on another way
            before = site.node.run("nft", "list", "chain", "inet", "t", "f")
            all_are_served(site, [a, b], sockets=socket_lb != "off")
            after = site.node.run("nft", "list", "chain", "inet", "t", "f")
            assert after == before, "the host's connection tracking saw whole connections, or none of them"
            seen = asks(site, site.far, places("here", outside=True))
            assert set(seen.values()) == {"192.0.2.9", "2001:db8::9"}


def test_policy_refusals_health_and_an_overlay_beside_it(site: BridgedNode) -> None:
    overlay(site)
    a, b = started(site)
    with site.node.agent_runs(*flags(site, "--socket-lb=off")):
        wait_attached(site, 2)
        assert site.passes(a, b) == ALL
        # policy sees who asks from outside as himself, and pods
        outside, pods = places("here", outside=True), places("here")
        site.policy(
            "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]}"
        )
        wait_silent(site, site.far, outside)
        assert unserved(site, a, pods) == {}
        site.policy("{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.9/32}}]}]}")
        wait_served(site, site.far, [target for target in outside if "." in target[0]])
        assert set(asks(site, a, pods).values()) == {"TimeoutError"}
        assert set(asks(site, site.far, [target for target in outside if ":" in target[0]]).values()) == {
            "TimeoutError"
        }
        assert unserved(site, site.node.name, pods) == {}, "a node reaches its pods"
        site.policy()
        # load balancers hear who is well, and which node has endpoints
        for port in (10256, CHECK_PORT):
            with (
                namespace.inside(f"/run/netns/{site.far}"),
                urllib.request.urlopen(f"http://192.0.2.1:{port}/healthz") as page,
            ):
                assert page.status == 200
        # an endpoint behind somebody else's overlay answers by it
        serve(site, b, there=(OVERLAY_POD,))
        four = [target for target in places("there") if "." in target[0]]
        for client in (a, site.node.name):
            wait_served(site, client, four)
        seen = asks(site, site.far, [target for target in places("there", outside=True) if "." in target[0]])
        assert set(seen.values()) == {"10.244.0.0"}
        # without an endpoint, and at a port that a service has not, all are refused
        serve(site, b, there=())
        nobody = [(CLUSTER_IPS["here"][0], 81), *places("there")]
        for client in (a, site.node.name):
            wait_refused(site, client, nobody)
        wait_refused(site, site.far, [(EXTERNAL["here"][1], 81), *places("there", outside=True)])


def test_a_duty_that_is_given_up_is_another_proxys(site: BridgedNode) -> None:
    a, b = started(site)
    vip = [(CLUSTER_IPS["here"][0], 80)]
    outside = [(NODE_AT[0], NODE_PORT)]
    with site.node.agent_runs(*flags(site)):
        wait_attached(site, 2)
        assert unserved(site, site.far, outside) == unserved(site, a, vip) == {}
    with site.node.agent_runs(*flags(site, proxy="pods")):
        wait_refused(site, site.far, outside)  # by the node, on which nobody listens
        assert unserved(site, a, vip) == {}
        assert not [link for link in (site.node.pins / "links").iterdir() if link.name.startswith("uplink_egress")]
    with site.node.agent_runs(*flags(site, "--network-policy=off", proxy="off")):
        wait_silent(site, a, vip)
        site.node.run("nft", PROXY.format(vip=vip[0][0], backend=site.addresses[b][0]))
        wait_served(site, a, vip)
        assert site.passes(a, b) == ALL
