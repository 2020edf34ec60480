"""Pinned maps of the shipped layout, in a bpffs of the tests' own that is gone afterwards, and the real command."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from agent.kernel.programs.build import NAMES, XDP_POD
from maps import abi, flow_arrays, paths
from maps.object import Object
from maps.pins import Generation, PinRoot, generation_name
from maps.registry import open_table

Dpctl = Callable[..., subprocess.CompletedProcess[str]]
SIZES = {"services": 64, "backends": 128, "flows": 256}
COMMAND = "import sys; from dpctl.app import main; sys.exit(main())"


def address(text: str) -> IPv6Address:
    """An address as maps hold it."""
    return IPv6Address(text if ":" in text else f"::ffff:{text}")


def run(root: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """What dpctl says of a pin root."""
    argv = [sys.executable, "-c", COMMAND, *(("--pin-root", str(root)) if "SLUICEWAY_PIN_ROOT" not in environ else ())]
    env = os.environ | environ
    return subprocess.run([*argv, *arguments], capture_output=True, text=True, check=False, env=env)


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """A bpffs on a new folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "bpf", "swtest-dpctl", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def pin_maps(root: PinRoot, name: str) -> Generation:
    """A generation with every map of the node's objects, none of their programs."""
    generation = root.generation(name)
    for path in sorted(paths.objects() / f"{each}.bpf.o" for each in NAMES if each != XDP_POD):
        with Object.open(path) as program:
            for function in program.programs():
                program.autoload(function, load=False)
            elements = flow_arrays.elements(SIZES)
            for resized in elements.keys() & set(program.maps()):
                program.resize(resized, elements[resized])
            generation.adopt(program)
            program.load()
            if "flow_seeds" in program.maps():
                flow_arrays.draw_seed(program.map_fd("flow_seeds"))
            generation.keep(program)
    return generation


def fill(generation: Generation) -> None:
    """One service with two backends, the node and one pod, and a translated flow between them."""
    now_s = time.monotonic_ns() >> abi.SEEN_BITS
    none = abi.PeerLocation(0, 0, 0)
    client, service, backend = address("10.1.0.7"), address("10.96.0.1"), address("10.1.1.9")
    forward = abi.FlowFlag.FLOW_FORWARD
    answer = abi.FlowFlag.FLOW_REVERSE | abi.FlowFlag.FLOW_REPLIED
    flows = [
        (
            abi.FlowKey(client, service, 40000, 80, 6, 0, 0),
            abi.Flow(1, forward, client, backend, 40000, 8080, (none, none), 1, now_s, 1, 0, 0, 0),
        ),
        (
            abi.FlowKey(client, backend, 40000, 8080, 6, 0, 0),
            abi.Flow(2, answer, service, client, 80, 40000, (none, none), 1, now_s, 0, 0, 0, 0),
        ),
    ]
    contents: dict[Any, list[tuple[Any, Any]]] = {
        abi.BACKEND_SETS: [(1, abi.BackendSet("default/web:http/TCP/IPv4/all"))],
        abi.SERVICES: [(abi.ServiceKey(service, 80, 6, 0), abi.Service(1, 0, 2, 1, 0, 0, 0))],
        abi.BACKENDS: [
            (abi.BackendKey(1, 0), abi.Backend(backend, 8080, 0, 1)),
            (abi.BackendKey(1, 1), abi.Backend(client, 8080, 1, 1)),
        ],
        abi.ENDPOINTS: [
            (address("192.0.2.1"), abi.Endpoint(0, 1)),
            (client, abi.Endpoint(2, 0)),
        ],
        abi.ATTACHMENTS: [(2, abi.Attachment(17, 1, 3, b"\2\0\0\0\0\1", 0, 0))],
        abi.POD_NETNS: [(77, abi.PodAddresses(client, IPv6Address(0)))],
        abi.FLOWS: flows,
        abi.NODE: [(0, abi.Node(address("192.0.2.1"), IPv6Address(0), 1, 5, 1024, 29999, 30000, 32767, 0, 0, 0, 0, 0))],
        abi.LOAD_WALKS: [(0, abi.LoadWalk(7, 0, 0))],
        abi.SHARES: [
            (abi.SHARE_OUTSIDE, abi.Share(abi.Load(0, 0, 7), 0, 0, 0, 0, 0)),
            (abi.SHARE_NODE, abi.Share(abi.Load(5, 0, 7), 0, 0, 0, 0, 0)),
            (abi.SHARE_PODS + 2, abi.Share(abi.Load(40, 0, 7), 0, 3, 1, now_s, 1)),
            (abi.SHARE_PODS + 3, abi.Share(abi.Load(90, 0, 7), 0, 0, 0, 0, 0)),
        ],
        abi.GC_RUNS: [(0, abi.GcRun(4, 9, time.monotonic_ns(), 2, 1))],
    }
    with ExitStack() as stack:
        for spec, entries in contents.items():
            table = open_table(spec, generation.maps)
            stack.callback(table.close)
            table.update(entries)


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    """A bpffs of one test."""
    with mounted(tmp_path / "bpf") as folder:
        yield folder


@pytest.fixture(scope="module")
def bpffs_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Path]]:
    """What makes a bpffs that one module's tests share."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(mounted(tmp_path_factory.mktemp("dpctl") / "bpf"))


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The pin root of a node whose agent is dead."""
    with mounted(tmp_path_factory.mktemp("dpctl") / "bpf") as folder:
        root = PinRoot(folder / "sluiceway")
        root.links.mkdir(parents=True)
        generation = pin_maps(root, generation_name(abi.LAYOUT, SIZES))
        fill(generation)
        root.make_current(generation)
        yield root.path


@pytest.fixture(scope="session")
def dpctl(node: Path) -> Dpctl:
    """The command on that node: from its arguments to its exit code and output."""
    return lambda *arguments, **environ: run(node, *arguments, **environ)


@pytest.fixture(scope="session")
def rows(dpctl: Dpctl) -> Callable[..., list[dict[str, Any]]]:
    """The rows of a command as JSON has them."""

    def read(*arguments: str) -> list[dict[str, Any]]:
        done = dpctl(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    return read


@pytest.fixture(scope="session")
def dpctl_on() -> Dpctl:
    """The command on any pin root, the first word."""
    return run


@pytest.fixture(scope="session")
def pin_generation() -> Callable[[PinRoot, str], Generation]:
    """What pins the shipped maps, empty, as a generation of a name."""
    return pin_maps
