"""docs/install/kubeadm.md, typed on machines of the lab: from nothing to a cluster, to a policy, and away again.

The blocks come from the page, each typed at once in a bash as in a terminal: a command that fails does not end it. What
the lab's machines are told more stands in ``lab/kubernetes/kubeadm.py``. The scripts of vagrant/provision/ then run on
the same cluster, where each changes nothing or does the same again. It is run by `make cluster-day-one` alone.
"""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import site
from lab.kubernetes import kubeadm
from lab.kubernetes.kubeadm import Prepared
from lab.machine import Machine
from tests.vagrant import page
from tests.vagrant.page import Block

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

NAME = f"swlab-day-one-{os.getpid()}"  # of the lab, which no other run has
GREETING = "<title>Welcome to nginx!</title>"
OTHER = "kubectl run other --image=busybox:1.36 --rm --attach --restart=Never -- wget -q -T 5 -O - http://nginx"
ADMINISTRATOR = "export KUBECONFIG=/etc/kubernetes/admin.conf"
# a shell that goes on, and says which commands failed
NOTED = "trap 'echo \"$BASH_COMMAND\" >>/run/failed' ERR"


@dataclass(frozen=True, slots=True)
class Said:
    """What a block printed, and which of its commands failed."""

    text: str
    failed: list[str]

    def ran(self) -> str:
        """The text of a block none of whose commands failed."""
        assert self.failed == [], self.text
        return self.text


@pytest.fixture(scope="module")
def prepared() -> Iterator[Prepared]:
    """Three machines, on which nothing of Kubernetes runs yet."""
    began = time.monotonic()
    try:
        yield kubeadm.up(NAME, lambda text: print(f"{time.monotonic() - began:6.1f} s  {text}"))
    finally:
        site.remove(NAME)


def typed(prepared: Prepared, machine: Machine, block: Block, **variables: object) -> Said:
    """What a block of the page says on a machine."""
    began = time.monotonic()
    setting = "; ".join(f"{name}={value}" for name, value in variables.items())
    bash = f"cd {prepared.tree}; {setting or ':'}; {NOTED}\n{block.text}"
    done = machine.run("bash", "-c", bash, check=False, environment=prepared.environment(machine))
    print(f"{time.monotonic() - began:6.1f} s  {block.script} on {machine.name}: {block.lines[-1][:80]}")
    noted = machine.root / "run/failed"
    failed = noted.read_text().splitlines() if noted.exists() else []
    noted.unlink(missing_ok=True)
    return Said(f"{done.stdout}\n{done.stderr}", failed)


def script(prepared: Prepared, machine: Machine, name: str, *arguments: object) -> str:
    """What a script of vagrant/provision/ prints, which ends well."""
    began = time.monotonic()
    path = prepared.tree / f"vagrant/provision/{name}.sh"
    environment = prepared.environment(machine)
    done = machine.run(str(path), *map(str, arguments), check=False, environment=environment)
    print(f"{time.monotonic() - began:6.1f} s  {name}.sh on {machine.name}")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def asked(prepared: Prepared, command: str) -> str:
    """What the control plane's administrator is told."""
    n1 = prepared.site.nodes[0]
    return n1.run("bash", "-ec", f"{ADMINISTRATOR}; {command}", environment=prepared.environment(n1)).stdout


def test_the_walk_through(prepared: Prepared) -> None:
    n1, n2, n3 = prepared.site.nodes
    for machine in (n1, n2, n3):
        (node,), (image,) = page.blocks("node"), page.blocks("image")
        typed(prepared, machine, node, address=machine.addresses[0]).ran()
        typed(prepared, machine, image).ran()

    set_up(prepared)
    (agent,) = page.blocks("agent")
    typed(prepared, n1, agent, address=n1.addresses[0]).ran()
    assert asked(prepared, "kubectl get nodes -o name").split() == ["node/n1", "node/n2", "node/n3"]
    assert "kube-proxy" not in asked(prepared, "kubectl get pods -A -o name")

    demonstrate(prepared)
    (drain,) = page.blocks("drain")
    said = typed(prepared, n1, with_administrator(drain), node=n3.name).ran()
    assert "node/n3 drained" in said
    assert is_printed(said, 1)
    assert nodes_of_nginx(prepared) == {"n2"}
    script(prepared, n1, "drain", "n2")
    assert nodes_of_nginx(prepared) == {"n3"}

    (remove,) = page.blocks("remove")
    typed(prepared, n1, with_administrator(remove)).ran()
    script(prepared, n1, "remove")
    for machine in (n1, n2, n3):
        assert left_by_the_agent(machine) == []
    (reset,) = page.blocks("reset")
    for machine in (n2, n3, n1):
        typed(prepared, machine, reset).ran()
        script(prepared, machine, "reset")
        assert left_by_kubernetes(prepared, machine) == []


