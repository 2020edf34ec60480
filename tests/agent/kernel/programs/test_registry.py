"""A map declared once in C is sized, written, put right, carried, counted and listed without a word in Python."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.kernel.programs.build import compiler
from agent.options.mounts import bpffs, read_mountinfo
from maps import paths

pytestmark = pytest.mark.kernel

PROBE = Path(__file__).with_name("added_map.py")
CHECKOUT = Path(paths.__file__).parents[1]
ADDED = """
struct gauge {
	__u32 level;
	__u32 seen LIVE;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct gauge);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} gauges SEC(".maps") AGENT_WRITES(95) SIZED_BY(max_services) REVISES(CHANGE);
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the agent's pieces did with a map that was added to a copy of the sources."""
    if compiler() is None:
        pytest.skip("no clang in PATH")
    copy, cache = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("cache")
    for room in ("agent", "bpf", "dpctl", "maps"):
        shutil.copytree(CHECKOUT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "build").mkdir()
    (copy / "build/libbpf").symlink_to(CHECKOUT / "build/libbpf")
    with (copy / "bpf/tc_pod.bpf.c").open("a") as source:
        source.write(ADDED)
    mounted = bpffs(read_mountinfo())
    assert mounted
    pins = mounted / f"sw-registry-{os.getpid()}"
    pins.mkdir()
    try:
        run(copy, "generate", cache)
        yield json.loads(run(copy, "try", cache, pins))
    finally:
        shutil.rmtree(pins)


def run(copy: Path, *words: str | Path) -> str:
    """The probe with the copy's packages; what it prints."""
    command, env = [sys.executable, "-P", str(PROBE), *map(str, words)], os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_has_its_place_in_the_order_of_writing(seen: dict[str, Any]) -> None:
    assert seen["order"][-4:] == ["service_addrs", "gauges", "kept_ports", "node"]


def test_it_is_as_large_as_the_option_says(seen: dict[str, Any]) -> None:
    assert seen["sizes"] == [2048, 2048, 4096, 4096]


def test_it_is_carried_into_the_next_generation(seen: dict[str, Any]) -> None:
    assert seen["carried"]


def test_the_metrics_count_it(seen: dict[str, Any]) -> None:
    assert seen["counted"] == 1


def test_dpctl_lists_it(seen: dict[str, Any]) -> None:
    assert seen["listed"] == 1


def test_an_owners_records_are_planned_and_written_and_raise_the_revision(seen: dict[str, Any]) -> None:
    tracker = seen["tracker"]
    assert (tracker["planned"], tracker["written"]) == (2 + 1, True)  # and the node's record
    assert tracker["revised"] == 1  # it is declared so


def test_what_the_programs_keep_in_it_is_not_compared(seen: dict[str, Any]) -> None:
    assert seen["tracker"]["left alone"] == 0


def test_a_resync_puts_it_right(seen: dict[str, Any]) -> None:
    tracker = seen["tracker"]
    assert (tracker["put right"], tracker["is as wanted"]) == (2 + 1, True)


def test_what_does_not_fit_is_refused_with_the_flag_that_makes_it_larger(seen: dict[str, Any]) -> None:
    assert seen["tracker"]["refused"] == "gauges is full: 2048 entries, 2049 wanted; raise --max-services"
