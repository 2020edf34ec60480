"""The real command on real pinned maps, with no agent in sight."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from ctypes import CDLL
from pathlib import Path
from typing import Any

import pytest

from maps import abi, libbpf, paths
from maps.libbpf import AttachType, Object
from maps.pins import Generation, PinRoot

pytestmark = pytest.mark.kernel

CLONE_NEWNET = 0x40000000
Dpctl = Callable[..., subprocess.CompletedProcess[str]]
Rows = Callable[..., list[dict[str, Any]]]
Pin = Callable[[PinRoot, str], Generation]


def test_a_service_shows_its_name_address_and_backends(rows: Rows) -> None:
    (service,) = rows("service", "list")
    assert service["service"] == "default/web"
    assert service["frontend"] == {"address": "10.96.0.1", "port": 80}
    assert service["backends"] == 2


def test_a_services_shares_are_shown(rows: Rows) -> None:
    shares = rows("service", "show", "default/web")
    assert [(row["scheduler"], row["backend"]["address"], row["weight"], row["open"]) for row in shares] == [
        ("maglev", "10.1.0.7", 1, None),
        ("maglev", "10.1.1.9", 1, None),
    ]


def test_backends_can_be_those_of_one_service(rows: Rows) -> None:
    backends = rows("backend", "list", "--service", "default/web")
    assert [(b["backend"]["address"], b["local"]) for b in backends] == [("10.1.1.9", False), ("10.1.0.7", True)]


def test_endpoints_are_the_node_and_its_pods(rows: Rows) -> None:
    assert [(e["address"], e["owner"], e["netns_cookie"]) for e in rows("endpoint", "list")] == [
        ("192.0.2.1", "node", 0),
        ("10.1.0.7", "pod", 77),
    ]


def test_a_translated_flow_is_one_row(rows: Rows) -> None:
    (flow,) = rows("conntrack", "list")
    assert [flow[end]["address"] for end in ("client", "service", "backend")] == ["10.1.0.7", "10.96.0.1", "10.1.1.9"]
    assert (flow["service_name"], flow["state"], flow["direction"]) == ("default/web:http", "established", "out")
    assert flow["idle_s"] < 3600, "it was made in this session"


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        pytest.param(("--address", "10.1.1.9"), 1, id="by an address of any end"),
        pytest.param(("--address", "10.1.0.0/16"), 1, id="by a network"),
        pytest.param(("--address", "fd00::/8"), 0, id="not by a network of the other family"),
        pytest.param(("--port", "8080", "--protocol", "tcp"), 1, id="by the backend's port and the protocol"),
        pytest.param(("--protocol", "17"), 0, id="not by another protocol"),
        pytest.param(("--service", "default/web", "--state", "established"), 1, id="by service and state"),
        pytest.param(("--state", "new"), 0, id="not by another state"),
        pytest.param(("--limit", "1"), 1, id="so many"),
    ],
)
def test_flows_are_filtered(rows: Rows, arguments: tuple[str, ...], count: int) -> None:
    assert len(rows("conntrack", "list", *arguments)) == count


def test_who_has_most_of_the_flow_table_comes_first(rows: Rows, dpctl: Dpctl) -> None:
    found = rows("conntrack", "top")
    assert [(row["owner"], row["entries"], row["refused"], row["portless"]) for row in found] == [
        ("slot 2", 40, 3, 1),
        ("(this node)", 5, 0, 0),
    ]
    assert found[0]["ago_s"] < 60
    assert found[1]["ago_s"] is None
    assert [row["owner"] for row in rows("conntrack", "top", "--limit", "1")] == ["slot 2"]
    assert "OWNER" in dpctl("conntrack", "top").stdout


def test_a_map_shows_how_full_it_is_and_where_it_is_pinned(rows: Rows, node: Path) -> None:
    maps = {row["name"]: row for row in rows("map", "list")}
    assert maps.keys() == abi.MAPS.keys()
    backends = maps["backends"]
    assert (backends["used"], backends["max_entries"], backends["kind"]) == (2, 128, "hash")
    assert Path(backends["pin"]).is_relative_to(node)
    assert backends["octets"] > 0


def test_a_dump_is_typed_by_the_map_itself(rows: Rows, dpctl: Dpctl) -> None:
    (service,) = rows("map", "dump", "services")
    assert service["key"] == {"addr": "10.96.0.1", "port": 80, "protocol": 6, "scope": 0}
    titles, only = dpctl("map", "dump", "services").stdout.splitlines()
    assert titles.split()[:2] == ["KEY.ADDR", "KEY.PORT"]
    assert only.split()[:2] == ["10.96.0.1", "80"]


def test_every_map_can_be_dumped(rows: Rows) -> None:
    for name in abi.MAPS:
        assert isinstance(rows("map", "dump", name, "--limit", "3"), list)


def test_status_says_that_the_agent_is_dead_and_flows_go_on(rows: Rows, dpctl: Dpctl) -> None:
    about = {row["about"]: row for row in rows("status")}
    assert about["agent"]["state"] == "not running"
    assert about["generation"]["values"] == {"in_use": True, "known_layout": True}
    assert about["socket hook"]["state"] == "off"
    assert about["flows"]["values"]["flows"] == 2
    assert "not running" in dpctl("status").stdout


def test_status_names_the_process_that_holds_the_lock_and_leaves_it_the_lock(bpffs: Path, dpctl_on: Dpctl) -> None:
    root = PinRoot(bpffs / "sluiceway")
    holder = (
        "import sys, pathlib; from maps.pins import PinRoot;"
        "r = PinRoot(pathlib.Path(sys.argv[1])); r.lock(); print('locked', flush=True); input(); r.unlock(); r.lock()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(root.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stdout
        assert agent.stdin
        assert agent.stdout.readline() == "locked\n"
        status = json.loads(dpctl_on(root.path, "status", "-o", "json").stdout)
        agent.stdin.write("\n")
    assert agent.returncode == 0
    assert {"pid": agent.pid} in [row.get("values") for row in status]


def test_status_shows_links_on_devices_and_who_is_on_them(bpffs: Path, dpctl_on: Dpctl) -> None:
    """In a network namespace that ends with the thread, on its loopback device."""
    root = PinRoot(bpffs / "sluiceway")
    root.links.mkdir(parents=True)
    answers: list[subprocess.CompletedProcess[str]] = []

    def on_a_node() -> None:
        assert CDLL(None).unshare(CLONE_NEWNET) == 0
        with Object.open(paths.objects() / "tc_pod.bpf.o") as program:
            program.load()
            link = libbpf.link_create(program.program_fd("pod_ingress"), 1, AttachType.TCX_INGRESS)
            libbpf.pin(link, root.links / "pod_ingress-1")
        answers.append(dpctl_on(root.path, "status", "-o", "json"))
        libbpf.link_detach(link)

    thread = threading.Thread(target=on_a_node)
    thread.start()
    thread.join()
    (link,) = [row for row in json.loads(answers[0].stdout) if row["about"] == "link"]
    assert (link["name"], link["hook"], link["where"], link["program"]) == (
        "pod_ingress-1",
        "tcx ingress",
        "lo",
        "pod_ingress",
    )


def test_another_builds_layout_is_dumped_but_not_interpreted(bpffs: Path, dpctl_on: Dpctl, pin_generation: Pin) -> None:
    root = PinRoot(bpffs / "sluiceway")
    root.path.mkdir()
    root.make_current(pin_generation(root, "0123456789ab-01234567"))
    refused = dpctl_on(root.path, "service", "list")
    assert refused.returncode == 1
    assert "dpctl map dump" in refused.stderr
    assert dpctl_on(root.path, "map", "dump", "services", "-o", "json").stdout == "[]\n"
    assert dpctl_on(root.path, "map", "list").returncode == 0
    assert "another build's layout" in dpctl_on(root.path, "status").stdout


def test_the_environment_names_the_pin_root(dpctl: Dpctl, node: Path) -> None:
    assert "default/web" in dpctl("service", "list", SLUICEWAY_PIN_ROOT=str(node)).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(("backend", "list", "--service", "default/no"), 1, "dpctl service list", id="an absent service"),
        pytest.param(("conntrack", "list", "--service", "a/b"), 1, "dpctl service list", id="flows of an absent one"),
        pytest.param(("map", "dump", "teapots"), 1, "dpctl map list", id="an absent map"),
        pytest.param(("backend", "list", "--service", "web"), 2, "dpctl service list", id="a name without namespace"),
        pytest.param(("conntrack", "list", "--protocol", "carrier"), 2, "tcp, udp", id="an unknown protocol"),
        pytest.param(("conntrack", "list", "--address", "10.0.0"), 2, "10.0.0", id="half an address"),
        pytest.param(("teapot",), 2, "announce, backend, bgp, completion, conntrack, device", id="an unknown command"),
        pytest.param(
            ("service", "look"), 2, "dpctl service has no command 'look'; it has: list, show", id="an unknown verb"
        ),
        pytest.param(("service", "show", "a/b"), 1, "dpctl service list", id="shares of an absent service"),
        pytest.param(("conntrck", "list"), 2, "Do you mean: dpctl conntrack?", id="a command almost right"),
    ],
)
def test_an_error_names_the_next_command(dpctl: Dpctl, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = dpctl(*arguments)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert done.stdout == ""


def test_a_pin_root_that_is_not_there_is_no_agent_state(bpffs: Path, dpctl_on: Dpctl) -> None:
    done = dpctl_on(bpffs / "nowhere", "status")
    assert (done.returncode, "no agent has run here" in done.stderr) == (1, True)


def test_before_the_first_sync_status_is_the_next_command(bpffs: Path, dpctl_on: Dpctl) -> None:
    (bpffs / "sluiceway").mkdir()
    done = dpctl_on(bpffs / "sluiceway", "service", "list")
    assert (done.returncode, "status" in done.stderr) == (1, True)
    assert dpctl_on(bpffs / "sluiceway", "status").returncode == 0


def test_no_line_is_folded_when_piped(dpctl: Dpctl) -> None:
    lines = dpctl("map", "list", COLUMNS="40").stdout.splitlines()
    assert len(lines) > len(abi.MAPS)
    assert all(line.split()[-1].endswith("/" + line.split()[0]) for line in lines[1:])


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_reader_that_has_had_enough_ends_it_without_a_word(node: Path, form: str) -> None:
    command = [sys.executable, "-m", "dpctl", "--pin-root", str(node), "status", "-o", form]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        assert (running.stderr.read(), running.wait()) == (b"", -signal.SIGPIPE)
