"""A pod that begins flows without end: others' begin all the same, and the node says who it is."""

import json
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from lab import agents
from lab.machine import Machine
from tests.lab.conftest import BACKENDS, Echo, dropped
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

FLOOD = (sys.executable, "-I", "-S", str(Path(__file__).with_name("flood.py")))
DPCTL = str(Path(sys.prefix) / "bin" / "dpctl")
ENTRIES, DATAGRAMS = 4096, 3000
METRICS = f"http://127.0.0.1:{agents.METRICS_PORT}/metrics"
READ = f"import urllib.request; print(urllib.request.urlopen('{METRICS}').read().decode())"


def rows(node: Machine, *words: str) -> list[dict[str, Any]]:
    """What dpctl says."""
    found: list[dict[str, Any]] = json.loads(node.run(DPCTL, *words, "-o", "json").stdout)
    return found


def again(node: Machine, *flags: str) -> None:
    """Another agent, whose maps may be other ones."""
    agents.kill(node)
    agents.start_again(node, flags=flags)
    agents.wait(node)


@pytest.fixture
def small(echo_tc: Echo) -> Iterator[Echo]:
    """A node with a small flow table, whose pods are translated at tc."""
    node = echo_tc.asking.machine
    again(node, f"--max-flows={ENTRIES}")
    try:
        yield echo_tc
    finally:
        again(node)


@pytest.mark.timeout(900)
def test_a_pod_that_floods_is_named_and_harms_nobody_else(small: Echo) -> None:
    node, service = small.asking.machine, small.ips("echo")
    targets = [str(address) for address in small.cluster.site.outside.addresses]
    argv = [*FLOOD, service[0], "80", str(DATAGRAMS), *targets]
    sent, before, after = node.run(*argv, context=small.asking.context).stdout.split()
    assert int(sent) > ENTRIES // 2
    assert before == after, "the connection from before goes on"
    assert dropped(node, "flow_share")
    for kind, address in product(("tcp", "udp"), service):
        seen = small.other.ask(kind, address, 80, 20)
        assert (sum(seen.answers.values()), seen.errors) == (20, {})
        assert seen.names <= BACKENDS
    top = {row["owner"]: row for row in rows(node, "conntrack", "top")}
    assert top["default/asking"]["refused"] > 0
    assert top["default/other"]["refused"] == 0
    until(lambda: any(r["object"] == "default/asking" for r in rows(node, "status") if r["about"] == "problem"))
    metrics = node.run(sys.executable, "-c", READ).stdout
    assert 'sluiceway_flow_share_refused_total{owner="default/asking"}' in metrics
    assert 'sluiceway_flow_share_refused_total{owner="default/other"}' not in metrics
