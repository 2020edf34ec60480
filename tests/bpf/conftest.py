"""One loaded datapath for each test."""

from collections.abc import Iterator

import pytest

from tests.bpf.datapath import Datapath


@pytest.fixture
def node() -> Iterator[Datapath]:
    """A node with its pod, a neighbour and no service."""
    datapath = Datapath.load()
    yield datapath
    datapath.close()
