"""The agent as a process: start, restart, death, another one beside it, clean-up."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from agent.kernel.programs.hooks import SOCKET_HOOKS
from agent.pods.attachments import boot_id
from maps import abi, libbpf
from maps.pins import PinRoot
from maps.registry import open_table
from maps.table import Table
from tests.agent.watch.api_server import kubeconfig
from tests.maps.flow_serial import serial
from tests.netns.agents import READY_S, Node
from tests.netns.dying import Dying
from tests.netns.listing import listing, settled, sysctls

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

# moments of a start at which it dies, before a clean-up; SLUICEWAY_DEATHS=500 is nearly all of them, some minutes
DEATHS = int(os.environ.get("SLUICEWAY_DEATHS", "8"))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    (tmp_path / "node").mkdir()
    made = Node.make(f"swagent{os.getpid()}", tmp_path / "node")
    yield made
    made.remove()


def _services(node: Node) -> dict[abi.ServiceKey, abi.Service]:
    generation = PinRoot(node.pins).current()
    assert generation
    table = Table.open(abi.SERVICES, generation.map_path("services"))
    try:
        return dict(table.items())
    finally:
        table.close()


def _links(node: Node) -> dict[str, tuple[int, int]]:
    """Link id and program id by pin."""
    found = {}
    for path in (node.pins / "links").iterdir():
        fd = libbpf.get_pinned(path)
        info = libbpf.link_info(fd)
        os.close(fd)
        found[path.name] = (info.id, info.program_id)
    return found


def test_the_memory_of_every_map_is_told_also_of_those_that_only_programs_read(node: Node) -> None:
    with node.agent_runs():
        told = {line for line in node.health("metrics").splitlines() if line.startswith("sluiceway_map_bytes{")}
        generation = PinRoot(node.pins).current()
        assert generation
        assert {f'sluiceway_map_bytes{{map="{name}"}}' for name in generation.pinned()} == {
            line.partition(" ")[0] for line in told
        }
        assert {"flow_caches", "fragment_frames"} <= set(generation.pinned())


def test_a_service_in_the_folder_is_in_the_maps_when_the_agent_is_ready(node: Node) -> None:
    with node.agent_runs():
        (key,) = _services(node)
        assert key.addr == IPv6Address("::ffff:10.96.0.10")
        assert key.port == 80
        hooks = {name.partition("-")[0] for name in _links(node)}
        assert hooks == {"uplink_ingress", "uplink_egress", *SOCKET_HOOKS}
        assert "10.244.1.0/24 via 192.0.2.2 dev u0 proto 89" in node.ip("route show")


def test_what_the_agent_made_stays_when_it_ends_and_the_next_one_keeps_the_links(node: Node) -> None:
    with node.agent_runs():
        before = _links(node)
    assert _links(node) == before
    assert len(_services(node)) == 1
    with node.agent_runs():
        after = _links(node)
    assert {name: link for name, (link, _) in after.items()} == {name: link for name, (link, _) in before.items()}
    assert not {program for _, program in after.values()} & {program for _, program in before.values()}


def test_other_sizes_make_new_maps_and_flows_come_along(node: Node) -> None:
    client, server = IPv6Address("::ffff:10.244.0.2"), IPv6Address("::ffff:10.244.1.5")
    key = replace(abi.FlowKey.unpack(bytes(abi.FlowKey.SIZE)), lo_addr=client, hi_addr=server, protocol=6, hi_port=80)
    with node.agent_runs():
        before, old = _links(node), PinRoot(node.pins).current()
    assert old
    now_s = time.clock_gettime_ns(time.CLOCK_MONOTONIC) >> abi.SEEN_BITS
    seen = replace(abi.Flow.unpack(bytes(abi.Flow.SIZE)), seen_s=now_s, serial=serial(key, 1))
    flows = open_table(abi.FLOWS, old.maps)
    flows.update([(key, seen)])
    flows.close()
    with node.agent_runs("--max-flows=8192"):
        new = PinRoot(node.pins).current()
        assert new
        assert new != old
        assert PinRoot(node.pins).generations() == (new,)
        flows = open_table(abi.FLOWS, new.maps)
        assert flows.get(key) == replace(seen, flags=abi.FlowFlag.FLOW_CARRIED)
        flows.close()
        assert {name: link for name, (link, _) in _links(node).items()} == {n: link for n, (link, _) in before.items()}
        assert len(_services(node)) == 1


def test_what_the_agent_cannot_use_is_told_by_dpctl_also_when_it_is_dead(node: Node) -> None:
    node.run("sysctl", "-q", "-w", "net.ipv4.ip_local_port_range=1024 65535")
    process = node.start()
    node.wait_ready()
    deadline = time.monotonic() + 5
    while not (told := [row for row in node.status() if row["about"] == "problem"]) and time.monotonic() < deadline:
        time.sleep(0.1)
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


def _until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + READY_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


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
        assert {str(key.addr.ipv4_mapped) for key in _services(node)} == {"10.96.0.10", "10.96.0.21"}
        assert (node.health("livez"), node.health("readyz")) == ("ok", "ok")
        bad = {f"kube-system/{'a' * 180}", "alias.yaml", "deep.yaml"}
        _until(lambda: {name for name, _ in node.problems()} == bad, "each of the bad ones is told, and no other")
        (manifests / "late.yaml").write_text(BAD.format(name="late", address="10.96.0.22"))
        _until(lambda: len(_services(node)) == 3, "a later change is applied")


def test_an_agent_that_dies_after_any_write_is_followed_by_one_that_finishes(node: Node) -> None:
    writes = 0
    while True:
        writes += 1
        process = node.start(environ={"SLUICEWAY_FAIL_AFTER_WRITES": str(writes)})
        while process.poll() is None and node.health("readyz") != "ok":
            time.sleep(0.02)
        if process.returncode is None:  # it had fewer writes to make
            node.end(process)
            break
        assert process.returncode == -signal.SIGKILL
        node.running.remove(process)
    assert writes > 1
    with node.agent_runs():
        assert len(_services(node)) == 1


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


SILENT = """
import socket
server = socket.create_server(("127.0.0.1", 6443))
print("ready", flush=True)
kept = []
while True:
    kept.append(server.accept())
    print("asked", flush=True)
