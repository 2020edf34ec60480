"""Questions to the registry of maps, :data:`maps.abi.MAPS`: which the agent writes in which order, and their tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from maps import abi, libbpf
from maps.flow_table import FlowTable
from maps.percpu import PerCpuTable
from maps.spec import Carried, MapSpec, Writer
from maps.table import Table

K = TypeVar("K")
V = TypeVar("V")
AnySpec = MapSpec[Any, Any]


def agent_maps() -> tuple[AnySpec, ...]:
    """The maps that the agent writes, in the order of writing; removal goes in reverse."""
    written = (spec for spec in abi.MAPS.values() if spec.writer is Writer.AGENT)
    return tuple(sorted(written, key=lambda spec: spec.order))


def carried_maps(when: Carried) -> tuple[AnySpec, ...]:
    """The maps whose entries go into the next generation at that time, in the order of writing."""
    return tuple(sorted((spec for spec in abi.MAPS.values() if spec.carried is when), key=lambda spec: spec.order))


def table_on(spec: MapSpec[K, V], fd: int, others: Mapping[str, int] | None = None) -> Table[K, V]:
    """The table of an open map, which adds up the CPUs' values where each has its own; *fd* is closed with it.

    One in buckets needs *others*, as :class:`maps.flow_table.FlowTable` says.

    Raises:
        LayoutMismatch: the map is another than *spec* says.
    """
    if spec.buckets:
        return FlowTable(spec, fd, others or {})
    return PerCpuTable(spec, fd) if spec.kind.is_per_cpu else Table(spec, fd)


def open_table(spec: MapSpec[K, V], folder: Path) -> Table[K, V]:
    """The table of the map that is pinned in *folder* under its name. Raises as :func:`table_on`."""
    if spec.buckets:
        return FlowTable.open(spec, folder / spec.name)
    return table_on(spec, libbpf.get_pinned(folder / spec.name))


def open_agent_tables(folder: Path) -> dict[str, Table[Any, Any]]:
    """The tables of all maps that the agent writes, by name, in the order of writing. Raises as :func:`table_on`."""
    return {spec.name: open_table(spec, folder) for spec in agent_maps()}
