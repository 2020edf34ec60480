"""What an agent does with the capabilities that its DaemonSet gives it, and what it says without one."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from agent.kernel.programs import capabilities
from agent.options.choices import L2Announce
from agent.options.config import Options
from lab import agents, use
from lab.errors import LabError
from lab.machine import Machine
from tests.lab.conftest import Echo

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

MANIFEST = Path(__file__).resolve().parents[2] / "deploy" / "manifests" / "sluiceway.yaml"


def given() -> frozenset[str]:
    """The capabilities of the agent's container, by the names that setpriv has for them."""
    [daemons] = (found for found in yaml.safe_load_all(MANIFEST.read_text()) if found["kind"] == "DaemonSet")
    [agent] = daemons["spec"]["template"]["spec"]["containers"]
    return frozenset(name.lower() for name in agent["securityContext"]["capabilities"]["add"])


def start(node: Machine, held: frozenset[str], *flags: str) -> str:
    """Start the node's agent anew with these capabilities and none that it could gain; what it logs from then on."""
    agents.stop(node)
    log = node.home / f"{agents.DAEMON}.log"
    before = log.stat().st_size
    saved = json.loads((node.home / f"{agents.DAEMON}.json").read_text())
    bounding = ",".join(("-all", *(f"+{name}" for name in sorted(held))))
    confined = ["setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={bounding}"]
    try:
        node.daemon(agents.DAEMON, [*confined, *saved["argv"], *flags], saved["environment"])
        agents.wait(node)
    except LabError:
        pass  # the log has why
    finally:
        (node.home / f"{agents.DAEMON}.json").write_text(json.dumps(saved))
    return log.read_bytes()[before:].decode(errors="replace")


def test_the_given_ones_are_enough_for_all_that_an_agent_does(echo_socket: Echo) -> None:
    """It starts, moves everything to maps of another size, and a pod of before and a new one ask a service."""
    lab = echo_socket.cluster
    node = lab.site.machine("n3")
    try:
        said = start(node, given(), "--max-services=70000")
        assert agents.is_ready(node), said
        new = use.idle(lab, "under-capabilities", "n3")
        for address in echo_socket.ips("echo"):
            assert new.ask("tcp", address, 80, 5).names
        lab.delete("under-capabilities", "default", grace_s=0)
    finally:
        agents.stop(node)
        agents.start_again(node)
    agents.wait(node)
    assert "permitted" not in said
    assert " ERROR " not in said


@pytest.mark.parametrize("name", sorted(given()))
def test_without_one_of_them_the_agent_ends_and_names_it(echo_socket: Echo, name: str) -> None:
    node = echo_socket.cluster.site.machine("n3")
    said = start(node, given() - {name})
    is_running = agents.is_ready(node)
    agents.start_again(node)
    agents.wait(node)
    assert not is_running
    last = said.strip().splitlines()[-1]
    assert last.startswith("sluiceway-agent: ")
    assert last.endswith(f"give the process CAP_{name.upper()}")


CALLS = (
    ("net_admin", "from pyroute2 import IPRoute; IPRoute().link('add', ifname='without', kind='bridge')"),
    ("net_raw", "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)"),
    # by which iptables-legacy speaks to the kernel
    ("net_raw", "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)"),
    ("sys_chroot", "import os; os.chroot('/')"),
    (
        "sys_admin",
        (
            "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); "
            "failed = libc.setns(os.open('/proc/self/ns/net', os.O_RDONLY), 0x40000000); "
            "print(os.strerror(ctypes.get_errno())); assert not failed"
        ),
    ),
)


@pytest.mark.parametrize(("name", "code"), CALLS)
def test_the_kernel_refuses_the_call_that_needs_it(echo_socket: Echo, name: str, code: str) -> None:
    """With all others it is refused: no other of them stands for it."""
    node = echo_socket.cluster.site.machine("n3")
    inside = ["unshare", "--net", "setpriv", "--no-new-privs"]  # what is made there goes with it
    call = [sys.executable, "-c", code]
    assert node.run(*inside, *call).returncode == 0
    done = node.run(*inside, f"--bounding-set=-{name}", *call, check=False)
    assert done.returncode != 0
    assert "Operation not permitted" in done.stdout + done.stderr


def test_the_manifest_gives_what_the_agent_asks_for() -> None:
    asked = {each.name.removeprefix("CAP_").lower() for each in capabilities.needed(Options())}
    assert given() == asked
    most = capabilities.needed(Options(l2_announce=L2Announce.ON, networks=True), is_in_pod=True)
    assert {each.name for each in most} == {f"CAP_{name.upper()}" for name, _ in CALLS}
