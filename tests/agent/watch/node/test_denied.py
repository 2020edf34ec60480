"""The file of ranges to deny is followed: written to, exchanged, taken away and put back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.model.cluster import Cluster
from agent.threads import Threads
from agent.watch.mirror import Mirror
from agent.watch.node.denied import DeniedSource
from maps import abi
from tests.agent.watch.conftest import Seen


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is to be."""
    (tmp_path / "lists").mkdir()
    return tmp_path / "lists" / "denied.txt"


@pytest.fixture
def followed(path: Path, seen: Seen) -> Iterator[DeniedSource]:
    """The file, that denies one range, followed."""
    path.write_text("192.0.2.0/24\n")
    source = DeniedSource(path, Mirror(seen.take, (), denies=True), Threads())
    source.start()
    seen.until(lambda cluster: ranges(cluster) == 1)
    yield source
    source.stop()


def ranges(cluster: Cluster) -> int:
    """How many are denied."""
    return len(cluster.denied.values) // abi.DeniedPrefix.SIZE


@pytest.mark.usefixtures("followed")
def test_what_is_written_to_it_counts(path: Path, seen: Seen) -> None:
    path.write_text("192.0.2.0/24\nnonsense\n198.51.100.0/24\n")
    cluster = seen.until(lambda cluster: ranges(cluster) == 2)
    assert [problem.field for problem in cluster.problems] == ["line 2"]
    path.write_text("192.0.2.0/24\n")
    assert seen.until(lambda cluster: ranges(cluster) == 1).problems == ()


@pytest.mark.usefixtures("followed")
def test_another_file_in_its_place_counts(path: Path, seen: Seen) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text("192.0.2.0/24\n198.51.100.0/24\n203.0.113.0/24\n")
    fresh.rename(path)
    seen.until(lambda cluster: ranges(cluster) == 3)


@pytest.mark.usefixtures("followed")
def test_without_it_what_it_said_holds_and_that_is_told(path: Path, seen: Seen) -> None:
    path.unlink()
    cluster = seen.until(lambda cluster: cluster.problems)
    assert ranges(cluster) == 1
    assert "cannot be read" in cluster.problems[0].text
    path.write_text("192.0.2.0/24\n198.51.100.0/24\n")
    assert seen.until(lambda cluster: ranges(cluster) == 2).problems == ()


def test_as_a_volumes_file_behind_links_it_is_exchanged(tmp_path: Path, seen: Seen) -> None:
    folder = tmp_path / "volume"
    for version, text in (("..1", "192.0.2.0/24\n"), ("..2", "192.0.2.0/24\n198.51.100.0/24\n")):
        (folder / version).mkdir(parents=True)
        (folder / version / "denied.txt").write_text(text)
    (folder / "..data").symlink_to("..1")
    (folder / "denied.txt").symlink_to("..data/denied.txt")
    source = DeniedSource(folder / "denied.txt", Mirror(seen.take, (), denies=True), Threads())
    source.start()
    try:
        seen.until(lambda cluster: ranges(cluster) == 1)
        (folder / "..data_tmp").symlink_to("..2")
        (folder / "..data_tmp").rename(folder / "..data")
        seen.until(lambda cluster: ranges(cluster) == 2)
    finally:
        source.stop()


def test_until_it_was_looked_for_the_cluster_is_not_known(path: Path, seen: Seen) -> None:
    mirror = Mirror(seen.take, (), denies=True)
    assert "the ranges to deny" in mirror.missing()
    source = DeniedSource(path, mirror, Threads())  # there is no file
    source.start()
    try:
        seen.until(lambda cluster: cluster.problems)
    finally:
        source.stop()
    assert "the ranges to deny" not in mirror.missing()
