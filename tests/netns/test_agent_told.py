"""What an agent cannot use is told: a mistake of who starts it before the kernel is touched, others as problems."""

import json
import subprocess
from functools import partial
from pathlib import Path

import pytest

from maps.pins import PinRoot
from tests.agent.watch.api_server import kubeconfig
from tests.netns.agents import READY_S, Node
from tests.netns.listing import listing, settled, sysctls
from tests.netns.started import node, services
from tests.patience import until

__all__ = ["node"]

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


def test_what_the_agent_cannot_use_is_told_by_dpctl_also_when_it_is_dead(node: Node) -> None:
    node.run("sysctl", "-q", "-w", "net.ipv4.ip_local_port_range=1024 65535")
    process = node.start()
    node.wait_ready()
    until(lambda: any(row["about"] == "problem" for row in node.status()), "nobody is told")
    told = [row for row in node.status() if row["about"] == "problem"]
    process.kill()
    process.wait()
    node.running.remove(process)
    assert [(row["kind"], row["object"], row["field"]) for row in told] == [
        ("Node", "n1", "net.ipv4.ip_local_port_range")
    ]
    rows = {row["about"]: row for row in node.status()}
    assert (rows["problem"], rows["agent"]["state"]) == (told[0], "not running")
    assert (rows["cluster"]["state"], rows["cluster"]["values"]["problems"]) == ("synced", 1)
    node.run("sysctl", "-q", "-w", "net.ipv4.ip_local_port_range=32768 60999")
    with node.agent_runs():
        pass
    assert "problem" not in {row["about"] for row in node.status()}, "the last word of an agent that ends"


