"""The shipped programs of a node, with maps of their own and so many services in them."""

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Protocol, Self

from agent.kernel.programs.sizes import constants, memory_bytes, sizes
from agent.kernel.programs.start import MEMINFO
from agent.model.address import mapped
from agent.options import origins
from maps import abi, flow_arrays, flow_table, maglev, mapio, paths
from maps.abi import DropReason
from maps.object import Object
from maps.registry import table_on
from maps.table import Table

FIRST_SERVICE = IPv4Address("10.96.0.1")
SERVICE_PORT, BACKEND_PORT = 80, 8080
NODE_ADDRESS = IPv4Address("10.88.0.11")
_MEASURED = (abi.Program.PROGRAM_POD * abi.Direction.DIRECTIONS + abi.Direction.DIRECTION_INGRESS) * abi.COUNTER_REASONS


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as the node knows it."""

    address: IPv4Address
    ifindex: int  # the node's end
    mac: bytes


class Programs(Protocol):
    """Loaded programs whose work can be checked; file descriptors by name."""

    @property
    def programs(self) -> Mapping[str, int]:
        """The file descriptors."""

    def forget_flows(self) -> None:
        """Know no flow any more."""

    def counted(self) -> dict[DropReason, int]:
        """Packets that ``pod_ingress`` has counted, by reason."""


@dataclass(frozen=True, slots=True)
class Plane:
    """Loaded programs (file descriptors by name) and their tables; :meth:`close` ends both."""

    programs: Mapping[str, int]
    tables: Mapping[str, Table[Any, Any]]
    _copies: int  # the map whose number voids the copies of flows when it is another
    _stack: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def load(cls, names: Iterable[str] = ("tc_pod",)) -> Self:
        """Load objects, sharing their maps, which are as large as an agent makes them in this environment.

        Raises:
            ConfigError: a SLUICEWAY_ variable holds what no agent takes.
        """
        cpus = os.cpu_count() or 1
        _, options, _ = origins.load([origins.Command.CONFIG], os.environ)
        entries = sizes(options, memory_bytes(MEMINFO.read_text()), cpus)
        elements = flow_arrays.elements(entries)
        with ExitStack() as stack:
            programs: dict[str, int] = {}
            shared: dict[str, int] = {}
            for name in names:
                loaded = stack.enter_context(Object.open(paths.objects() / f"{name}.bpf.o"))
                for each in loaded.maps():
                    loaded.resize(each, elements[each])
                loaded.set_constants(constants(entries, cpus))
                for each in shared.keys() & set(loaded.maps()):
                    loaded.reuse(each, shared[each])
                loaded.load()
                shared |= {each: loaded.map_fd(each) for each in loaded.maps()}
                programs |= {each: loaded.program_fd(each) for each in loaded.programs()}
            flow_arrays.draw_seed(shared["flow_seeds"])
            return cls(programs, _tables(shared), shared["cache_epochs"], stack.pop_all())

    def close(self) -> None:
        """Let the kernel have everything back."""
        for table in self.tables.values():
            table.close()
        self._stack.close()

    def fill(self, pods: Iterable[Pod], services: int, backends: tuple[IPv4Address, ...], protocol: int) -> None:
        """A node with these pods, and *services* from :data:`FIRST_SERVICE` on, each with all *backends*."""
        nowhere = IPv6Address(0)
        node = abi.Node(mapped(NODE_ADDRESS), nowhere, 0, 1, 1024, 29999, 30000, 32767, 0, 0, 0, 0, 0)
        self.tables["node"].update([(0, node)])
        placed = list(enumerate(pods, 1))
        self.tables["attachments"].update(
            (slot, abi.Attachment(p.ifindex, slot, slot, p.mac, 0, 0)) for slot, p in placed
        )
        self.tables["endpoints"].update((mapped(p.address), abi.Endpoint(slot, 0)) for slot, p in placed)
        addresses = [mapped(a) for a in backends]
        tables = maglev.tables([(a, BACKEND_PORT) for a in addresses], range(len(addresses)))
        records = [abi.Backend(a, BACKEND_PORT, abi.BackendFlag.BACKEND_LOCAL, 1) for a in addresses]
        sets = range(1, services + 1)
        self.tables["backends"].update(
            (abi.BackendKey(i, slot), record) for i in sets for slot, record in enumerate(records)
        )
        self.tables["maglevs"].update(
            (abi.MaglevKey(i, part), abi.Maglev(table)) for i in sets for part, table in enumerate(tables)
        )
        self.tables["services"].update(
            (_key(FIRST_SERVICE + i - 1, protocol), abi.Service(i, 0, len(records), len(tables), 0, 0, 0)) for i in sets
        )

    def forget_flows(self) -> None:
        """Empty the table of flows, and void the copies of its entries."""
        flows = self.tables["flows"]
        for keys in [keys for keys, _ in flows.packed_items()]:
            flows.delete(abi.FLOWS.key.unpack_many(keys))
        mapio.update(self._copies, bytes(4), os.urandom(8), 1)

    def counted(self) -> dict[DropReason, int]:
        """Packets that ``pod_ingress`` has counted, by reason."""
        found = ((reason, self.tables["counters"].get(_MEASURED + reason)) for reason in DropReason)
        return {reason: counter.packets for reason, counter in found if counter and counter.packets}


def _key(address: IPv4Address, protocol: int) -> abi.ServiceKey:
    return abi.ServiceKey(mapped(address), SERVICE_PORT, protocol, abi.Scope.SCOPE_INTERNAL)


def _tables(shared: Mapping[str, int]) -> dict[str, Table[Any, Any]]:
    """Tables over the maps that Python knows, each with descriptors of its own."""
    return {
        name: table_on(abi.MAPS[name], os.dup(fd), flow_table.beside(abi.MAPS[name], shared))
        for name, fd in shared.items()
        if not abi.MAPS[name].private
    }
