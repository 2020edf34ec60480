"""From outside through a node whose uplink has the XDP program to backends on another node, and back, by sockets."""

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bench import tools
from lab import agents, cluster, site, use
from lab.addresses import ROUTER
from lab.cluster import Cluster
from lab.machine import Machine
from lab.site import Options
from tests.lab.modes import PORT, ask, serve
from tests.lab.test_lossless import exchange
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

LARGE = 4 << 20  # bytes of a stream, there and back
ONE = 1000  # bytes of a datagram
EXTERNAL = ("192.0.2.80", "2001:db8::80")
SERVICE = """
kind: Service
metadata: {name: away}
spec:
  type: NodePort
  externalIPs: ["192.0.2.80", "2001:db8::80"]
  selector: {app: away}
  ipFamilyPolicy: RequireDualStack
  ports: [{name: tcp, port: 80, targetPort: tcp}, {name: udp, port: 80, targetPort: udp, protocol: UDP}]
"""
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes; the first one's uplink is a veth whose other end takes what XDP sends."""
    name = f"swlab-xdp-{os.getpid()}"
    try:
        up = cluster.up(name, Options(nodes=2, socket_lb=False), print)
        take_what_xdp_sends(up, tmp_path_factory.mktemp("pass"))
        yield up
    finally:
        site.remove(name)


def take_what_xdp_sends(made: Cluster, folder: Path) -> None:
    """Have the other end of the first node's uplink take it: a veth does so where it has a program itself."""
    program = made.site.folder / "pass.bpf.o"  # where machines see it
    program.write_bytes(tools.bpf_object("pass", folder, Path(__file__).parent).read_bytes())
    made.site.machine(ROUTER).run("ip", "link", "set", "n1", "xdpdrv", "obj", str(program), "sec", "xdp")


@pytest.fixture(scope="module")
def first(made: Cluster) -> Machine:
    """The first node, whose agent was told to have XDP natively on what is a veth."""
    node = made.site.machine("n1")
    assert facts(node)["xdp"]["state"] == "off"  # by itself it never is
    restart(node, "--xdp=native")
    assert facts(node)["xdp"]["state"] == "native"
    return node


@pytest.fixture(scope="module")
def node_port(made: Cluster, first: Machine) -> int:
    """The port of a service whose backend is on the second node."""
    _, service = serve(made, "far", "n2", PORT)
    port = int(service["spec"]["ports"][0]["nodePort"])
    for address in first.addresses:
        ask(use.host(made.site.outside), "udp", ONE, (str(address), port))  # by now neighbours are known
    return port


def rows(node: Machine) -> list[dict[str, Any]]:
    """All that a node's status says."""
    found: list[dict[str, Any]] = json.loads(
        node.run(str(Path(sys.prefix) / "bin" / "dpctl"), "status", "-o", "json").stdout
    )
    return found


def facts(node: Machine) -> dict[str, dict[str, Any]]:
    """A node's facts, by what they are about."""
    return {row["about"]: row for row in rows(node) if "state" in row}


def counted(node: Machine, program: str, reason: str = "") -> int:
    """How many packets a program has sent on, or dropped for a reason, of what came in."""
    found = (r for r in rows(node) if (r.get("program"), r.get("direction")) == (program, "ingress"))
    return sum(int(r["packets"]) for r in found if r["reason"] == reason)


def restart(node: Machine, *flags: str) -> None:
    """The agent ends, and another one begins."""
    agents.stop(node)
    agents.start_again(node, flags=flags)
    agents.wait(node)
    if flags and "off" not in flags[0]:
        until(lambda: facts(node)["xdp"]["state"] != "off")


