"""Maps with a value for every CPU: the programs add without locks, the reader adds up."""

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar

from maps import libbpf, mapio
from maps.record import Codec
from maps.spec import MapSpec
from maps.table import Table

K = TypeVar("K")
V = TypeVar("V")


class _Summed(Generic[V]):
    """The codec of one entry: each CPU's value in eight-byte steps; together they are their sum."""

    def __init__(self, one: Codec[V], cpus: int) -> None:
        self._one = one
        self._step = (one.SIZE + 7) // 8 * 8
        self._cpus = cpus
        # of most entries of a map of counters, which is read whole for each scrape
        self._nothing = bytes(self.SIZE)
        self._zero = _sum(self.each(self._nothing))

    @property
    def SIZE(self) -> int:  # noqa: N802 - as Codec has it
        """Bytes of one entry."""
        return self._step * self._cpus

    def pack(self, value: V) -> bytes:
        """The first CPU's value; the others' are zero, so that the sum is right."""
        return self._one.pack(value).ljust(self.SIZE, b"\0")

    def pack_many(self, values: Iterable[V]) -> bytes:
        """Entries end to end."""
        return b"".join([self.pack(value) for value in values])

    def each(self, data: bytes) -> tuple[V, ...]:
        """The value of every CPU."""
        size = self._one.SIZE
        return tuple(self._one.unpack(data[at : at + size]) for at in range(0, len(data), self._step))

    def unpack(self, data: bytes) -> V:
        """The sum."""
        return self._zero if data == self._nothing else _sum(self.each(data))

    def unpack_many(self, data: bytes) -> list[V]:
        """The sums of entries end to end."""
        size = self.SIZE
        return [self.unpack(data[at : at + size]) for at in range(0, len(data), size)]


class PerCpuTable(Table[K, V]):
    """A per-CPU map; values are sums over the CPUs. A write replaces the sum, and loses what is counted meanwhile."""

    def __init__(self, spec: MapSpec[K, V], fd: int) -> None:
        self._summed = _Summed(spec.value, libbpf.possible_cpus())
        super().__init__(spec, fd, codec=self._summed)

    def each(self, key: K) -> tuple[V, ...]:
        """Every CPU's own value; empty when there is no entry."""
        found = mapio.lookup(self._fd, self._spec.key.pack(key), self._summed.SIZE)
        return () if found is None else self._summed.each(found)


def _sum(values: tuple[V, ...]) -> V:
    """Numbers, or records of numbers field by field."""
    if not is_dataclass(values[0]):
        return sum(values)  # type: ignore[arg-type, return-value]
    make: Any = type(values[0])
    names = [f.name for f in fields(values[0])]
    summed: V = make(*(sum(getattr(v, name) for v in values) for name in names))
    return summed
