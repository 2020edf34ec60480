"""The uplink at which all of these tests are."""

import os
from collections.abc import Iterator

import pytest

from tests.bpf.datapath import Datapath
from tests.bpf.test_uplink import EXTERNAL_ADDRESS, NODE_PORT
from tests.bpf.uplink import NEIGHBORS, routed
from tests.bpf.uplink_xdp.xdp import turn


@pytest.fixture(params=[NODE_PORT, EXTERNAL_ADDRESS])
def at(request: pytest.FixtureRequest) -> str:
    """Where clients outside find the service."""
    return str(request.param)


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    """The uplink, in a namespace that has routes and knows its neighbours."""
    with routed(NEIGHBORS) as ifindex:
        yield ifindex


@pytest.fixture(scope="module", autouse=True)
def _one_cpu() -> Iterator[None]:
    """Copies of flows, and the latest drops, are a CPU's own."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(autouse=True)
def _fresh_turns(node: Datapath) -> None:
    """No neighbour has been sent to."""
    turn(node, seen_s=0)
