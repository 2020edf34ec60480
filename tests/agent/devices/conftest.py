"""What tests of the device plugin share."""

from pathlib import Path

import pytest

from tests.agent.devices.tree import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A node without devices."""
    return Tree(tmp_path / "node")