@FAMILIES
@pytest.mark.parametrize(("kind", "size"), [("tcp", LARGE), ("udp", ONE)])
def test_a_node_port_leads_to_another_node_and_back_by_xdp(
    made: Cluster, first: Machine, node_port: int, family: int, kind: str, size: int
) -> None:
    address = str(first.addresses[family])
    by_xdp, by_tc = counted(first, "xdp"), counted(first, "uplink")
    targets = [(address, node_port)] * (1 if kind == "tcp" else 50)
    seen = ask(use.host(made.site.outside), kind, size, *targets)
    assert seen == address  # under which the backend sees its client
    by_xdp, by_tc = counted(first, "xdp") - by_xdp, counted(first, "uplink") - by_tc
    assert by_xdp > (2 * LARGE // 1500 if kind == "tcp" else 90)
    assert by_tc < 10  # a neighbour's turn, what an end has to tell the stack


@FAMILIES
def test_an_external_address_leads_there_too_and_a_backend_that_leaves_is_replaced(
    made: Cluster, first: Machine, family: int
) -> None:
    outside = use.host(made.site.outside)
    made.apply(SERVICE)
    for name in ("one", "two"):
        use.serve(made, name, "n2", {"app": "away"})
    address, via = EXTERNAL[family], str(first.addresses[family])
    made.site.outside.run("ip", "route", "replace", address, "via", via)
    before = counted(first, "xdp")
    for kind in ("tcp", "udp"):
        seen = outside.ask(kind, address, 80, 40)
        assert (set(seen.names), dict(seen.errors)) == ({"one", "two"}, {})
    assert counted(first, "xdp") - before > 40 * 6
    made.delete("one")
    for kind in ("tcp", "udp"):
        seen = outside.ask(kind, address, 80, 10)
        assert (set(seen.names), dict(seen.errors)) == ({"two"}, {})
    made.delete("two")


@FAMILIES
def test_a_datagram_of_many_fragments_comes_through(made: Cluster, first: Machine, node_port: int, family: int) -> None:
    address = str(first.addresses[family])
    assert ask(use.host(made.site.outside), "udp", 9000, (address, node_port)) == address


@FAMILIES
def test_a_backend_on_the_node_itself_sees_the_client(made: Cluster, first: Machine, family: int) -> None:
    called = f"near{family}"
    _, service = serve(made, called, "n1", PORT)
    target = (str(first.addresses[family]), int(service["spec"]["ports"][0]["nodePort"]))
    client = str(made.site.outside.addresses[family])
    for kind, size in (("tcp", LARGE), ("udp", ONE)):
        assert ask(use.host(made.site.outside), kind, size, target) == client
    made.delete(called)


def test_the_program_is_exchanged_and_taken_off_without_loss(made: Cluster, first: Machine, node_port: int) -> None:
    enough = made.site.folder / "enough"
    targets = [(str(address), node_port) for address in first.addresses]
    with ThreadPoolExecutor() as pool:
        exchanged = pool.submit(exchange, use.host(made.site.outside), enough, targets)
        try:
            before = link(first)
            restart(first, "--xdp=native")
            adopted = link(first)
            agents.kill(first)
            agents.start_again(first, flags=["--xdp=native", "--max-services=70000"])  # other maps than before
            agents.wait(first)
            until(lambda: link(first)["program_id"] != adopted["program_id"])
            moved = link(first)
        finally:
            enough.touch()
        seen = exchanged.result()
    enough.unlink()
    assert seen["missing"] == {}
    assert seen["sent"] > 500
    assert before["name"] == adopted["name"] == moved["name"]
    assert before["program_id"] != adopted["program_id"]


def link(node: Machine) -> dict[str, Any]:
    """The row of the uplink's XDP link."""
    return next(row for row in rows(node) if row.get("name", "").startswith("uplink_xdp-"))


def test_denied_ranges_are_read_when_they_change(made: Cluster, first: Machine, node_port: int) -> None:
    outside, target = use.host(made.site.outside), (str(first.addresses[0]), node_port)
    file = made.site.folder / "denied.txt"
    file.write_text("203.0.113.0/24 # nobody here\nnonsense\n")
    restart(first, "--xdp=native", f"--xdp-deny-cidrs-file={file}")
    problems = [row for row in rows(first) if row["about"] == "problem"]
    assert [(row["object"], row["field"]) for row in problems] == [(str(file), "line 2")]
    assert ask(outside, "udp", ONE, target) == target[0]

    client = made.site.outside.addresses[0]
    fresh = file.with_suffix(".new")
    fresh.write_text(f"203.0.113.0/24\n{client}\n")
    fresh.rename(file)
    until(lambda: held(first) == 2)
    before = counted(first, "xdp", "denied_prefix")
    assert outside.ask("udp", *target, 1, use.SILENT_S).errors
    assert counted(first, "xdp", "denied_prefix") > before
    assert outside.ask("udp", str(first.addresses[1]), node_port, 1).answers  # of IPv6 nothing is denied

    file.write_text("203.0.113.0/24\n")
    until(lambda: held(first) == 1)
    assert ask(outside, "tcp", ONE, target) == target[0]


def held(node: Machine) -> int:
    """How many ranges the programs know."""
    return next(int(r["used"]) for r in rows(node) if r.get("name") == "denied_prefixes")


def test_what_cannot_be_denied_is_told(made: Cluster, first: Machine) -> None:
    file = made.site.folder / "denied.txt"
    file.write_text("203.0.113.0/24\n")
    agents.stop(first)
    agents.start_again(first, flags=["--xdp=auto", f"--xdp-deny-cidrs-file={file}"])
    agents.wait(first)
    until(lambda: any("--xdp generic" in row.get("error", "") for row in rows(first) if row["about"] == "part"))


def test_generic_mode_does_the_same(made: Cluster, first: Machine, node_port: int) -> None:
    restart(first, "--xdp=generic")
    assert facts(first)["xdp"]["state"] == "generic"
    _, service = serve(made, "here", "n1", PORT)
    here, outside = int(service["spec"]["ports"][0]["nodePort"]), use.host(made.site.outside)
    before = counted(first, "xdp")
    for own, client in zip(first.addresses, made.site.outside.addresses, strict=True):
        for kind, size in (("tcp", LARGE), ("udp", ONE)):
            assert ask(outside, kind, size, (str(own), node_port)) == str(own)
            assert ask(outside, kind, size, (str(own), here)) == str(client)  # past XDP, and by tc
    assert counted(first, "xdp") - before > 1000
    made.delete("here")


def test_switched_off_nothing_of_it_is_left(made: Cluster, first: Machine, node_port: int) -> None:
    restart(first, "--xdp=off")
    until(lambda: facts(first)["xdp"]["state"] == "off")
    assert "xdp" not in first.run("ip", "-o", "link", "show", "eth0").stdout
    before = counted(first, "xdp")
    for address in first.addresses:
        assert ask(use.host(made.site.outside), "tcp", LARGE, (str(address), node_port)) == str(address)
    assert counted(first, "xdp") == before


def test_cleanup_takes_the_program_off(first: Machine) -> None:
    restart(first, "--xdp=native")
    agents.stop(first)
    first.run(str(Path(sys.prefix) / "bin" / "sluiceway-agent"), "cleanup")
    assert "xdp" not in first.run("ip", "-o", "link", "show", "eth0").stdout
