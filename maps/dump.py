"""Any map decoded by the BTF that the kernel keeps with it: how dpctl reads every layout, its own or another build's.

Values become plain Python: dicts by field name, addresses as text (IPv4 as such), MACs as ``aa:bb:..``, big-endian
fields as host numbers, char arrays as text, enums by name, other arrays as lists. Padding is left out.
"""

import errno
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

from maps import btf, flow_arrays, libbpf, mapio
from maps.errors import KernelRefused, LayoutMismatch
from maps.pins import held
from maps.record import cut
from maps.spec import MapKind

Value = Any  # what json can say: dict, list, str, int, bool
_ORDER = sys.byteorder
_PAD = re.compile(r"pad\d*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; a per-CPU map's value is a list with one value for each CPU."""

    key: Value
    value: Value


class Decoder:
    """Bytes into plain values by the types of one BTF."""

    def __init__(self, types: btf.Btf) -> None:
        self._types = types

    def decode(self, type_id: int, data: bytes) -> Value:
        """The value of a type in the first bytes of *data*."""
        declared = self._types[self._types.bare(type_id)]
        if isinstance(declared, btf.Reference) and declared.kind == "typedef":
            return self._named(declared, data)
        return self._bare(declared, data)

    def _named(self, declared: btf.Reference, data: bytes) -> Value:
        """A typedef: some carry a meaning that their bytes do not."""
        match declared.name:
            case "ip_addr":
                address = IPv6Address(data[:16])
                return str(address.ipv4_mapped or address)
            case "mac_addr":
                return data[:6].hex(":")
            case "__be16" | "__be32" | "__be64" as name:
                return int.from_bytes(data[: int(name[4:]) // 8], "big")
            case _:
                return self.decode(declared.type_id, data)

    def _bare(self, shape: btf.Type, data: bytes) -> Value:
        """Anything else."""
        match shape:
            case btf.Int(boolean=True):
                return bool(data[0])
            case btf.Int(size=size, signed=signed):
                return int.from_bytes(data[:size], _ORDER, signed=signed)
            case btf.Enum(size=size, values=values):
                number = int.from_bytes(data[:size], _ORDER)
                return next((name for name, value in values if value == number), number)
            case btf.Struct(members=members):
                return {
                    member.name: self.decode(member.type_id, data[member.bit_offset // 8 :])
                    for member in members
                    if not _PAD.fullmatch(member.name)
                }
            case btf.Array(type_id=element, length=length):
                return self._array(element, length, data)
            case _:
                return data.hex()

    def _array(self, element: int, length: int, data: bytes) -> Value:
        """Text when of char, else a list."""
        size = self._types.size(element)
        shape = self._types.resolved(element)
        if isinstance(shape, btf.Int) and shape.name == "char":
            return data[:length].partition(b"\0")[0].decode(errors="replace")
        return [self.decode(element, data[i * size : (i + 1) * size]) for i in range(length)]


def dump(path: Path) -> Iterator[Entry]:
    """All entries of a pinned map.

    Raises:
        KernelRefused: nothing is pinned there, or the map cannot be listed.
    """
    with held(path) as fd:
        if flow_arrays.is_in_buckets(fd, path):
            yield from _dump_flows(path, libbpf.map_info(fd))
        else:
            yield from dump_fd(fd)


def _dump_flows(path: Path, info: libbpf.MapInfo) -> Iterator[Entry]:
    """A table in buckets: an element is a key and what is under it, by its BTF."""
    types = btf.parse(libbpf.btf_blob(info.btf_id))
    shape, decoder = types.resolved(info.btf_value), Decoder(types)
    if not isinstance(shape, btf.Struct):
        raise LayoutMismatch(info.name, "its elements are no struct")
    key, value = (member.type_id for member in shape.members[:2])
    sizes = types.size(key), types.size(value)
    with flow_arrays.opened(path, *sizes) as arrays:
        for keys, values in arrays.read():
            for raw_key, raw_value in zip(cut(keys, sizes[0]), cut(values, sizes[1]), strict=True):
                yield Entry(decoder.decode(key, raw_key), decoder.decode(value, raw_value))


def _decoders(info: libbpf.MapInfo) -> tuple[Callable[[bytes], Value], Callable[[bytes], Value]]:
    """What decodes a map's keys and values."""
    if not info.btf_id:
        return bytes.hex, bytes.hex
    types = btf.parse(libbpf.btf_blob(info.btf_id))
    decoder = Decoder(types)
    return (
        lambda raw: decoder.decode(info.btf_key, raw),
        lambda raw: decoder.decode(info.btf_value, raw),
    )


def dump_fd(fd: int) -> Iterator[Entry]:
    """All entries of an open map; keys and values in hexadecimal when the map was made without BTF."""
    info = libbpf.map_info(fd)
    if info.kind not in list(MapKind):
        raise KernelRefused(f"list the map {info.name} of kind {info.kind}", errno.EINVAL)
    key, value = _decoders(info)
    per_cpu = MapKind(info.kind).is_per_cpu
    step = (info.value_size + 7) // 8 * 8 if per_cpu else info.value_size
    size = step * libbpf.possible_cpus() if per_cpu else step
    for keys, values in mapio.read(fd, info.key_size, size, info.max_entries):
        for i in range(len(keys) // info.key_size):
            raw = values[i * size : (i + 1) * size]
            each = [value(raw[at : at + step]) for at in range(0, size, step)]
            yield Entry(key(keys[i * info.key_size : (i + 1) * info.key_size]), each if per_cpu else each[0])
