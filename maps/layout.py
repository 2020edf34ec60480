"""How a type lies in memory, in one line of text: alike for two builds that may share a map of it.

The fingerprint of private maps is made of it, and :mod:`maps.carry` compares two pinned maps by it. A type may be of
any kind C has; :mod:`maps.exports` is stricter with those that Python is shown.
"""

from maps.btf import Array, Btf, Enum, Int, Reference, Struct


def layout(types: Btf, type_id: int) -> str:  # noqa: PLR0911 - one case for each kind
    """A value of the type: names and offsets of all its members; what a pointer points to is not part of it."""
    match types[types.bare(type_id)]:
        case Reference(kind="typedef", name=name, type_id=below):
            return f"{name}={layout(types, below)}"
        case Reference(kind=kind):
            return kind
        case Int(name=name, size=size, signed=signed):
            return f"{name}:{size}{'s' if signed else ''}"
        case Enum(name=name, size=size, values=values):
            return f"enum {name}:{size}{values}"
        case Array(type_id=element, length=length):
            return f"[{length}]{layout(types, element)}"
        case Struct(name=name, size=size, members=members, union=union):
            parts = (f"{m.name}@{m.bit_offset}/{m.bit_size}:{layout(types, m.type_id)}" for m in members)
            return f"{'union' if union else 'struct'} {name}:{size}{{{' '.join(parts)}}}"
        case other:
            return str(other)
