"""The lines of `dpctl status` that say how the node is set up."""

from ipaddress import IPv6Address
from pathlib import Path

import pytest

from agent.model.name import ObjectName, Problem
from agent.reconcile.status import PartStatus, Status
from agent.serve.report import Report, Reporter
from dpctl.report import cluster_fact, last_report, part_table, problem_table
from dpctl.status import network_fact, xdp_fact
from maps import abi

NOWHERE = IPv6Address(0)


@pytest.mark.parametrize(
    ("ifindex", "port", "flags", "state", "note"),
    [
        pytest.param(0, 0, abi.NodeFlag(0), "native", "pods go outside under their own", id="natively"),
        pytest.param(7, 8472, abi.NodeFlag(0), "tunnel", "network 3 by device 7 to UDP port 8472; ", id="by a device"),
        pytest.param(7, 0, abi.NodeFlag.NODE_IPIP, "ipip", "headers of our own, with the MTU of device 7; ", id="IPIP"),
        pytest.param(7, 6081, abi.NodeFlag.NODE_GENEVE, "geneve", "VXLAN's header exchanged; ", id="Geneve exchanged"),
    ],
)
def test_the_way_between_nodes_is_named(ifindex: int, port: int, flags: abi.NodeFlag, state: str, note: str) -> None:
    node = abi.Node(NOWHERE, NOWHERE, 1, 1, 1024, 2048, 30000, 32767, ifindex, 3, port, flags, 8)
    fact = network_fact(node)
    assert fact.state == state
    assert note in fact.note


RUN = Path("/run/sluiceway")
PROBLEMS = (
    Problem("Service", ObjectName("default", "web"), "spec.ports[1]", "the same port twice"),
    Problem("Node", ObjectName("", "n1"), "net.ipv4.ip_local_port_range", "leaves no port"),
)


@pytest.mark.parametrize(
    ("report", "state", "note"),
    [
        pytest.param(None, "unknown", "no report in /run/sluiceway", id="no agent has reported"),
        pytest.param(
            Report("/p", 1000, Status(synced=True)),
            "synced",
            "no problems; reported 1 min 5 s ago",
            id="all is well",
        ),
        pytest.param(
            Report("/p", 1000, Status(error="a map is full")), "not synced yet", "a map is full; no", id="in the way"
        ),
        pytest.param(
            Report("/p", 1000, Status(), ("Service: not listed yet: HTTP 403: services is forbidden",)),
            "not synced yet",
            "Service: not listed yet: HTTP 403: services is forbidden; no problems",
            id="what is waited for, and why",
        ),
        pytest.param(
            Report("/p", 1000, Status(synced=True, problems=PROBLEMS)), "synced", "2 problems; reported", id="problems"
        ),
        pytest.param(
            Report("/p", 2000, Status(synced=True)), "synced", "reported 0 s ago", id="a clock that was set back"
        ),
    ],
)
def test_the_agents_last_report_is_shown_with_its_age(report: Report | None, state: str, note: str) -> None:
    fact = cluster_fact(report, RUN, now_s=1065)
    assert fact.state == state
    assert note in fact.note


def test_without_links_tc_has_all_that_comes_in() -> None:
    assert (xdp_fact([]).state, xdp_fact([]).note) == ("off", "tc has all that comes in from outside")


def test_problems_are_rows_by_kind_and_name() -> None:
    table = problem_table(Report("/p", 1000, Status(problems=PROBLEMS)))
    assert [line.split()[:3] for line in table.lines()] == [
        ["PROBLEM", "FIELD", "WHAT"],
        ["Node", "n1", "net.ipv4.ip_local_port_range"],
        ["Service", "default/web", "spec.ports[1]"],
    ]
    assert not problem_table(None).rows


def test_the_word_of_an_agent_with_other_pins_is_none_of_ours(tmp_path: Path) -> None:
    Reporter(tmp_path, Path("/other")).report(Status(synced=True))
    assert last_report(tmp_path, Path("/p")) is None
    assert last_report(tmp_path, Path("/other"))


def test_a_part_that_fails_is_named_with_what_is_in_the_way() -> None:
    parts = PartStatus("uplinks"), PartStatus("routes", "10.2.0.0/24: no way", 3)
    (row,) = part_table(Report("/p", 1000, Status(parts=parts))).rows
    assert (row.name, row.failures, row.error) == ("routes", 3, "10.2.0.0/24: no way")
