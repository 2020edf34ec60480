"""`--replace-kube-proxy on`: what kube-proxy left goes when the agent serves and kube-proxy has ended, not before."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.kernel.kube_proxy import alive
from agent.netlink import netns as namespace
from tests.netns.agents import Node
from tests.patience import until

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

WRITTEN = Path(__file__).parents[1] / "agent/kernel/kube_proxy/written"
# what kube-proxy answers at its metrics' address
PROXY = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"iptables" if self.path == "/proxyMode" else b"")
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", 10249), Handler).serve_forever()
"""
ITS_WORDS = ("KUBE-SERVICES", "KUBE-SVC-", "KUBE-POSTROUTING", "table ip kube-proxy", "table ip6 kube-proxy")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    (tmp_path / "node").mkdir()
    made = Node.make(f"swrepl{os.getpid()}", tmp_path / "node")
    for tool, name in (("iptables", "others.rules"), ("iptables", "iptables.ipv4"), ("ip6tables", "iptables.ipv6")):
        made.run(f"{tool}-nft-restore", "--noflush", str(WRITTEN / name))
    made.run("nft", "-f", str(WRITTEN / "nftables.nft"))
    yield made
    made.remove()


def its(node: Node) -> set[str]:
    """Which of the words are in the node's rules."""
    rules = node.run("nft", "list", "ruleset")
    return {word for word in ITS_WORDS if word in rules}


def answers(node: Node) -> bool:
    """Whether what stands for kube-proxy is there."""
    with namespace.inside(f"/run/netns/{node.name}"):
        return bool(alive.sign())


def test_rules_go_once_the_agent_serves_and_kube_proxy_has_ended(node: Node) -> None:
    (node.root / "manifests").rename(node.root / "later")
    proxy = node.start_command([*node.inside, sys.executable, "-c", PROXY])
    until(lambda: answers(node))
    agent = node.start("--replace-kube-proxy=on")
    until(lambda: "503" in node.health("readyz"))
    assert its(node) == {*ITS_WORDS}, "nobody serves yet"
    (node.root / "later").rename(node.root / "manifests")
    node.wait_ready()
    until(lambda: node.problems() == {("n1", "--replace-kube-proxy")})
    assert its(node) == {*ITS_WORDS}, "it would write them anew"
    proxy.kill()
    until(lambda: its(node) == set())
    until(lambda: node.problems() == set())
    node.end(agent)
    left = node.run("iptables-nft-save")
    for line in (WRITTEN / "others.rules").read_text().splitlines():
        assert line.partition(" [")[0] in left


def test_rules_stay_where_nobody_asked(node: Node) -> None:
    with node.agent_runs():
        pass
    with node.agent_runs("--service-proxy=off"):
        pass
    node.run(*node.agent("cleanup"))
    assert its(node) == {*ITS_WORDS}


def test_rules_are_gone_also_where_services_are_served_over_anothers_network(node: Node) -> None:
    with node.agent_runs("--network=chained", "--service-proxy=on", "--replace-kube-proxy=on"):
        until(lambda: its(node) == set())


def test_a_node_with_more_of_ipvs_than_its_map_has_room_for_comes_up_and_takes_it_away(node: Node) -> None:
    node.ip("link add kube-ipvs0 type veth peer name peer")  # not every kernel has dummies
    several = (f"addr add 10.97.{number // 250}.{number % 250 + 1}/32 dev kube-ipvs0" for number in range(300))
    (node.root / "addresses").write_text("\n".join(several))
    node.ip(f"-batch {node.root / 'addresses'}")
    with node.agent_runs("--max-endpoints=128"):
        until(lambda: node.problems() == {("n1", "device kube-ipvs0")})
    with node.agent_runs("--max-endpoints=128", "--replace-kube-proxy=on"):
        until(lambda: "kube-ipvs0" not in node.ip("-o link"))
        until(lambda: node.problems() == set())
