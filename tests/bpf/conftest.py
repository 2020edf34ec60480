"""The datapath is loaded once, and each test finds its maps empty; the program that runs programs at once."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that runs programs together."""
    made = tmp_path_factory.mktemp("at_once") / "at_once"
    source = Path(__file__).with_name("at_once.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-pthread", source, "-o", made], check=True)
    return made
