"""The chart on the lab's cluster: installed, upgraded, rolled back and uninstalled by Helm, as a user does it."""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.build.chart import CHART
from lab import agents
from lab.kubernetes import addresses, agent_image, build, daemonset, dns
from lab.kubernetes import agents as kubernetes_agents
from lab.kubernetes.cluster import Cluster
from lab.machine import Machine
from tests.cluster.conftest import Namespace, eventually
from tests.cluster.objects import client, server, service

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
SYSTEM = "--namespace=kube-system"
WEB = {"app": "web"}
AGENTS = "daemonset/sluiceway-agent"
# all that an agent leaves on a node, but for empty folders: a container cannot remove what is mounted into it
LEFT = r"""
ip -o link | sed 's/^[0-9]*: //; s/@.*//; s/:.*//' | sort
ip rule; ip -6 rule
ip route show table all | grep -v ^local | sort; ip -6 route show table all | grep -v '^local\|^fe80\|^multicast' | sort
tc qdisc show; tc filter show dev eth0 ingress 2>&1; tc filter show dev eth0 egress 2>&1
find /sys/fs/bpf /opt/cni/bin /etc/cni/net.d /var/lib/sluiceway /run/sluiceway ! -type d 2>/dev/null | sort
sysctl -a 2>/dev/null | grep '^net.ipv[46]' | grep -v 'random\|stable_secret\|/swp\|\.swp' | sort
"""


@dataclass(frozen=True, slots=True)
class Release:
    """A release of the chart on a cluster."""

    cluster: Cluster
    helm: Path

    def run(self, verb: str, *arguments: str) -> str:
        """``helm VERB sluiceway``, as the administrator; what it prints."""
        done = self.ask(verb, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same, which may fail."""
        kubectl = self.cluster.kubectl
        command = [str(self.helm), f"--kubeconfig={kubectl.kubeconfig}", SYSTEM, verb, "sluiceway", *arguments]
        enter = ["nsenter", f"--net={kubectl.host.netns}"]
        home = {"HELM_CACHE_HOME": str(kubectl.kubeconfig.parent / "helm"), "HELM_CONFIG_HOME": "/nonexistent"}
        return subprocess.run(
            [*enter, *command], capture_output=True, text=True, check=False, env={**os.environ, **home}
        )

    def flags(self) -> Sequence[str]:
        """What the agents are told."""
        spec = self.cluster.kubectl.get(SYSTEM, AGENTS)["spec"]["template"]["spec"]
        return tuple(spec["containers"][0]["args"])

    def logs(self) -> Sequence[str]:
        """What all agents have logged."""
        found = ["--selector=app.kubernetes.io/component=agent", "--tail=-1"]
        return self.cluster.kubectl.run(SYSTEM, "logs", *found).stdout.splitlines()

    def dpctl(self, *arguments: str) -> str:
        """``dpctl`` in one of the agents' pods."""
        return self.cluster.kubectl.run(SYSTEM, "exec", AGENTS, "--", "dpctl", *arguments).stdout


def everywhere(cluster: Cluster, *argv: str) -> dict[str, str]:
    """What a command prints on each node."""

    def run(node: Machine) -> tuple[str, str]:
        return node.name, node.run(*argv).stdout

    with ThreadPoolExecutor() as pool:
        return dict(pool.map(run, cluster.site.nodes))


@pytest.fixture
def bare(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster without the lab's own agents and what these left on the nodes; with the image in each containerd."""
    daemonset.load(cluster.site, cluster.artifacts, agent_image.image(build.cache_folder(os.environ), print))
    for node in cluster.site.nodes:
        agents.stop(node)
    everywhere(cluster, "sluiceway-agent", "cleanup")
    yield cluster
    cluster.kubectl.apply(kubernetes_agents.rights())  # the tokens of the lab's agents are of another account
    for node in cluster.site.nodes:
        agents.start_again(node)
    kubernetes_agents.wait(cluster.site, cluster.kubectl)
    cluster.kubectl.run(SYSTEM, "rollout", "restart", "deployment/coredns")  # cleaned nodes have no pod's interface
    dns.wait(cluster.kubectl)


@pytest.fixture
def release(bare: Cluster) -> Release:
    return Release(bare, build.helm(print))


def answers(namespace: Namespace) -> bool:
    """Whether the client reaches the service."""
    urls = [f"http://{address}/hostname" for address in namespace.cluster_ips("web")]
    return all(namespace.sh("client", f"curl -s -m 2 {url}").stdout == "web" for url in urls)


@contextmanager
def left_behind(cluster: Cluster) -> Iterator[None]:
    """A DaemonSet as an uninstallation leaves it that was cut short; no node runs it."""
    labels = {"app.kubernetes.io/component": "cleanup"}
    pod = {"nodeSelector": {"no": "node"}, "containers": [{"name": "clean", "image": agent_image.IMAGE}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    made = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "sluiceway-cleanup", "namespace": "kube-system"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
    cluster.kubectl.apply(json.dumps(made))
    yield
    cluster.kubectl.run(SYSTEM, "delete", "daemonset/sluiceway-cleanup", "--wait")


def test_a_release_comes_changes_goes_back_and_leaves_nothing(release: Release, namespace: Namespace) -> None:
    cluster = release.cluster
    before = everywhere(cluster, "bash", "-c", LEFT)
    values = {
        "image.repository": agent_image.IMAGE,
        "image.tag": agent_image.image(build.cache_folder(os.environ), print).name.partition(":")[2],
        "options.api-server": addresses.server(cluster.site),
        "serviceAccount.name": "sluiceway-chart",
        "options.max-services": 4096,
    }
    given = [f"--set={name}={value}" for name, value in values.items()]
    with left_behind(cluster):
        refused = release.ask("install", str(CHART), *given)
        assert refused.returncode != 0
        assert "sluiceway-cleanup of an earlier uninstallation is there still" in refused.stderr
    # the roles are there already, for the lab's agents
    said = release.run("install", str(CHART), *given, "--take-ownership", "--wait", "--timeout=180s")
    assert "dpctl status" in said
    api = f"--api-server={values['options.api-server']}"
    assert release.flags() == ("run", api, "--max-services=4096")
    namespace.apply(server("web", node="n2", labels=WEB), client("client", node="n1"), service("web", WEB))
    assert eventually(lambda: answers(namespace))
    assert "running" in release.dpctl("status")
    assert not [line for line in release.logs() if "cannot" in line or "forbidden" in line]
    used = everywhere(cluster, "bash", "-c", LEFT)
    assert all(used[node] != listing for node, listing in before.items())

    more = ("--set=options.max-services=8192", "--set=options.log-level=debug")
    release.run(
        "upgrade", str(CHART), "--reset-then-reuse-values", *more, "--take-ownership", "--wait", "--timeout=180s"
    )
    assert release.flags() == ("run", api, "--log-level=debug", "--max-services=8192")
    assert answers(namespace)
    release.run("rollback", "--wait", "--timeout=180s")
    assert release.flags() == ("run", api, "--max-services=4096")
    assert answers(namespace)

    namespace.kubectl("delete", "pod", "--all", "--wait")
    release.run("uninstall", "--wait", "--timeout=300s")
    assert everywhere(cluster, "bash", "-c", LEFT) == before
    named = cluster.kubectl.run(SYSTEM, "get", "ds,job,sa,role,rolebinding", "-o", "name").stdout.split()
    assert not [name for name in named if "sluiceway-c" in name]
