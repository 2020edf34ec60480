"""``dpctl announce list``: addresses of load balancers, which node announces each on the subnet, and since when.

What this node answers for is read from the maps; the rest is what its agent left in ``announce.json``.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from agent.model.address import mapped, unmapped
from agent.serve.announce_report import AddressLine, AnnounceReport, read
from dpctl.errors import Absent
from dpctl.netns import DeviceName, names_of
from dpctl.output import Column, Table
from dpctl.pinned import in_use, opened
from maps import abi
from maps.pins import PinRoot

NS = 10**9


@dataclass(frozen=True, slots=True)
class AnnounceRow:
    """One address."""

    address: str
    service: str  # namespace/name; empty where the maps alone have the address
    pool: str  # of which it is; empty where this node does not know the pools
    node: str  # that announces it; empty: none that is known
    is_here: bool  # and this node answers for it
    devices: tuple[str, ...]  # where it does
    since: str  # when the node was the one that announces it, as this node's agent heard; UTC
    note: str


@dataclass(frozen=True, slots=True)
class PoolRow:
    """One LoadBalancerPool."""

    pool: str
    ranges: tuple[str, ...]
    total: int
    used: int
    is_disabled: bool


COLUMNS: tuple[Column[AnnounceRow], ...] = (
    Column("ADDRESS", lambda r: r.address),
    Column("SERVICE", lambda r: r.service),
    Column("POOL", lambda r: r.pool),
    Column("NODE", lambda r: r.node),
    Column("HERE", lambda r: " ".join(r.devices)),
    Column("SINCE", lambda r: r.since),
    Column("NOTE", lambda r: r.note),
)
POOLS: tuple[Column[PoolRow], ...] = (
    Column("POOL", lambda r: r.pool),
    Column("ADDRESSES", lambda r: " ".join(r.ranges)),
    Column("TOTAL", lambda r: str(r.total), right=True),
    Column("USED", lambda r: str(r.used), right=True),
    Column("NOTE", lambda r: "disabled: nothing more is given" if r.is_disabled else ""),
)

Announced = Mapping[IPv6Address, Mapping[int, abi.Announced]]  # by address and device


def announce_rows(
    report: AnnounceReport, announced: Announced, announcing: abi.Announcing, device: DeviceName, now_ns: int
) -> list[AnnounceRow]:
    """Rows by address, of both sources; *now_ns* is CLOCK_BOOTTIME's."""
    known = {mapped(ip_address(one.address)): one for one in report.addresses}
    ordered = sorted({*known, *announced}, key=lambda a: (a.ipv4_mapped is None, a))
    nobody = AddressLine("", "")
    return [
        _row(address, known.get(address, nobody), report, announced.get(address, {}), announcing, device, now_ns)
        for address in ordered
    ]


def announce_table(root: PinRoot, run_dir: Path) -> Table[AnnounceRow]:
    """The addresses that are known on a node.

    Raises:
        Absent: no agent has left anything.
    """
    generation = in_use(root)
    report = _report(root, run_dir) or AnnounceReport()
    found: dict[IPv6Address, dict[int, abi.Announced]] = {}
    with (
        opened(generation, abi.ANNOUNCED) as announced,
        opened(generation, abi.ANNOUNCING) as times,
        opened(generation, abi.NODE) as nodes,
    ):
        for key, value in announced.items():
            found.setdefault(key.addr, {})[key.ifindex] = value
        node = nodes.get(0)
        device = names_of(node.netns_cookie if node else 0)
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return Table(COLUMNS, announce_rows(report, found, times.get(0) or abi.Announcing(0, 0), device, now_ns))


def pool_table(root: PinRoot, run_dir: Path) -> Table[PoolRow]:
    """The pools.

    Raises:
        Absent: this node does not know them.
    """
    report = _report(root, run_dir)
    if report is None or not report.knows_pools:
        raise Absent(
            "this node does not know the pools: the one that allocates does, which kubectl -n sluiceway get lease "
            "loadbalancer-pools names; type: kubectl get lbpool"
        )
    return Table(POOLS, [PoolRow(one.name, one.ranges, one.total, one.used, one.is_disabled) for one in report.pools])


def _report(root: PinRoot, run_dir: Path) -> AnnounceReport | None:
    report = read(run_dir)
    return report if report and report.pin_root == str(root.path) else None


def _row(  # noqa: PLR0913, PLR0917  what two sources say of one
    address: IPv6Address,
    line: AddressLine,
    report: AnnounceReport,
    here: Mapping[int, abi.Announced],
    announcing: abi.Announcing,
    device: DeviceName,
    now_ns: int,
) -> AnnounceRow:
    since = datetime.fromtimestamp(line.since_s, UTC).isoformat(timespec="seconds") if line.node else ""
    return AnnounceRow(
        address=str(unmapped(address)),
        service=line.service,
        pool=line.pool,
        node=line.node,
        is_here=bool(here),
        devices=tuple(device(ifindex) or f"device {ifindex}" for ifindex in sorted(here)),
        since=since,
        note=_nobodys(line, report)
        or _note(here.values(), announcing, now_ns, is_own=bool(line.node) and line.node == report.node),
    )


def _nobodys(line: AddressLine, report: AnnounceReport) -> str:
    """Why no node has an address that some would announce; empty where one has, or nobody knows."""
    is_nobodys = bool(line.service) and not line.node and bool(report.why_left_out)
    return f"no node may announce it; this one may not: {report.why_left_out}" if is_nobodys else ""


def _note(here: Iterable[abi.Announced], announcing: abi.Announcing, now_ns: int, *, is_own: bool) -> str:
    """What is not as it should be, of an address that this node answers for."""
    heard_ns = [one.heard_ns for one in here]
    if not heard_ns:
        return "not in the maps yet" if is_own else ""
    if now_ns >= announcing.until_ns:
        return "the agent is silent for too long: not answered any more"
    if now_ns < announcing.fresh_until_ns:
        return ""
    if max(heard_ns) >= announcing.fresh_until_ns:
        return "the lease has ended, and another host says that it has it: not answered any more"
    return f"the lease ended {(now_ns - announcing.fresh_until_ns) // NS} s ago: answered until another host has it"
