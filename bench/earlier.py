"""The programs of an earlier commit, compiled from this checkout's history, for comparison with today's.

Their maps have the layout of that commit, which no longer changes: it is written down here. The commit is the last
before the established path was made faster.
"""

import os
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Self

from agent.model.address import mapped
from bench import tools
from bench.plane import BACKEND_PORT, FIRST_SERVICE, NODE_ADDRESS, SERVICE_PORT, Pod
from maps import libbpf, maglev, mapio
from maps.abi import DropReason
from maps.object import Object

COMMIT = "f62a7ec"
CHECKOUT = Path(__file__).resolve().parent.parent
CACHE = CHECKOUT / "build/bench" / COMMIT
_NAMES = ("tc_pod", "sock")
# entries for each CPU, as that commit's agent makes them where there is memory enough
_PER_CPU = {"flows": 65536, "recents": 32768, "recent_sets": 16384, "next_hops": 32768}
_KEY_OCTETS, _FLOW_OCTETS = 40, 76
_COUNTERS = 64  # of a program and direction, by reason; those of pod_ingress are the first

_ENDPOINT = struct.Struct("=II6sH")
_NODE = struct.Struct("=16s16sQIHHHHII2sHI4x")
_SERVICE_KEY = struct.Struct("=16s2sBB")
_SERVICE = struct.Struct("=IIHHH2x")
_BACKEND = struct.Struct("=16s2sH")
_PAIR = struct.Struct("=II")  # the keys of backends and of maglevs
_BACKEND_LOCAL = 1


@dataclass(frozen=True, slots=True)
class Earlier:
    """That commit's programs, loaded (file descriptors by name), and their maps; :meth:`close` ends both."""

    programs: Mapping[str, int]
    _maps: Mapping[str, int]
    _stack: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def load(cls, names: Iterable[str] = ("tc_pod",)) -> Self:
        """Load objects, which share their maps. Only where the commit :func:`is_known`."""
        folder, cpus = compiled(), os.cpu_count() or 1
        with ExitStack() as stack:
            programs: dict[str, int] = {}
            shared: dict[str, int] = {}
            for name in names:
                loaded = stack.enter_context(Object.open(folder / f"{name}.bpf.o"))
                for each in _PER_CPU.keys() & set(loaded.maps()):
                    loaded.resize(each, _PER_CPU[each] * cpus)
                loaded.set_constants({"recent_span": _PER_CPU["recents"]})
                for each in shared.keys() & set(loaded.maps()):
                    loaded.reuse(each, shared[each])
                loaded.load()
                shared |= {each: loaded.map_fd(each) for each in loaded.maps() if each != "scratches"}
                programs |= {each: loaded.program_fd(each) for each in loaded.programs()}
            return cls(programs, shared, stack.pop_all())

    def close(self) -> None:
        """Let the kernel have everything back."""
        self._stack.close()

    def fill(self, pods: Iterable[Pod], services: int, backends: tuple[IPv4Address], protocol: int) -> None:
        """A node with these pods, and *services* from :data:`FIRST_SERVICE` on, each with the one backend."""
        (backend,) = backends
        here, there = mapped(NODE_ADDRESS).packed, mapped(backend).packed
        port = BACKEND_PORT.to_bytes(2, "big")
        (table,) = maglev.tables([(mapped(backend), BACKEND_PORT)], [0])
        sets = range(1, services + 1)
        keys = [
            _SERVICE_KEY.pack(mapped(FIRST_SERVICE + i - 1).packed, SERVICE_PORT.to_bytes(2, "big"), protocol, 0)
            for i in sets
        ]
        self._write(
            "node", {bytes(4): _NODE.pack(here, bytes(16), 0, 1, 1024, 29999, 30000, 32767, 0, 0, bytes(2), 0, 0)}
        )
        self._write(
            "endpoints", {mapped(p.address).packed: _ENDPOINT.pack(p.ifindex, p.ifindex, p.mac, 0) for p in pods}
        )
        self._write("backends", {_PAIR.pack(i, 0): _BACKEND.pack(there, port, _BACKEND_LOCAL) for i in sets})
        self._write("maglevs", {_PAIR.pack(i, 0): table for i in sets})
        self._write("services", {key: _SERVICE.pack(i, 0, 1, 1, 0) for i, key in zip(sets, keys, strict=True)})

    def forget_flows(self) -> None:
        """Empty the table of flows, and void the copies of its entries."""
        flows = self._maps["flows"]
        entries = libbpf.map_info(flows).max_entries
        for keys, _ in list(mapio.read(flows, _KEY_OCTETS, _FLOW_OCTETS, entries)):
            mapio.delete(flows, keys, len(keys) // _KEY_OCTETS)
        mapio.update(self._maps["recent_epochs"], bytes(4), os.urandom(8), 1)

    def counted(self) -> dict[DropReason, int]:
        """Packets that ``pod_ingress`` has counted, by reason."""
        cpus = libbpf.possible_cpus()
        found = (mapio.lookup(self._maps["counters"], i.to_bytes(4, "little"), 16 * cpus) for i in range(_COUNTERS))
        packets = (sum(struct.unpack(f"={2 * cpus}Q", each)[::2]) if each else 0 for each in found)
        return {DropReason(reason): count for reason, count in enumerate(packets) if count}

    def _write(self, name: str, records: Mapping[bytes, bytes]) -> None:
        _, failed = mapio.update(self._maps[name], b"".join(records), b"".join(records.values()), len(records))
        libbpf.check(-failed, f"fill {name} of {COMMIT}")


def is_known() -> bool:
    """Whether this checkout's history has the commit, or its objects were made when it had."""
    command = ["git", "-C", str(CHECKOUT), "cat-file", "-e", f"{COMMIT}:bpf"]
    return CACHE.is_dir() or subprocess.run(command, stderr=DEVNULL, check=False).returncode == 0


def compiled() -> Path:
    """The folder of the commit's objects, made when they are not there."""
    if CACHE.is_dir():
        return CACHE
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as work:
        archive = subprocess.run(["git", "-C", str(CHECKOUT), "archive", COMMIT, "bpf"], check=True, stdout=PIPE)
        subprocess.run(["tar", "-x", "-C", work], input=archive.stdout, check=True)
        objects = Path(work) / "objects"
        objects.mkdir()
        for name in _NAMES:
            tools.bpf_object(name, objects, Path(work) / "bpf")
        objects.rename(CACHE)
    return CACHE
