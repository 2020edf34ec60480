"""The packets that were dropped last: rows from the ring, and the real command on real pins."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from agent.serve.policy_report import PodName, PolicyReport, PolicyReporter
from dpctl.drops import COLUMNS, DropFilter, DropNames, drop_rows, follow
from dpctl.explain import WAYS_OUT, WORDS, reasons
from dpctl.names import Names
from dpctl.output import Table
from maps import abi
from maps.abi import Direction, DropReason, Program
from maps.pins import Generation, PinRoot, generation_name
from maps.registry import open_table
from tests.dpctl import node as cast

Dpctl = Callable[..., subprocess.CompletedProcess[str]]
Pin = Callable[[PinRoot, str], Generation]
POD_INGRESS = Program.PROGRAM_POD * Direction.DIRECTIONS + Direction.DIRECTION_INGRESS
WEB, CLIENT, FAR = (IPv6Address(f"::ffff:10.{last}") for last in ("1.0.1", "1.0.2", "2.0.9"))
NAMES = Names(
    PolicyReport(
        pods={
            "shop/web": PodName(("10.1.0.1",), 1, 41),
            "shop/client": PodName(("10.1.0.2",), 2, 42),
            "shop/far": PodName(("10.2.0.9",)),
            "shop/went": PodName(("10.2.0.9",), is_ending=True),
        },
        nodes={"n2": ("192.0.2.2",)},
    )
)
KNOWN = DropNames(
    NAMES,
    {1: abi.Attachment(11, 1, 41, bytes(6), 0, 0), 2: abi.Attachment(12, 1, 99, bytes(6), 0, 0)},
    {3: "NetworkPolicy shop/web"},
)


def event(
    at_ns: int, reason: DropReason, src: IPv6Address = CLIENT, dst: IPv6Address = WEB, **fields: int
) -> abi.DropEvent:
    base: dict[str, Any] = {
        "sport": 40000,
        "dport": 80,
        "protocol": 6,
        "hook": POD_INGRESS,
        "flags": 0,
        "sender": 0,
        "receiver": 0,
        "policy": 0,
    }
    return abi.DropEvent(at_ns, src, dst, reason=reason, **{**base, **fields})


DENIED = event(5, DropReason.DROP_POLICY_INGRESS, src=FAR, receiver=1, policy=3)
AUDITED = event(7, DropReason.DROP_POLICY_EGRESS, sender=2, policy=9, flags=abi.DropFlag.DROP_AUDITED)
PLAIN = event(
    6, DropReason.DROP_VLAN, src=IPv6Address("::ffff:192.0.2.2"), dst=IPv6Address("2001:db8::7"), sport=0, dport=0
)
RING = [((1024, 7), AUDITED), ((0, 5), DENIED), ((1, 6), PLAIN)]


def test_drops_of_all_cpus_are_by_time_the_latest_last() -> None:
    rows = drop_rows(RING, KNOWN, DropFilter(), boot_s=1000.0)
    assert [row.reason for row in rows] == ["policy_ingress", "vlan", "policy_egress"]
    assert [row.program + " " + row.direction for row in rows] == ["pod ingress"] * 3


def test_what_policy_dropped_names_pods_and_the_policy() -> None:
    (row,) = drop_rows([RING[1]], KNOWN, DropFilter(), boot_s=1000.0)
    assert (row.source_name, row.destination_name, row.policy) == ("shop/far", "shop/web", "NetworkPolicy shop/web")
    assert not row.is_audited
    (cells,) = Table(COLUMNS, [row]).cells()
    assert cells[3:5] == ["shop/far (10.2.0.9:40000)", "shop/web (10.1.0.1:80)"]


def test_what_was_audited_is_told_from_what_was_dropped() -> None:
    (row,) = drop_rows([RING[0]], KNOWN, DropFilter(), boot_s=1000.0)
    assert row.is_audited
    assert row.policy == "policy 9", "it is in use no more"
    (cells,) = Table(COLUMNS, [row]).cells()
    assert cells[6].startswith("would be dropped (audited): ")


def test_a_slot_that_is_anothers_by_now_names_nobody() -> None:
    (row,) = drop_rows([RING[0]], DropNames(Names(), KNOWN.attachments, {}), DropFilter(), boot_s=0)
    assert (row.source_name, row.destination_name) == ("", "")
    by_slot = event(8, DropReason.DROP_POLICY_EGRESS, src=IPv6Address("fe80::1"), sender=2)
    (row,) = drop_rows([((0, 8), by_slot)], KNOWN, DropFilter(), boot_s=0)
    assert row.source_name == "", "attachment 99 is not 42"


def test_a_packet_without_ports_shows_none_and_a_node_has_its_name() -> None:
    (row,) = drop_rows([RING[2]], KNOWN, DropFilter(), boot_s=0)
    (cells,) = Table(COLUMNS, [row]).cells()
    assert cells[3:5] == ["n2 (192.0.2.2)", "2001:db8::7"]
    (row,) = drop_rows([((0, 5), event(5, DropReason.DROP_VLAN, protocol=1))], KNOWN, DropFilter(), boot_s=0)
    assert Table(COLUMNS, [row]).cells()[0][3] == "shop/client (10.1.0.2)", "an echo's identifier is no port"


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        pytest.param(DropFilter(reasons=("vlan", "arp")), ["vlan"], id="by reason"),
        pytest.param(DropFilter(pod="shop/client"), ["policy_egress"], id="by a pod at either end"),
        pytest.param(DropFilter(limit=2), ["vlan", "policy_egress"], id="the latest so many"),
    ],
)
def test_drops_are_filtered(chosen: DropFilter, expected: list[str]) -> None:
    assert [row.reason for row in drop_rows(RING, KNOWN, chosen, boot_s=0)] == expected


def test_every_reason_has_words() -> None:
    assert set(WORDS) == set(reasons())
    assert WAYS_OUT.keys() <= WORDS.keys()


def test_a_table_that_goes_on_keeps_its_columns() -> None:
    widths: list[int] = []
    rows = drop_rows(RING, KNOWN, DropFilter(), boot_s=0)
    first = [*Table(COLUMNS, rows[:1]).lines_after(widths)]
    later = [*Table(COLUMNS, rows[1:]).lines_after(widths)]
    assert first[0].startswith("TIME")
    assert len(later) == 2, "no titles again"
    assert first[1].index("pod ingress") == later[0].index("pod ingress")
    assert later[0].index("vlan") == later[1].index("policy_egress")


@pytest.fixture(scope="module")
def generation(bpffs_of: Callable[[], Path], pin_generation: Pin) -> Generation:
    root = PinRoot(bpffs_of() / "sluiceway")
    root.path.mkdir()
    generation = pin_generation(root, generation_name(abi.LAYOUT, {}))
    root.make_current(generation)
    cast.write(cast.compiled(), generation)
    with closing(open_table(abi.DROPS, generation.maps)) as drops:
        assert drops.max_entries % abi.DROPS_KEPT == 0
        at = time.monotonic_ns()
        drops.update(
            [
                (3, event(at, DropReason.DROP_POLICY_INGRESS, receiver=1, policy=1)),
                (drops.max_entries - 1, event(at - 10**9, DropReason.DROP_VLAN)),
            ]
        )
    return generation


@pytest.fixture
def words(generation: Generation, tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    root = generation.maps.parent.parent
    PolicyReporter(tmp_path, root).report(cast.compiled())
    return root, ("drops", "--run-dir", str(tmp_path))


@pytest.mark.kernel
def test_the_last_drops_of_all_cpus(words: tuple[Path, tuple[str, ...]], dpctl_on: Dpctl) -> None:
    root, arguments = words
    done = dpctl_on(root, *arguments, "-o", "json")
    assert done.stderr == ""
    rows = json.loads(done.stdout)
    assert [row["reason"] for row in rows] == ["vlan", "policy_ingress"]
    assert rows[1]["policy"].split()[0] in {"NetworkPolicy", "ClusterNetworkPolicy"}
    assert (rows[1]["source_name"], rows[1]["destination_name"]) == ("shop/client", "shop/web")
    few = dpctl_on(root, *arguments, "--reason", "vlan", "--pod", "shop/web", "--limit", "1").stdout
    assert [line.split()[1:3] for line in few.splitlines()[1:]] == [["pod", "ingress"]]
    assert dpctl_on(root, "drops", "--reason", "teapot").returncode == 2


@pytest.mark.kernel
def test_it_goes_on_with_what_is_dropped(generation: Generation) -> None:
    def pause(_: float) -> None:
        with closing(open_table(abi.DROPS, generation.maps)) as drops:
            drops.update([(4, event(time.monotonic_ns(), DropReason.DROP_ARP))])

    batches = follow(lambda: generation, Names, DropFilter(limit=1), pause)
    assert [[row.reason for row in next(batches)] for _ in range(2)] == [["policy_ingress"], ["arp"]]


@pytest.mark.kernel
def test_follow_writes_each_row_at_once(words: tuple[Path, tuple[str, ...]]) -> None:
    root, arguments = words
    command = [sys.executable, "-m", "dpctl", "--pin-root", str(root), *arguments, "--follow", "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert json.loads(running.stdout.readline())["reason"] == "vlan"
        running.terminate()
        running.stdout.close()
