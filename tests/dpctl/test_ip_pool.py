"""Pools and this node's blocks, as the agent's report has them."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent.serve.ip_pool_report import IpPoolReporter
from dpctl.errors import Absent
from dpctl.ip_pool import block_table, pool_table
from dpctl.output import json_rows
from tests.agent.ipam.block_world import pool, world


def rows(table: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in json_rows(table.rows)]


def test_pools_and_blocks_are_shown_with_what_pods_have(tmp_path: Path) -> None:
    with pytest.raises(Absent, match="--ip-pools on"):
        pool_table(tmp_path)
    _, (one, other) = world(
        pool("lan", "10.60.0.0/24", blockSize={"ipv4": 28}, assignment="Automatic"),
        pool("v100", "10.9.0.0/24", network="vlan100", gateways=["10.9.0.1"]),
    )
    reporter = IpPoolReporter(tmp_path, "n1", one.addresses, clock=lambda: one.now)
    one.give("lan")
    one.give("v100", network="vlan100")
    other.give("lan")
    reporter.report(one.cluster())
    pools, blocks = rows(pool_table(tmp_path)), rows(block_table(tmp_path))
    assert [(row["name"], row["blocks"], row["nodes"], row["network"]) for row in pools] == [
        ("lan", 2, 2, ""),
        ("v100", 1, 1, "vlan100"),
    ]
    assert [(row["pool"], row["used"], row["used"] + row["free"]) for row in blocks] == [
        ("lan", 1, 16),
        ("v100", 1, 64),
    ]
    one.give("lan")
    reporter.report(one.cluster())
    assert rows(block_table(tmp_path))[0]["used"] == 1, "not again within a second"
    one.now += 1
    reporter.report(one.cluster())
    assert rows(block_table(tmp_path))[0]["used"] == 2