"""


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
        deadline = time.monotonic() + READY_S
        while node.problems() != {("n1", "--cni-conf-dir")}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    (node.root / "conf").unlink()


def test_sigterm_ends_an_agent_whose_api_server_says_nothing(node: Node) -> None:
    with subprocess.Popen([*node.inside, sys.executable, "-c", SILENT], stdout=subprocess.PIPE, text=True) as api:
        assert api.stdout
        assert api.stdout.readline() == "ready\n"
        process = node.start_with_api(kubeconfig(node.root, 6443))
        assert api.stdout.readline() == "asked\n"
        node.end(process)
        api.kill()


def test_sigterm_ends_an_agent_whose_plugin_for_credentials_hangs(node: Node) -> None:
    path = kubeconfig(node.root, 6443)
    told, fifo = json.loads(path.read_text()), node.root / "fifo"
    os.mkfifo(fifo)
    hang = f"echo $$ >{fifo}; exec sleep infinity"
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", hang]}
    told["users"][0]["user"] = {"exec": plugin}
    path.write_text(json.dumps(told))
    process = node.start_with_api(path)
    hanging = int(fifo.read_text())
    try:
        node.end(process)
    finally:
        os.kill(hanging, signal.SIGKILL)


def test_cleanup_leaves_the_node_as_it_was(node: Node) -> None:
    before = listing(node)
    with node.agent_runs():
        assert listing(node) != before
    node.run(*node.agent("cleanup"))
    assert listing(node) == before


def test_cleanup_without_a_bpffs_takes_away_what_there_is(node: Node) -> None:
    before = listing(node)
    with node.agent_runs():
        pass
    subprocess.run(["umount", node.bpffs], check=True)
    try:
        # where no folder can be made, as none can at the place of a bpffs
        node.run(*node.agent("cleanup", "--pin-root=/sys/kernel/sluiceway"))
    finally:
        subprocess.run(["mount", "-t", "bpf", node.name, node.bpffs], check=True)
    assert listing(node) == before


def test_cleanup_that_does_not_see_the_agents_bpffs_leaves_it_all(node: Node) -> None:
    conflist = node.root / "conf/10-sluiceway.conflist"
    with node.agent_runs():
        while not conflist.exists():  # comes soon after the agent is ready; pytest's own limit ends it
            time.sleep(0.05)
        pins = listing(node)["pins"]
        command = node.agent("cleanup", "--pin-root=/sys/kernel/sluiceway")
        refused = subprocess.run(command, capture_output=True, check=False)
        assert (refused.returncode != 0, b"another agent works on the pins" in refused.stderr) == (True, True)
        assert (conflist.exists(), listing(node)["pins"], node.health("readyz")) == (True, pins, "ok")


def test_cleanup_takes_away_what_killed_processes_left(node: Node) -> None:
    before = listing(node)
    with node.agent_runs():
        pass
    for path in (node.root / "run/devices.sock", node.root / "run/bird/bird.ctl"):
        path.parent.mkdir(exist_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
            killed.bind(str(path))
    for folder in (f"state/vfs/{boot_id()}", "state/vfs/an-earlier-boot", "run/vf/0000:03:02.0"):
        (node.root / folder).mkdir(parents=True)
    (node.root / "run/vf/0000:03:02.0/interface.json").write_text("{}")
    node.run(*node.agent("cleanup"))
    assert listing(node) == before


def test_cleanup_leaves_the_node_as_it_was_whenever_the_agent_died(node: Node) -> None:
    node.run("sysctl", "-qw", "net.ipv4.conf.u1.forwarding=1", "net.ipv4.conf.all.rp_filter=1")
    before, dying = listing(node), Dying(node)
    dying.ask("count")
    node.wait_ready()
    assert listing(node) != before
    things = dying.ask("end")
    assert dying.ask("cleanup") == 0
    assert listing(node) == before
    for death in range(1, DEATHS + 1):
        at = things * death // DEATHS
        assert dying.ask(f"run {at}") == -signal.SIGKILL
        assert dying.ask(f"cleanup {things // 100 * death}") == -signal.SIGKILL, "and so may this"
        assert dying.ask("cleanup") == 0
        assert listing(node) == before, f"the agent died at {at} of {things}"
    with node.agent_runs():
        assert len(_services(node)) == 1
    dying.close()


def test_cleanup_refuses_while_an_agent_runs(node: Node) -> None:
    with node.agent_runs():
        refused = subprocess.run(node.agent("cleanup"), capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert len(_services(node)) == 1


def test_with_the_socket_hook_off_connections_are_left_to_the_devices(node: Node) -> None:
    with node.agent_runs():
        pass
    with node.agent_runs("--socket-lb=off"):
        assert not set(SOCKET_HOOKS) & set(_links(node))


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
