"""What compiled objects show to Python, gathered from their BTF and refused where it would mislead.

:func:`collect` is the reading half of :mod:`maps.abigen`. Several objects share their headers; what two of them
export under one name must be the same.
"""

import builtins
import keyword
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from maps import btf, declared, elf
from maps.btf import Btf
from maps.layout import layout
from maps.shapes import Constant, Enumerated, Exports, Field, Map, Private, Record, Repeated, Scalar, Shape
from maps.spec import MapKind

T = TypeVar("T")
EXPORT = "__export_"
_PAD = re.compile(r"pad\d*")
_TAKEN = frozenset(dir(builtins)) | {"pack", "pack_many", "unpack", "unpack_many", "SIZE", "mro"}
_INTEGERS = frozenset(["__u8", "__u16", "__u32", "__u64", "__s8", "__s16", "__s32", "__s64"])
SPECIAL = {"ip_addr": 16, "mac_addr": 6, "__be16": 2, "__be32": 4, "__be64": 8}


class ExportError(Exception):
    """A declaration in C that cannot be given to Python as it stands."""


def collect(objects: Sequence[Path]) -> Exports:
    """The exports of all objects together.

    Raises:
        ExportError: something exported has a hole, a name that Python owns, no documentation, or two meanings.
    """
    exports = Exports()
    for path in objects:
        _Collector(path, exports).run()
    _refuse_shared_orders(exports)
    return exports


def python_name(name: str, what: str) -> str:
    """The name itself, when Python has no other use for it.

    Raises:
        ExportError: it is a keyword, a builtin, or a method of records.
    """
    if keyword.iskeyword(name) or name in _TAKEN:
        raise ExportError(f"{what}: Python owns the name {name}; choose another")
    return name


def _refuse_shared_orders(exports: Exports) -> None:
    """The order in which the agent writes its maps has one map for each number."""
    orders: dict[int, str] = {}
    for name, found in exports.maps.items():
        order = found.declared.order
        if order and orders.setdefault(order, name) != name:
            raise ExportError(f"maps {orders[order]} and {name} both have number {order} in the order of writing")