def set_up(prepared: Prepared) -> None:
    """The control plane, and two nodes that join it: one knows its certificate's hash."""
    n1, n2, n3 = prepared.site.nodes
    address = n1.addresses[0]
    (init,), (by_hash, unsafely) = page.blocks("control-plane"), page.blocks("join")
    said = typed(prepared, n1, init, address=address).ran()
    (token,) = set(re.findall(r"--token (\S+)", said))
    (ca_hash,) = re.findall(r"--discovery-token-ca-cert-hash (\S+)", said)
    typed(prepared, n2, by_hash, control_plane=address, token=token, ca_hash=ca_hash).ran()
    typed(prepared, n3, unsafely, control_plane=address, token=token).ran()
    before = asked(prepared, "kubectl get nodes -o jsonpath='{.items[*].metadata.uid}'")
    script(prepared, n1, "control-plane", address)
    script(prepared, n2, "join", address, token, ca_hash)
    script(prepared, n3, "join", address, token)
    assert asked(prepared, "kubectl get nodes -o jsonpath='{.items[*].metadata.uid}'") == before


def demonstrate(prepared: Prepared) -> None:
    """Nginx is reached by all, then by one; four of it as two."""
    n1 = prepared.site.nodes[0]
    exposed, denied, scaled = map(with_administrator, page.blocks("demo"))
    assert is_printed(typed(prepared, n1, exposed).ran(), 2)
    said = typed(prepared, n1, denied)
    assert (is_printed(said.text, 1), said.failed) == (True, [OTHER])
    assert "timed out" in said.text
    assert "policy" in dropped(prepared)
    said = typed(prepared, n1, scaled)
    assert (is_printed(said.ran(), 1), said.text.count("1/1     Running")) == (True, 4)
    assert "'access' reaches nginx, 'other' does not" in script(prepared, n1, "demo", "n2", "n3")


def is_printed(text: str, times: int) -> bool:
    """Whether nginx's page came so often: what a pod said before kubectl attached, kubectl prints from its log too."""
    return times <= text.count(GREETING) <= 2 * times


def with_administrator(block: Block) -> Block:
    """A block that follows the agent's in the same shell, which has set this there."""
    return Block(block.script, f"{ADMINISTRATOR}\n{block.text}")


def dropped(prepared: Prepared) -> str:
    """The reasons that the agents of nginx's nodes name."""
    agents = asked(
        prepared, "kubectl --namespace kube-system get pods --selector=app.kubernetes.io/component=agent -o name"
    ).split()
    return "".join(asked(prepared, f"kubectl --namespace kube-system exec {name} -- dpctl drops") for name in agents)


def nodes_of_nginx(prepared: Prepared) -> set[str]:
    """Where its pods are that do not end."""
    path = "{range .items[?(@.status.phase==\"Running\")]}{.spec.nodeName} {.metadata.deletionTimestamp}{'\\n'}{end}"
    path = path.replace("'", '"')
    found = asked(prepared, f"kubectl get pods --selector=app=nginx -o jsonpath='{path}'")
    return {words[0] for words in map(str.split, found.splitlines()) if len(words) == 1}


def left_by_the_agent(machine: Machine) -> list[str]:
    """What is still there of what the agent put on a machine."""
    pins = machine.root / "sys/fs/bpf/sluiceway"
    # empty folders that were mounted stay
    folders = ("etc/cni/net.d", "opt/cni/bin", "run/sluiceway", "var/lib/sluiceway")
    files = [path for folder in folders for path in (machine.root / folder).iterdir()]
    return [str(path) for path in (*files, *([pins] if pins.exists() else []))]


def left_by_kubernetes(prepared: Prepared, machine: Machine) -> list[str]:
    """Containers, and what kubelet and the control plane are configured by."""
    listing = ["ctr", "--namespace", "k8s.io", "containers", "list", "--quiet"]
    containers = machine.run(*listing, environment=prepared.environment(machine)).stdout.split()
    files = [path for path in (machine.root / "etc/kubernetes").rglob("*") if path.is_file()]
    return [*containers, *(str(path) for path in files)]
