"""A node on which a test starts agents, and what they have pinned there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from maps import abi, libbpf
from maps.pins import PinRoot
from maps.table import Table
from tests.netns.agents import Node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node of the test's own."""
    (tmp_path / "node").mkdir()
    made = Node.make(f"swagent{os.getpid()}", tmp_path / "node")
    yield made
    made.remove()


def services(node: Node) -> dict[abi.ServiceKey, abi.Service]:
    """The services in the maps."""
    generation = PinRoot(node.pins).current()
    assert generation
    table = Table.open(abi.SERVICES, generation.map_path("services"))
    try:
        return dict(table.items())
    finally:
        table.close()


def links(node: Node) -> dict[str, tuple[int, int]]:
    """Link id and program id by pin."""
    found = {}
    for path in (node.pins / "links").iterdir():
        fd = libbpf.get_pinned(path)
        info = libbpf.link_info(fd)
        os.close(fd)
        found[path.name] = (info.id, info.program_id)
    return found
