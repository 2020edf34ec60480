"""How :mod:`maps.abigen` writes a struct of C as a frozen dataclass that goes through ``struct``, field by field."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from maps.exports import SPECIAL, ExportError
from maps.shapes import Enumerated, Exports, Field, Record, Repeated, Scalar, Shape

_LETTERS = {1: "B", 2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True, slots=True)
class Leaf:
    """How one shape goes through ``struct``: *slots* values of *form*, made from and into an expression."""

    annotation: str
    form: str
    slots: int
    to_slots: str  # an expression of {v}
    from_slots: str  # an expression of {0}, {1}, ...


def camel(name: str) -> str:
    """``service_key`` as ``ServiceKey``."""
    return "".join(part.capitalize() for part in name.split("_"))


def record_lines(exports: Exports, name: str, fields: tuple[Field, ...]) -> Iterator[str]:
    """A struct's class and the ``Struct`` it goes through."""
    shown = [f for f in fields if not f.pad]
    leaves = [(f, leaf_of(exports, f.shape)) for f in shown]
    form = exports.order + "".join(f"{f.shape.size}x" if f.pad else leaf_of(exports, f.shape).form for f in fields)
    size = sum(f.shape.size for f in fields)
    if struct.calcsize(form) != size:
        raise ExportError(f"struct {name}: {form} is not {size} bytes")
    variable, this = f"_{name.upper()}", camel(name)
    slots = [f"f{i}" for i in range(sum(leaf.slots for _, leaf in leaves))]
    yield f'{variable} = struct.Struct("{form}")'
    yield ""
    yield ""
    yield "@dataclass(frozen=True, slots=True)"
    yield f"class {this}:"
    yield f'    """``struct {name}``, {size} bytes."""'
    yield ""
    yield f"    SIZE: ClassVar[int] = {size}"
    for f, leaf in leaves:
        yield f"    {f.name}: {leaf.annotation}  # {f.shape.name}{', here in host order' * _is_swapped(f.shape)}"
        if f.doc:
            yield f'    """{f.doc}."""'
    yield from _pack(variable, this, leaves)
    yield from _unpack(variable, this, leaves, slots)


def _pack(variable: str, this: str, leaves: list[tuple[Field, Leaf]]) -> Iterator[str]:
    """The methods that write."""
    yield ""
    yield "    def pack(self) -> bytes:"
    yield '        """The bytes as C has them."""'
    yield f"        return {this}.pack_many((self,))"
    yield ""
    yield "    @staticmethod"
    yield f'    def pack_many(records: "Iterable[{this}]") -> bytes:'
    yield '        """Many records\' bytes, end to end."""'
    yield f"        pack = {variable}.pack"
    yield '        return b"".join('
    yield "            ["
    yield "                pack("
    for f, leaf in leaves:
        yield f"                    {leaf.to_slots.format(v=f'r.{f.name}')},"
    yield "                )"
    yield "                for r in records"
    yield "            ]"
    yield "        )"


def _unpack(variable: str, this: str, leaves: list[tuple[Field, Leaf]], slots: list[str]) -> Iterator[str]:
    """The methods that read."""
    yield ""
    yield "    @staticmethod"
    yield f'    def unpack(data: bytes) -> "{this}":'
    yield '        """The record in exactly these bytes."""'
    yield f"        (found,) = {this}.unpack_many(data)"
    yield "        return found"
    yield ""
    yield "    @staticmethod"
    yield f'    def unpack_many(data: bytes) -> "list[{this}]":'
    yield '        """The records that stand end to end in *data*."""'
    yield "        return ["
    yield f"            {this}("
    at = 0
    for _, leaf in leaves:
        yield f"                {leaf.from_slots.format(*slots[at : at + leaf.slots])},"
        at += leaf.slots
    yield "            )"
    yield f"            for ({', '.join(slots)},) in {variable}.iter_unpack(data)"
    yield "        ]"
    yield ""


def _is_swapped(shape: Shape) -> bool:
    """Whether the field is big-endian in memory."""
    return shape.name.startswith("__be")


def leaf_of(exports: Exports, shape: Shape) -> Leaf:  # noqa: PLR0911 - one case for each shape
    """How a field of this shape is packed."""
    match shape:
        case Scalar(name="ip_addr"):
            return Leaf("IPv6Address", "16s", 1, "{v}.packed", "IPv6Address({0})")
        case Scalar(name="mac_addr"):
            return Leaf("bytes", "6s", 1, "record.exact({v}, 6)", "{0}")
        case Scalar(name="__be16"):
            return Leaf("int", "BB", 2, "{v} >> 8, {v} & 255", "{0} << 8 | {1}")
        case Scalar(name=name, size=size) if name in SPECIAL:
            into, out = f'{{v}}.to_bytes({size}, "big")', 'int.from_bytes({0}, "big")'
            return Leaf("int", f"{size}s", 1, into, out)
        case Scalar(boolean=True):
            return Leaf("bool", "?", 1, "{v}", "{0}")
        case Scalar(size=size, signed=signed):
            letter = _LETTERS[size]
            return Leaf("int", letter.lower() if signed else letter, 1, "{v}", "{0}")
        case Enumerated(name=name, size=size):
            negative = any(value < 0 for _, value in exports.enums[name])
            letter = _LETTERS[size].lower() if negative else _LETTERS[size]
            return Leaf(camel(name), letter, 1, "{v}", camel(name) + "({0})")
        case Repeated(element=Scalar(name="char"), length=length):
            return Leaf("str", f"{length}s", 1, f"record.terminated({{v}}, {length})", "record.text({0})")
        case Repeated(element=Scalar(name=name)) if name not in SPECIAL:
            return Leaf("bytes", f"{shape.size}s", 1, f"record.exact({{v}}, {shape.size})", "{0}")
        case Repeated(element=element, length=length):
            return _sequence(leaf_of(exports, element), length)
        case Record(name=name):
            return _nested(exports, name)


def _sequence(leaf: Leaf, length: int) -> Leaf:
    """A tuple of things that are more than numbers."""
    parts = ", ".join(leaf.to_slots.replace("{v}", f"{{v}}[{i}]") for i in range(length))
    back = ", ".join(_shifted(leaf.from_slots, leaf.slots, i * leaf.slots) for i in range(length))
    annotation = f"tuple[{', '.join([leaf.annotation] * length)}]"
    return Leaf(annotation, leaf.form * length, leaf.slots * length, parts, f"({back},)")


def _nested(exports: Exports, name: str) -> Leaf:
    """A struct inside a struct, in line."""
    form, slots, into, out = "", 0, [], []
    for f in exports.records[name]:
        if f.pad:
            form += f"{f.shape.size}x"
            continue
        leaf = leaf_of(exports, f.shape)
        form += leaf.form
        into.append(leaf.to_slots.replace("{v}", f"{{v}}.{f.name}"))
        out.append(_shifted(leaf.from_slots, leaf.slots, slots))
        slots += leaf.slots
    return Leaf(camel(name), form, slots, ", ".join(into), f"{camel(name)}({', '.join(out)})")


def _shifted(expression: str, slots: int, by: int) -> str:
    """An expression whose slots begin *by* later."""
    return expression.format(*(f"{{{i + by}}}" for i in range(slots)))
