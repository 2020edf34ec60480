"""What `dpctl policy why` answers is what the documentation asks for, on random clusters, with names and without."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest

from agent.serve.policy_report import PolicyReporter
from dpctl.judge import PolicyMaps
from dpctl.names import Names
from dpctl.policy_why import Question, is_denied, party, why_table
from tests.bpf.conftest import loaded
from tests.bpf.datapath import OTHER, POD, Datapath
from tests.bpf.rules import Policed
from tests.policy.facts import Flow
from tests.policy.judged import Judged
from tests.policy.oracle import verdict
from tests.policy.worlds import Options, flows, world

pytestmark = pytest.mark.kernel

__all__ = ["loaded"]

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 1}
FLOWS = 60
PINS = Path("/p")


@pytest.mark.parametrize("seed", range(6))
def test_the_answer_is_what_the_documentation_asks_for(loaded: Datapath, seed: int, tmp_path: Path) -> None:
    rng = Random(seed)  # noqa: S311  no secret
    there = world(rng, Options())
    node = Judged(loaded, there.nodes[seed % len(there.nodes)]["metadata"]["name"])
    node.apply(there)
    PolicyReporter(tmp_path, PINS).report(node.rounds.desired)
    maps, names, nameless = PolicyMaps(loaded.tables), Names.of(tmp_path, PINS), Names()
    assert names.is_there
    seen = 0
    for flow in flows(there, rng, FLOWS, Options()):
        if not node.asks(flow):
            continue
        seen += 1
        allowed = verdict(there, flow, here=node.name).allowed
        for known in (names, nameless):
            table = why_table(maps, known, question(maps, known, flow))
            assert is_denied(table) is not allowed, (seed, flow, table.rows)
        for row in why_table(maps, names, question(maps, names, flow)).rows:
            is_by_rule = row.policy and (row.verdict == "accepted" or not row.policy.startswith("NetworkPolicy"))
            assert row.rule or not is_by_rule, (seed, flow, row)
    assert seen


def question(maps: PolicyMaps, names: Names, flow: Flow) -> Question:
    """As the command line asks it."""
    ends = (party(maps, names, str(address)) for address in (flow.source, flow.destination))
    client, server = ends
    return Question(client, server, PROTOCOLS[flow.protocol], flow.port or 0)


def test_a_pod_is_itself_at_each_of_its_interfaces(loaded: Datapath) -> None:
    maps = PolicyMaps(loaded.tables)
    for number, address in enumerate((POD, OTHER), 1):
        loaded.endpoint(address, number, f"02:00:00:00:00:0{number}")
    first, further = (maps.place(ip_address(address)) for address in (POD, OTHER))
    assert (maps.is_same_pod(first, first), maps.is_same_pod(first, further)) == (True, False)
    Policed(loaded).join(POD, OTHER)
    assert maps.is_same_pod(first, further)
    assert not maps.is_same_pod(first, replace(further, is_vf=True)), "whose programs know that interface alone"
    assert not maps.is_same_pod(replace(first, is_behind=True), further)
