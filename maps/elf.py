"""Just enough of ELF to find an object's types and the first values of its globals.

clang leaves the offsets of variables in BTF at zero, so they are taken from the symbol table.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

_SYMBOLS = 2  # SHT_SYMTAB
_NO_BITS = 8  # SHT_NOBITS


class ElfError(ValueError):
    """A file that is no 64-bit ELF object."""


@dataclass(frozen=True, slots=True)
class _Header:
    """A section header."""

    name: int
    kind: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True, slots=True)
class Elf:
    """An object's sections by name, and where each global lies: name to (section, offset)."""

    sections: dict[str, bytes]
    symbols: dict[str, tuple[str, int]]


def read(path: Path) -> Elf:
    """An object file from disk.

    Raises:
        ElfError: it is something else.
    """
    blob = path.read_bytes()
    if blob[:5] != b"\x7fELF\x02":
        raise ElfError(f"{path} is no 64-bit ELF object")
    order = "<" if blob[5] == 1 else ">"
    (table,) = struct.unpack_from(order + "Q", blob, 40)
    entry, count, names = struct.unpack_from(order + "HHH", blob, 58)
    headers = [_header(blob, order, table + i * entry) for i in range(count)]
    titles = [_text(blob, headers[names].offset + h.name) for h in headers]
    bodies = [b"" if h.kind == _NO_BITS else blob[h.offset : h.offset + h.size] for h in headers]
    symbols: dict[str, tuple[str, int]] = {}
    for header, body in zip(headers, bodies, strict=True):
        if header.kind != _SYMBOLS:
            continue
        for name, _info, _other, section, value, _size in struct.iter_unpack(order + "IBBHQQ", body):
            if name and 0 < section < count:
                symbols[_text(bodies[header.link], name)] = (titles[section], value)
    return Elf(dict(zip(titles, bodies, strict=True)), symbols)


def _header(blob: bytes, order: str, at: int) -> _Header:
    """The section header at an offset."""
    name, kind, _flags, _addr, offset, size, link = struct.unpack_from(order + "IIQQQQI", blob, at)
    return _Header(name, kind, offset, size, link)


def _text(blob: bytes, at: int) -> str:
    """The string at an offset."""
    return blob[at : blob.index(b"\0", at)].decode()
