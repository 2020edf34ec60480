"""The kernel's type format, read: where a layout written in C becomes known to Python.

:mod:`maps.abigen` reads it from compiled objects, :mod:`maps.dump` from the kernel's own copy beside a
pinned map, :mod:`maps.libbpf` to find where a load-time constant lies.

Source: Documentation/bpf/btf.rst of the kernel.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_MAGIC = 0xEB9F


class BtfError(ValueError):
    """Bytes that are no BTF, or of a kind this reader does not know."""


@dataclass(frozen=True, slots=True)
class Int:
    """An integer, a character or a bool."""

    name: str
    size: int  # bytes
    signed: bool
    boolean: bool


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a struct or union."""

    name: str
    type_id: int
    bit_offset: int
    bit_size: int  # 0: no bit field


@dataclass(frozen=True, slots=True)
class Struct:
    """A struct, or a union when *union* is set."""

    name: str  # empty: anonymous
    size: int
    members: tuple[Member, ...]
    union: bool = False


@dataclass(frozen=True, slots=True)
class Array:
    """A fixed number of elements."""

    type_id: int
    length: int


@dataclass(frozen=True, slots=True)
class Enum:
    """An enum and its values in the order of the source."""

    name: str  # empty: anonymous
    size: int
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A pointer, typedef, qualifier or function: a name, a target, and nothing of its own in memory."""

    kind: str
    name: str
    type_id: int  # 0: void


@dataclass(frozen=True, slots=True)
class Variable:
    """A global variable."""

    name: str
    type_id: int


@dataclass(frozen=True, slots=True)
class Section:
    """An ELF section's variables: (type id, offset, size). Offsets are zero until a linker fills them in."""

    name: str
    variables: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Tag:
    """A ``btf_decl_tag``: text that the source attaches to a declaration."""

    text: str
    type_id: int
    component: int  # -1: the whole declaration; else the member's index


@dataclass(frozen=True, slots=True)
class Other:
    """A kind that this project has no use for."""

    kind: int


Type = Int | Struct | Array | Enum | Reference | Variable | Section | Tag | Other

_REFERENCES = {
    2: "pointer",
    7: "forward",
    8: "typedef",
    9: "volatile",
    10: "const",
    11: "restrict",
    12: "function",
    18: "type tag",
}
_TRANSPARENT = frozenset({"volatile", "const", "restrict", "type tag"})


@dataclass(frozen=True, slots=True)
class Btf:
    """All types of one object by id; id 0, void, is not among them."""

    types: Mapping[int, Type]
    _tags: Mapping[tuple[int, int], tuple[str, ...]] = field(repr=False)

    def __getitem__(self, type_id: int) -> Type:
        """The type of an id."""
        return self.types[type_id]

    def bare(self, type_id: int) -> int:
        """The id below qualifiers; typedefs stay, for their names carry meaning."""
        while isinstance(t := self.types.get(type_id), Reference) and t.kind in _TRANSPARENT:
            type_id = t.type_id
        return type_id

    def resolved(self, type_id: int) -> Type:
        """The type below qualifiers and typedefs."""
        while isinstance(t := self.types[type_id], Reference) and t.kind in _TRANSPARENT | {"typedef"}:
            type_id = t.type_id
        return t

    def size(self, type_id: int) -> int:
        """Bytes a value takes.

        Raises:
            BtfError: it is no value (a function, void).
        """
        match self.resolved(type_id):
            case Int(size=size) | Struct(size=size) | Enum(size=size):
                return size
            case Array(type_id=element, length=length):
                return self.size(element) * length
            case Reference(kind="pointer"):
                return 8
            case other:
                raise BtfError(f"a value of type {other} has no size")

    def tags(self, type_id: int, component: int = -1) -> tuple[str, ...]:
        """The texts of the declaration's tags, in no order that counts."""
        return self._tags.get((type_id, component), ())

    def section(self, name: str) -> Section | None:
        """The variables of an ELF section."""
        for t in self.types.values():
            if isinstance(t, Section) and t.name == name:
                return t
        return None

    def variable(self, type_id: int) -> Variable:
        """The variable that a section's entry names."""
        found = self.types[type_id]
        if not isinstance(found, Variable):
            raise BtfError(f"type {type_id} is no variable: {found}")
        return found

    def qualifiers(self, type_id: int) -> frozenset[str]:
        """Which of const and volatile stand before a type."""
        seen = set()
        while isinstance(t := self.types.get(type_id), Reference) and t.kind in _TRANSPARENT:
            seen.add(t.kind)
            type_id = t.type_id
        return frozenset(seen)


