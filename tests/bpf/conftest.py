"""The datapath is loaded once; each test finds its maps empty."""

from collections.abc import Iterator

import pytest

from tests.bpf.datapath import Datapath


@pytest.fixture(scope="session")
def loaded() -> Iterator[Datapath]:
    """The programs, with what the test before left in the maps."""
    datapath = Datapath.load()
    yield datapath
    datapath.close()


@pytest.fixture
def node(loaded: Datapath) -> Datapath:
    """A node with its pod, a neighbour and no service."""
    loaded.reset()
    return loaded
