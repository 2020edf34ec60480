"""``dpctl ip-pool``: pools of pods' addresses as this node's agent knows them, and the blocks that the node has."""

from pathlib import Path

from agent.serve.ip_pool_report import BlockLine, IpPoolReport, PoolLine, read
from dpctl.errors import Absent
from dpctl.output import Column, Table

POOLS: tuple[Column[PoolLine], ...] = (
    Column("POOL", lambda r: r.name),
    Column("ADDRESSES", lambda r: " ".join(r.cidrs)),
    Column("NETWORK", lambda r: r.network),
    Column("FOR", lambda r: "pods that its selectors mean" if r.is_automatic else "who names it"),
    Column("BLOCKS", lambda r: str(r.blocks), right=True),
    Column("NODES", lambda r: str(r.nodes), right=True),
    Column("NOTE", lambda r: "disabled: nothing more is given" if r.is_disabled else ""),
)
BLOCKS: tuple[Column[BlockLine], ...] = (
    Column("BLOCK", lambda r: r.cidr),
    Column("POOL", lambda r: r.pool),
    Column("NETWORK", lambda r: r.network),
    Column("USED", lambda r: str(r.used), right=True),
    Column("FREE", lambda r: str(r.free), right=True),
)


def pool_table(run_dir: Path) -> Table[PoolLine]:
    """All pools."""
    return Table(POOLS, list(_report(run_dir).pools))


def block_table(run_dir: Path) -> Table[BlockLine]:
    """This node's blocks."""
    return Table(BLOCKS, list(_report(run_dir).blocks))


def _report(run_dir: Path) -> IpPoolReport:
    found = read(run_dir)
    if found is None:
        raise Absent(f"no agent has written of pools in {run_dir}; it does with --ip-pools on")
    return found
