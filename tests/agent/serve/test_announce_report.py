"""The file says which node announces each address and since when, over restarts, and of which pool it is."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.compile.leaving import EXCLUDED
from agent.compile.settings import Settings
from agent.model.address import parse_address
from agent.model.cluster import Cluster
from agent.model.lb_pool import AddressRange, LoadBalancerPool, PoolStatus
from agent.model.name import ObjectName
from agent.model.node import Node
from agent.model.service import Service
from agent.options.choices import L2Announce
from agent.serve import report_file
from agent.serve.announce_report import FILE, AddressLine, AnnounceReporter, PoolLine, read
from agent.watch.decode.kinds import ALLOCATED

PINS = Path("/sys/fs/bpf/x")
WEB, ADDRESS = ObjectName("default", "web"), parse_address("198.51.100.80")
SETTINGS = Settings("n1", l2_announce=L2Announce.ON)
POOL = LoadBalancerPool("edge", (AddressRange(ADDRESS, parse_address("198.51.100.89")),), status=PoolStatus(10, 1))
ALONE = Cluster(
    services={WEB: Service(WEB, (ADDRESS,), load_balancer=(ADDRESS,))}, announcers=frozenset({"n1"}), synced=True
)


def line(**more: object) -> AddressLine:
    made = AddressLine(str(ADDRESS), "default/web", "", "n1", 1000.0)
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def reporter(tmp_path: Path, now: list[float]) -> AnnounceReporter:
    return AnnounceReporter(tmp_path, PINS, SETTINGS, lambda: now[0])


def lines(run_dir: Path) -> tuple[AddressLine, ...]:
    found = read(run_dir)
    assert found is not None
    assert (found.pin_root, found.node) == (str(PINS), "n1")
    return found.addresses


def test_an_address_has_its_node_and_since_when_it_is_there(
    tmp_path: Path, now: list[float], reporter: AnnounceReporter
) -> None:
    reporter.report(ALONE)
    assert lines(tmp_path) == (line(),)
    now[0] = 1100.0
    other = replace(ALONE, services={**ALONE.services, ObjectName("a", "b"): Service(ObjectName("a", "b"))})
    reporter.report(other)
    assert lines(tmp_path) == (line(),), "it has not moved"
    now[0] = 1200.0
    again = AnnounceReporter(tmp_path, PINS, SETTINGS, lambda: now[0])
    again.report(ALONE)
    assert lines(tmp_path) == (line(),), "nor while the agent started anew"
    again.report(replace(ALONE, announcers=frozenset({"n2"})), now=True)
    assert lines(tmp_path) == (line(node="n2", since_s=1200.0),)
    elsewhere = AnnounceReporter(tmp_path, Path("/other"), SETTINGS, lambda: 1300.0)
    elsewhere.report(ALONE)
    found = read(tmp_path)
    assert found is not None
    assert found.addresses == (line(since_s=1300.0),), "another agent's is nothing to go by"


def test_a_node_that_is_left_out_says_why(tmp_path: Path, reporter: AnnounceReporter) -> None:
    left_out = Node("n1", labels=((EXCLUDED, ""),))
    reporter.report(replace(ALONE, nodes={"n1": left_out}))
    assert lines(tmp_path) == (line(node="", since_s=1000.0),)
    found = read(tmp_path)
    assert found is not None
    assert EXCLUDED in found.why_left_out
    reporter.report(replace(ALONE, nodes={"n1": replace(left_out, labels=())}), now=True)
    assert lines(tmp_path) == (line(),)
    found = read(tmp_path)
    assert found is not None
    assert found.why_left_out == ""


def test_a_service_without_a_place_has_no_line(tmp_path: Path, reporter: AnnounceReporter) -> None:
    reporter.report(ALONE)
    assert lines(tmp_path)
    reporter.report(ALONE, {next(iter(ALONE.services)): "no room"}, now=True)
    assert lines(tmp_path) == ()


def test_pools_are_told_where_they_are_known(tmp_path: Path, reporter: AnnounceReporter) -> None:
    reporter.report(ALONE)
    found = read(tmp_path)
    assert found is not None
    assert (found.knows_pools, found.pools) == (False, ())
    listed = frozenset(kind.name for kind in ALLOCATED)
    reporter.report(replace(ALONE, lb_pools={"edge": POOL}, listed=listed), now=True)
    found = read(tmp_path)
    assert found is not None
    assert found.addresses == (line(pool="edge"),)
    assert (found.knows_pools, found.pools) == (True, (PoolLine("edge", ("198.51.100.80-198.51.100.89",), 10, 1),))


def test_it_is_written_when_something_differs_and_not_too_often(
    tmp_path: Path, now: list[float], reporter: AnnounceReporter
) -> None:
    reporter.report(replace(ALONE, synced=False))
    assert read(tmp_path) is None, "not before all is known"
    reporter.report(ALONE)
    (tmp_path / FILE).unlink()
    moved = replace(ALONE, announcers=frozenset({"n2"}))
    reporter.report(moved)
    assert read(tmp_path) is None
    now[0] += 2
    reporter.report(moved)
    assert lines(tmp_path) == (line(node="n2", since_s=1002.0),)
    report_file.remove(tmp_path, [FILE])
    now[0] += 2
    reporter.report(moved)
    assert read(tmp_path) is None, "nothing differs"