class _Collector:
    """One object's share."""

    def __init__(self, path: Path, exports: Exports) -> None:
        self._object = elf.read(path)
        if ".BTF" not in self._object.sections:
            raise ExportError(f"{path} has no BTF; compile it with -g")
        self._btf: Btf = btf.parse(self._object.sections[".BTF"])
        self._path, self._exports = path, exports
        exports.order = "<" if self._object.sections[".BTF"][:2] == b"\x9f\xeb" else ">"

    def run(self) -> None:
        """Add this object's maps and constants, and every type they need."""
        for name, type_id in self._globals(".maps"):
            self._map(name, type_id)
        for name, type_id in self._globals(".rodata"):
            self._constant(name, type_id)

    def _globals(self, section: str) -> Iterator[tuple[str, int]]:
        """The variables of a section: name, and the variable's type id."""
        found = self._btf.section(section)
        for type_id, _offset, _size in found.variables if found else ():
            yield self._btf.variable(type_id).name, type_id

    def _map(self, name: str, variable: int) -> None:
        """A map; of one that only programs use Python is not shown the contents."""
        shape = self._btf.resolved(self._btf.variable(variable).type_id)
        if not isinstance(shape, btf.Struct):
            raise ExportError(f"{self._path}: {name} in .maps is no map definition")
        tags = tuple(self._btf.tags(variable))
        if declared.is_per_interface(tags):
            return
        parts = {member.name: member.type_id for member in shape.members}
        max_entries = self._uint(parts["max_entries"])
        if "key" not in parts or "value" not in parts:
            raise ExportError(f"map {name}: declare key and value by __type, not by size")
        key, value = self._pointee(parts["key"]), self._pointee(parts["value"])
        kind, flags = self._uint(parts["type"]), self._uint(parts["map_flags"]) if "map_flags" in parts else 0
        try:
            declaration = declared.declared(tags)
        except declared.DeclarationError as wrong:
            raise ExportError(f"map {name}: {wrong}") from wrong
        if declaration.buckets:
            self._shape(value, f"element of {name}")
            key, value = self._entry(name, value)
            kind, flags = int(MapKind.HASH), 0
        if declaration.private:
            sizes = self._btf.size(key), self._btf.size(value)
            text = f"{layout(self._btf, key)} {layout(self._btf, value)}"
            self._add(self._exports.private, name, Private(kind, max_entries, flags, *sizes, text, declaration))
            return
        self._add(
            self._exports.maps,
            name,
            Map(
                python_name(name, f"map {name}"),
                kind,
                max_entries,
                flags,
                self._shape(key, f"key of {name}"),
                self._shape(value, f"value of {name}"),
                declaration,
                declared.live_mask(self._btf, value),
            ),
        )

    def _entry(self, name: str, value: int) -> tuple[int, int]:
        """The key and the value in an element of a hash of our own, which is an array to the kernel."""
        shape = self._btf.resolved(value)
        if not isinstance(shape, btf.Struct) or [member.name for member in shape.members[:1]] != ["key"]:
            raise ExportError(f"map {name}: IN_BUCKETS wants elements that begin with a key and what is under it")
        key, under = shape.members[:2]
        return self._btf.bare(key.type_id), self._btf.bare(under.type_id)

    def _constant(self, name: str, variable: int) -> None:
        """A load-time constant, or something exported for its type or value alone."""
        type_id = self._btf.variable(variable).type_id
        if name.startswith(EXPORT):
            self._exported(name, type_id)
            return
        if self._btf.qualifiers(type_id) != {"const", "volatile"}:
            return
        doc = self._doc(variable)
        if not doc:
            raise ExportError(f"{self._path}: constant {name} has no DOC")
        shape = self._shape(self._btf.bare(type_id), f"constant {name}")
        if not isinstance(shape, Scalar) or shape.name in SPECIAL:
            raise ExportError(f"constant {name}: {shape.name} is no plain integer")
        default = self._initial(name, shape.size, signed=shape.signed)
        constant = Constant(python_name(name, "constant"), shape, default, doc)
        self._add(self._exports.constants, name, constant)

    def _exported(self, name: str, type_id: int) -> None:
        """``__export_x``: an enum or struct exports its type, an integer or a MAC its value as ``x``."""
        shape = self._shape(self._btf.bare(type_id), name)
        plain = name.removeprefix(EXPORT)
        if isinstance(shape, Scalar) and shape.name == "mac_addr":
            self._add(self._exports.values, python_name(plain, name), self._octets(name, shape.size))
        elif isinstance(shape, Scalar):
            number = self._initial(name, shape.size, signed=shape.signed)
            self._add(self._exports.values, python_name(plain, name), number)

    def _initial(self, name: str, size: int, *, signed: bool) -> int:
        """The value a global has in the object."""
        order: Literal["little", "big"] = "little" if self._exports.order == "<" else "big"
        return int.from_bytes(self._octets(name, size), order, signed=signed)

    def _octets(self, name: str, size: int) -> bytes:
        """The octets that a global has in the object."""
        section, offset = self._object.symbols[name]
        return self._object.sections[section][offset : offset + size]

    def _shape(self, type_id: int, what: str) -> Shape:  # noqa: PLR0911 - one case for each kind
        """A type as a shape; named structs and enums are added to the exports."""
        bare = self._btf[self._btf.bare(type_id)]
        match bare:
            case btf.Reference(kind="typedef", name=name) if name in SPECIAL:
                return Scalar(name, SPECIAL[name])
            case btf.Reference(kind="typedef", name=name, type_id=below):
                shape = self._shape(below, what)
                if isinstance(shape, Scalar) and name in _INTEGERS:
                    return Scalar(name, shape.size, shape.signed, shape.boolean)
                return shape
            case btf.Int():
                return Scalar(bare.name, bare.size, bare.signed, bare.boolean)
            case btf.Array(type_id=element, length=length):
                return Repeated(self._shape(element, what), length)
            case btf.Enum(name=name) if name:
                for member, _ in bare.values:
                    python_name(member, f"enum {name}")
                self._add(self._exports.enums, name, bare.values)
                return Enumerated(name, bare.size)
            case btf.Struct(name=name, union=False) if name:
                self._record(self._btf.bare(type_id), bare)
                return Record(name, bare.size)
            case _:
                raise ExportError(f"{what}: Python cannot be shown {bare}")

    def _record(self, type_id: int, shape: btf.Struct) -> None:
        """A struct all of whose bytes are named."""
        what = f"struct {shape.name}"
        fields, end = [], 0
        for index, member in enumerate(shape.members):
            if member.bit_size or member.bit_offset % 8:
                raise ExportError(f"{what}: {member.name} is a bit field; use an enum of flags")
            at = member.bit_offset // 8
            _no_hole(what, end, at, f"before {member.name}")
            pad = bool(_PAD.fullmatch(member.name))
            part = self._shape(member.type_id, f"{what}, {member.name}")
            doc = self._doc(type_id, index)
            fields.append(Field(python_name(member.name, what), part, doc, pad))
            end = at + part.size
        _no_hole(what, end, shape.size, "at the end")
        self._add(self._exports.records, shape.name, tuple(fields))

    def _doc(self, type_id: int, component: int = -1) -> str:
        """The text of a declaration's DOC; empty without one."""
        tags = self._btf.tags(type_id, component)
        return next((tag for tag in tags if not declared.is_declaration(tag)), "")

    def _pointee(self, type_id: int) -> int:
        """What ``__type(name, T)`` points to."""
        pointer = self._btf[self._btf.bare(type_id)]
        if not isinstance(pointer, btf.Reference):
            raise ExportError(f"{self._path}: {pointer} is no __type of a map")
        return self._btf.bare(pointer.type_id)

    def _uint(self, type_id: int) -> int:
        """The number in ``__uint(name, n)``: a pointer to an array of that length."""
        array = self._btf[self._pointee(type_id)]
        if not isinstance(array, btf.Array):
            raise ExportError(f"{self._path}: {array} is no __uint of a map")
        return array.length

    def _add(self, where: dict[str, T], name: str, what: T) -> None:
        """Put an export under its name, where another object may have put the same."""
        if where.setdefault(name, what) != what:
            raise ExportError(f"{self._path}: {name} is {what}, but another object has {where[name]}")


def _no_hole(what: str, end: int, at: int, where: str) -> None:
    """Refuse bytes without a name: in a key they are random bits in a hash."""
    if end != at:
        raise ExportError(f"{what}: {at - end} bytes {where}: name the padding (pad)")
