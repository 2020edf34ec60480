"""kube-proxy itself before and after ours: its rules go where that is asked, and are back when it starts again."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import agents
from lab.kubernetes import agents as kubernetes_agents
from lab.kubernetes import build, dns, identities
from lab.kubernetes.addresses import API_SERVICE
from lab.kubernetes.cluster import Cluster
from lab.machine import Machine
from tests.cluster.conftest import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

PROXY = "kube-proxy"
OPTION = "--replace-kube-proxy"
ITS = {"iptables": "KUBE-SVC-", "nftables": "table ip kube-proxy"}
API = "default/kubernetes"


@dataclass(frozen=True, slots=True)
class Proxied:
    """A node on which kube-proxy is started and ended."""

    node: Machine
    program: Path
    kubeconfig: Path

    def start(self, mode: str) -> None:
        """Start it; connections' limits are the host's, and stay."""
        conntrack = ("--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s")
        more = (*conntrack, "--conntrack-tcp-timeout-close-wait=0s", f"--hostname-override={self.node.name}")
        self.node.daemon(
            PROXY, [str(self.program), f"--kubeconfig={self.kubeconfig}", f"--proxy-mode={mode}", *more, "--v=2"]
        )

    def end(self) -> None:
        """End it; what it wrote stays."""
        self.node.stop(PROXY)

    def rules(self) -> Counter[str]:
        """What it wrote of the API's own service, whose endpoint stays: rules of iptables, and names in nftables."""
        of_iptables = (self.node.run(tool).stdout for tool in ("iptables-nft-save", "ip6tables-nft-save"))
        lines = [line for text in of_iptables for line in text.splitlines() if API in line]
        named = [word.strip(",") for word in self.node.run("nft", "list", "ruleset").stdout.split() if API in word]
        return Counter([*lines, *named])

    def has(self, mode: str) -> bool:
        """Whether its rules of that service are there."""
        return ITS[mode] in self.node.run("nft", "list", "ruleset").stdout and bool(self.rules())

    def is_served(self) -> bool:
        """Whether a process of the node reaches the API by its service."""
        ask = f"exec 3<>/dev/tcp/{API_SERVICE}/443"
        return self.node.run("timeout", "2", "bash", "-c", ask, check=False).returncode == 0

    def problems(self) -> str:
        """What `dpctl status` says of the option."""
        rows = json.loads(self.node.run("dpctl", "status", "-o", "json").stdout)
        return " ".join(row["text"] for row in rows if row.get("field") == OPTION)

    def others(self) -> str:
        """What is no rule, and cleanup leaves as it was."""
        return self.node.run("bash", "-c", "ip rule; ip -6 rule; ip -brief link; ls /sys/fs/bpf /etc/cni/net.d").stdout


@pytest.fixture
def proxied(cluster: Cluster) -> Iterator[Proxied]:
    """A node whose agent has ended, and left nothing."""
    node = cluster.site.nodes[0]
    made = Proxied(node, build.kube_proxy(print), identities.folder(cluster.site) / "admin.kubeconfig")
    rules = node.run("nft", "--stateless", "list", "ruleset").stdout
    agents.stop(node)
    node.run("sluiceway-agent", "cleanup")
    yield made
    made.end()
    node.run(str(made.program), "--cleanup", check=False)
    # which leaves its rule in kubelet's KUBE-FIREWALL, that drops what is asked of host ports at 127.0.0.1
    node.run("nft", "-f", "-", stdin=f"flush ruleset\n{rules}")
    agents.stop(node)
    agents.start_again(node)
    kubernetes_agents.wait(cluster.site, cluster.kubectl)
    # its pod may have had its interface there
    cluster.kubectl.run("--namespace=kube-system", "rollout", "restart", "deployment/coredns")
    dns.wait(cluster.kubectl)


def test_its_rules_go_once_it_has_ended_and_come_back_with_it_when_ours_are_gone(proxied: Proxied) -> None:
    for mode in ITS:
        replaced(proxied, mode)


def replaced(proxied: Proxied, mode: str) -> None:
    """Have ours come for kube-proxy in this mode, and go for it again."""
    node, others = proxied.node, proxied.others()
    proxied.start(mode)
    assert eventually(lambda: proxied.has(mode) and proxied.is_served()), node.log_tail(PROXY)
    rules = proxied.rules()
    agents.start_again(node, flags=[f"{OPTION}=on"])
    agents.wait(node)
    assert eventually(lambda: "stop it" in proxied.problems())
    assert proxied.has(mode), "it would write them anew"
    proxied.end()
    assert eventually(lambda: not proxied.has(mode)), proxied.problems()
    assert eventually(lambda: not proxied.problems())
    assert proxied.is_served()
    agents.stop(node)
    node.run("sluiceway-agent", "cleanup")
    assert proxied.others() == others
    assert not proxied.is_served()
    proxied.start(mode)
    assert eventually(lambda: proxied.rules() == rules and proxied.is_served()), node.log_tail(PROXY)
    proxied.end()
    node.run(str(proxied.program), "--cleanup")