BAD = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: kube-system}}
spec: {{clusterIP: {address}, clusterIPs: [{address}], ports: [{{port: 80, protocol: TCP}}]}}
"""
LINKS = {  # as kubelet tells pods of a Service
    "SLUICEWAY_TUNNEL_SERVICE_HOST": "10.96.0.21",
    "SLUICEWAY_TUNNEL_SERVICE_PORT": "80",
    "SLUICEWAY_TUNNEL_PORT": "tcp://10.96.0.21:80",
    "SLUICEWAY_TUNNEL_PORT_80_TCP": "tcp://10.96.0.21:80",
}


def test_an_object_that_cannot_be_used_is_a_problem_and_touches_nothing_else(node: Node) -> None:
    manifests = node.root / "manifests"
    (manifests / "long.yaml").write_text(BAD.format(name="a" * 180, address="10.96.0.20"))
    (manifests / "named.yaml").write_text(BAD.format(name="sluiceway-tunnel", address="10.96.0.21"))
    (manifests / "alias.yaml").write_text("kind: Service\nmetadata: {name: x}\nspec: &a\n  self: *a\n")
    (manifests / "deep.yaml").write_text("spec: " + "{a: " * 2_000 + "}" * 2_000)
    with node.agent_runs(environ=LINKS):
        assert {str(key.addr.ipv4_mapped) for key in services(node)} == {"10.96.0.10", "10.96.0.21"}
        assert (node.health("livez"), node.health("readyz")) == ("ok", "ok")
        bad = {f"kube-system/{'a' * 180}", "alias.yaml", "deep.yaml"}
        until(lambda: {name for name, _ in node.problems()} == bad, "each of the bad ones is told, and no other")
        (manifests / "late.yaml").write_text(BAD.format(name="late", address="10.96.0.22"))
        until(lambda: len(services(node)) == 3, "a later change is applied")


def test_a_second_agent_on_the_same_pins_says_so_and_exits(node: Node) -> None:
    with node.agent_runs():
        second = subprocess.run(node.agent("run"), capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"another agent works on the pins in {node.pins}; stop it" in second.stderr
    assert "--pin-root" not in second.stderr, "two agents on one node translate each other's packets"


def _refused(node: Node, command: str, option: str, value: Path) -> str:
    """What is said of it, when nothing is touched."""
    before = listing(node)
    argv = node.agent(command, f"{option}={value}")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=READY_S, check=False)
    assert (done.returncode, listing(node) == before) == (2, True), done.stderr
    return done.stderr.splitlines()[-1]


def test_an_agent_that_is_given_other_folders_than_the_one_before_leaves_its_node_alone(node: Node) -> None:
    before = listing(node)
    with node.agent_runs():
        pass
    for command in ("run", "cleanup"):
        said = _refused(node, command, "--pin-root", node.bpffs / "other")
        assert f"give --pin-root {node.pins}, or run sluiceway-agent cleanup with that first" in said
        said = _refused(node, command, "--state-dir", node.root / "other")
        assert f"give --state-dir {node.root / 'state'}, or run sluiceway-agent cleanup with that first" in said
    with node.agent_runs():
        settled(partial(listing, node))
        said = _refused(node, "run", "--pin-root", node.bpffs / "other")
        assert f"--pin-root {node.pins}" in said
    node.run(*node.agent("cleanup")[len(node.inside) :])
    assert listing(node) == before
    with node.agent_runs(f"--pin-root={node.bpffs}/other", f"--state-dir={node.root}/other"):
        pass
    node.run(
        *node.agent("cleanup", f"--pin-root={node.bpffs}/other", f"--state-dir={node.root}/other")[len(node.inside) :]
    )
    assert listing(node) == before


@pytest.mark.parametrize(
    ("option", "value"),
    [
        pytest.param("state-dir", "{root}/file", id="a state folder that is a file"),
        pytest.param("run-dir", "/proc/none", id="a run folder that cannot be made"),
        pytest.param("run-dir", "{root}/" + "r" * 120, id="a run folder too long for a socket's path"),
        pytest.param("manifests", "{root}/file", id="a folder of manifests that is a file"),
        pytest.param("listen", "192.0.2.77:9650", id="an address of another node"),
        pytest.param("kubeconfig", "{root}/none", id="a kubeconfig that is not there"),
        pytest.param("kubeconfig", "{root}/list", id="a kubeconfig that is no mapping"),
        pytest.param("kubeconfig", "{root}/authority", id="an authority that is no certificate"),
    ],
)
def test_a_mistake_in_an_option_is_found_before_the_kernel_is_touched(node: Node, option: str, value: str) -> None:
    (node.root / "file").write_text("")
    (node.root / "list").write_text("[1, 2]")
    told = json.loads(kubeconfig(node.root, 1).read_text())
    told["clusters"][0]["cluster"] = {"server": "https://127.0.0.1:1", "certificate-authority-data": "AAAA"}
    (node.root / "authority").write_text(json.dumps(told))
    before = sysctls(node)
    command = [word for word in node.agent("run") if option != "kubeconfig" or not word.startswith("--manifests")]
    refused = subprocess.run(
        [*command, f"--{option}={value.format(root=node.root)}"], capture_output=True, text=True, check=False
    )
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False), refused.stderr
    assert f"--{option}" in refused.stderr
    assert (PinRoot(node.pins).generations(), sysctls(node)) == ((), before)


def test_a_full_disk_is_told_by_its_folder_before_the_kernel_is_touched(node: Node) -> None:
    (node.root / "state").mkdir()
    mount = f"mount -t tmpfs -o size=4k none {node.root}/state && exec $0 $@"
    before = sysctls(node)
    argv = [*node.inside, "unshare", "--mount", "sh", "-c", mount, *node.agent("run")[len(node.inside) :]]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=READY_S, check=False)
    assert (done.returncode, sysctls(node)) == (2, before)
    assert f"--state-dir: {node.root}/state cannot be written: No space left on device; make room" in done.stderr


def test_a_folder_of_the_plugins_that_cannot_be_written_is_a_problem_of_the_node(node: Node) -> None:
    (node.root / "conf").rmdir()
    (node.root / "conf").touch()
    with node.agent_runs():
        until(lambda: node.problems() == {("n1", "--cni-conf-dir")})
    (node.root / "conf").unlink()


def test_without_privileges_the_agent_names_the_capability(node: Node) -> None:
    command = [
        "setpriv",
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--clear-groups",
        *node.agent("run")[2:],
    ]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 3
    assert refused.stderr.strip().endswith("give the process CAP_SYS_ADMIN and CAP_NET_ADMIN")
