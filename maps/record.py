"""Turning values into the bytes that maps hold, and back; what the generated records are built on.

A :class:`Codec` is either a generated record class itself, or one of the constants below for keys and values
that are a bare number or address. The plural forms are the fast ones: one call for any number of records.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Protocol, TypeVar

T = TypeVar("T")
Packed = Mapping[bytes, bytes]  # a table's records, each key and value packed


class Codec(Protocol[T]):
    """How one type of value stands in memory. Generated record classes are codecs of themselves."""

    @property
    def SIZE(self) -> int:  # noqa: N802 - a constant of the generated classes
        """Bytes of one value."""

    def pack(self, value: T, /) -> bytes:
        """One value's bytes."""

    def pack_many(self, values: Iterable[T], /) -> bytes:
        """Many values' bytes, end to end."""

    def unpack(self, data: bytes, /) -> T:
        """The value that exactly these bytes hold."""

    def unpack_many(self, data: bytes, /) -> list[T]:
        """The values that stand end to end in *data*."""


class IntCodec:
    """A bare integer in the object's byte order."""

    def __init__(self, form: str) -> None:
        self._form = struct.Struct(form)

    @property
    def SIZE(self) -> int:  # noqa: N802
        """Bytes of one integer."""
        return self._form.size

    def pack(self, value: int) -> bytes:
        """One integer."""
        return self._form.pack(value)

    def pack_many(self, values: Iterable[int]) -> bytes:
        """Integers end to end."""
        numbers = list(values)
        order, letter = self._form.format[:1], self._form.format[1:]
        return struct.pack(f"{order}{len(numbers)}{letter}", *numbers)

    def unpack(self, data: bytes) -> int:
        """One integer."""
        (value,) = self._form.unpack(data)
        return int(value)

    def unpack_many(self, data: bytes) -> list[int]:
        """Integers end to end."""
        return [value for (value,) in self._form.iter_unpack(data)]


class AddressCodec:
    """A bare ``ip_addr``: IPv6, or IPv4 as ``::ffff:a.b.c.d``."""

    SIZE = 16

    def pack(self, value: IPv6Address) -> bytes:
        """One address."""
        return value.packed

    def pack_many(self, values: Iterable[IPv6Address]) -> bytes:
        """Addresses end to end."""
        return b"".join([value.packed for value in values])

    def unpack(self, data: bytes) -> IPv6Address:
        """One address."""
        return IPv6Address(data)

    def unpack_many(self, data: bytes) -> list[IPv6Address]:
        """Addresses end to end."""
        return [IPv6Address(data[at : at + 16]) for at in range(0, len(data), 16)]


ADDRESS = AddressCodec()


@dataclass(frozen=True, slots=True)
class Octets:
    """Bytes of a fixed number that mean nothing here: a key or a value of a map that only programs use."""

    SIZE: int

    def pack(self, value: bytes) -> bytes:
        """The bytes themselves."""
        return exact(value, self.SIZE)

    def pack_many(self, values: Iterable[bytes]) -> bytes:
        """Values end to end."""
        return b"".join([exact(value, self.SIZE) for value in values])

    def unpack(self, data: bytes) -> bytes:
        """The bytes themselves."""
        return exact(data, self.SIZE)

    def unpack_many(self, data: bytes) -> list[bytes]:
        """The values that stand end to end in *data*."""
        return cut(data, self.SIZE)


def cut(data: bytes, size: int) -> list[bytes]:
    """The parts of *size* bytes that stand end to end in *data*."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def exact(data: bytes, size: int) -> bytes:
    """The same bytes, whose number the layout fixes: ``struct`` would pad or cut in silence.

    Raises:
        ValueError: there are more or fewer.
    """
    if len(data) != size:
        raise ValueError(f"{size} bytes are wanted, not {len(data)}: {data[:32]!r}")
    return data


def terminated(text: str, size: int) -> bytes:
    """A string for a ``char`` array of *size*, which keeps at least one NUL.

    Raises:
        ValueError: it is too long, or contains NUL.
    """
    raw = text.encode()
    if len(raw) >= size or b"\0" in raw:
        raise ValueError(f"{text!r} does not fit {size} bytes with a NUL at the end")
    return raw


def text(raw: bytes) -> str:
    """The string in a ``char`` array, up to its NUL."""
    return raw.partition(b"\0")[0].decode()
