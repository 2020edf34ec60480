"""The datapath is loaded once, and each test finds its maps empty; the program that runs programs at once."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bpf.cpus import before_others
from tests.bpf.datapath import Datapath
from tests.bpf.uplink import apart


@pytest.fixture(scope="module", autouse=True)
def _own_loopback(request: pytest.FixtureRequest) -> Iterator[None]:
    """Programs are run on the loopback device, which they send to, and look for sockets: nobody else's are there."""
    if request.node.get_closest_marker("kernel") is None:
        yield
        return
    with apart():
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield


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


@pytest.fixture
def undisturbed() -> Iterator[None]:
    """The test's packets follow one another within a few units of the programs' clock, on a busy machine too."""
    with before_others():
        yield


@pytest.fixture(scope="session")
def one_bucket_loaded() -> Iterator[Datapath]:
    """The programs with a table of one bucket, which a test can fill."""
    datapath = Datapath.load(sizes={"flows": 1})
    yield datapath
    datapath.close()


@pytest.fixture
def one_bucket(one_bucket_loaded: Datapath) -> Datapath:
    """Such a node, its table still empty."""
    one_bucket_loaded.reset()
    return one_bucket_loaded


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that runs programs together."""
    made = tmp_path_factory.mktemp("at_once") / "at_once"
    source = Path(__file__).with_name("at_once.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-pthread", source, "-o", made], check=True)
    return made