def parse(blob: bytes) -> Btf:
    """The types in the bytes of a ``.BTF`` section or of the kernel's BTF object.

    Raises:
        BtfError: *blob* is something else.
    """
    if len(blob) < 24:  # noqa: PLR2004 - the header's size
        raise BtfError(f"{len(blob)} bytes are too few for BTF")
    order = "<" if blob[:2] == b"\x9f\xeb" else ">"
    magic, _version, _flags, header, at, length, strings, _ = struct.unpack_from(order + "HBBIIIII", blob)
    if magic != _MAGIC:
        raise BtfError(f"no BTF: it begins with {blob[:2].hex()}")
    reader = _Reader(blob, order, header + at, header + at + length, header + strings)
    types = dict(enumerate(reader.types(), 1))
    tags: dict[tuple[int, int], tuple[str, ...]] = {}
    for tag in (t for t in types.values() if isinstance(t, Tag)):
        declaration = tag.type_id, tag.component
        tags[declaration] = *tags.get(declaration, ()), tag.text
    return Btf(types, tags)


class _Reader:
    """A cursor over the type section."""

    def __init__(self, blob: bytes, order: str, at: int, end: int, strings: int) -> None:
        self._blob, self._at, self._end, self._strings = blob, at, end, strings
        self._u32 = struct.Struct(order + "I")
        self._u32_3 = struct.Struct(order + "III")
        self._s32_pair = struct.Struct(order + "Ii")

    def types(self) -> Iterator[Type]:
        """Every type, in order of ids from 1."""
        while self._at < self._end:
            name, info, size_or_type = self._take(self._u32_3)
            yield self._type(info >> 24 & 0x1F, info & 0xFFFF, bool(info >> 31), self._text(name), size_or_type)

    def _type(self, kind: int, count: int, flag: bool, name: str, third: int) -> Type:  # noqa: FBT001, PLR0911 - one case for each kind
        """The rest of one type; *third* is its size or the id it refers to."""
        match kind:
            case 1:
                (bits,) = self._take(self._u32)
                return Int(name, third, bool(bits >> 24 & 1), bool(bits >> 24 & 4))
            case 3:
                element, _index, length = self._take(self._u32_3)
                return Array(element, length)
            case 4 | 5:
                members = tuple(self._member(flag) for _ in range(count))
                return Struct(name, third, members, union=kind == 5)  # noqa: PLR2004
            case 6:
                return Enum(name, third, tuple(self._value(signed=flag) for _ in range(count)))
            case 13:
                self._at += 8 * count
                return Other(kind)
            case 14:
                self._at += 4
                return Variable(name, third)
            case 15:
                return Section(name, tuple(self._take(self._u32_3) for _ in range(count)))  # type: ignore[misc]
            case 16:
                return Other(kind)
            case 17:
                (component,) = self._take(self._u32)
                return Tag(name, third, component if component < 1 << 31 else -1)
            case 19:
                return Enum(name, third, tuple(self._value64(signed=flag) for _ in range(count)))
            case _ if kind in _REFERENCES:
                return Reference(_REFERENCES[kind], name, third)
            case _:
                raise BtfError(f"BTF of kind {kind} is unknown here")

    def _member(self, with_bits: bool) -> Member:  # noqa: FBT001
        """A member; with the flag, its offset word also carries a bit field's size."""
        name, type_id, offset = self._take(self._u32_3)
        if with_bits:
            return Member(self._text(name), type_id, offset & 0xFFFFFF, offset >> 24)
        return Member(self._text(name), type_id, offset, 0)

    def _value(self, *, signed: bool) -> tuple[str, int]:
        """One value of an enum."""
        name, value = self._take(self._s32_pair)
        return self._text(name), value if signed else value & 0xFFFFFFFF

    def _value64(self, *, signed: bool) -> tuple[str, int]:
        """One value of an enum wider than 32 bits."""
        name, low, high = self._take(self._u32_3)
        value = high << 32 | low
        return self._text(name), value - (1 << 64) if signed and high >> 31 else value

    def _take(self, form: struct.Struct) -> tuple[int, ...]:
        """The next words."""
        words = form.unpack_from(self._blob, self._at)
        self._at += form.size
        return words

    def _text(self, offset: int) -> str:
        """A string of the string section."""
        start = self._strings + offset
        return self._blob[start : self._blob.index(b"\0", start)].decode()
