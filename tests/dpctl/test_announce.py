"""Whose an announced address is, where it is announced, and what is amiss, out of maps and the agent's report."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.serve.announce_report import FILE, AddressLine, AnnounceReport, PoolLine
from dpctl.announce import announce_rows
from maps import abi
from maps.pins import PinRoot, generation_name
from maps.registry import open_table
from tests.dpctl.conftest import SIZES, Dpctl, address

HERE, ELSEWHERE, UNKNOWN = "198.51.100.1", "2001:db8::1", "198.51.100.9"
SINCE_S, SINCE = 1_800_000_000.0, "2027-01-15T08:00:00+00:00"
LINES = (
    AddressLine(ELSEWHERE, "default/far", "", "n2", SINCE_S),
    AddressLine(HERE, "default/web", "edge", "n1", SINCE_S),
)
REPORT = AnnounceReport("/p", "n1", LINES)
NOW, FRESH = 100 * 10**9, abi.Announcing(101 * 10**9, 110 * 10**9)


def record(heard_ns: int = 0) -> abi.Announced:
    return abi.Announced(bytes(6), heard_ns)


@pytest.mark.parametrize(
    ("heard_ns", "announcing", "note"),
    [
        pytest.param(0, FRESH, "", id="while the lease is fresh nothing is said"),
        pytest.param(NOW, FRESH, "", id="nor of another host, which is not heeded then"),
        pytest.param(0, abi.Announcing(NOW - 4 * 10**9, NOW + 1), "the lease ended 4 s ago: answered until", id="away"),
        pytest.param(NOW - 1, abi.Announcing(NOW - 9, NOW + 1), "another host says that it has it", id="taken over"),
        pytest.param(0, abi.Announcing(0, NOW), "the agent is silent for too long", id="the agent is dead"),
    ],
)
def test_of_an_address_that_is_announced_here(heard_ns: int, announcing: abi.Announcing, note: str) -> None:
    first, _ = announce_rows(REPORT, {address(HERE): {2: record(heard_ns)}}, announcing, lambda _: "eth0", NOW)
    assert (first.address, first.service, first.pool, first.node) == (HERE, "default/web", "edge", "n1")
    assert (first.is_here, first.devices, first.since) == (True, ("eth0",), SINCE)
    assert note in first.note
    assert bool(note) == bool(first.note)


def test_an_address_is_shown_from_either_source() -> None:
    here = {address(UNKNOWN): {3: record(), 2: record()}}
    rows = announce_rows(REPORT, here, FRESH, lambda _: "", NOW)
    assert [(row.address, row.node, row.is_here, row.devices, row.note) for row in rows] == [
        (HERE, "n1", False, (), "not in the maps yet"),
        (UNKNOWN, "", True, ("device 2", "device 3"), ""),
        (ELSEWHERE, "n2", False, (), ""),
    ]


def test_of_an_address_that_no_node_may_announce_it_is_said_why_this_one_may_not() -> None:
    report = AnnounceReport("/p", "n1", (AddressLine(HERE, "default/web"), LINES[0]), why_left_out="it is cordoned")
    rows = announce_rows(report, {}, FRESH, lambda _: "", NOW)
    assert [row.note for row in rows] == ["no node may announce it; this one may not: it is cordoned", ""]


@pytest.mark.kernel
def test_the_commands(bpffs: Path, tmp_path: Path, pin_generation: Callable[..., Any], dpctl_on: Dpctl) -> None:
    root = PinRoot(bpffs / "sluiceway")
    generation = pin_generation(root, generation_name(abi.LAYOUT, SIZES))
    root.make_current(generation)
    with closing(open_table(abi.ANNOUNCED, generation.maps)) as announced:
        announced.update([(abi.AnnouncedKey(address(HERE), 4_000), record())])

    def rows(*arguments: str) -> list[dict[str, Any]]:
        done = dpctl_on(root.path, *arguments, "--run-dir", str(tmp_path), "-o", "json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    assert [(row["address"], row["service"], row["is_here"]) for row in rows("announce", "list")] == [(HERE, "", True)]
    unknown = dpctl_on(root.path, "lb-pool", "list", "--run-dir", str(tmp_path))
    assert (unknown.returncode, "kubectl get lbpool" in unknown.stderr) == (1, True)
    pools = (PoolLine("edge", ("198.51.100.1-198.51.100.14",), 14, 1),)
    report = AnnounceReport(str(root.path), "n1", LINES, knows_pools=True, pools=pools)
    (tmp_path / FILE).write_bytes(msgspec.json.encode(report))
    assert [(row["address"], row["node"], row["is_here"], row["since"]) for row in rows("announce", "list")] == [
        (HERE, "n1", True, SINCE),
        (ELSEWHERE, "n2", False, SINCE),
    ]
    assert [(row["pool"], row["total"], row["used"]) for row in rows("lb-pool", "list")] == [("edge", 14, 1)]
    assert "edge" in dpctl_on(root.path, "announce", "list", "--run-dir", str(tmp_path)).stdout
