"""What C declares beside a map, read from its decl tags: who writes it, in which order, which option sizes it.

The macros in ``bpf/dp/config.h`` write the tags; each is a colon, a name, and perhaps an argument behind a space. Any
other tag is documentation. :mod:`maps.exports` calls this for every map; :class:`maps.spec.MapSpec` holds the result.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from maps.btf import Array, Btf, Struct
from maps.spec import OPTIONS, Carried, Revises, Writer

LIVE = ":live"  # of a struct's member
_PER_INTERFACE = ":interface"  # of a map that every interface has one of
_TAG = re.compile(r":(?P<name>[a-z_]+)(?: (?P<argument>.*))?")
_KNOWN = frozenset({"agent", "programs", "private", "option", "per_cpu", "buckets", "carried", "revises"})


class DeclarationError(ValueError):
    """A map whose writer is not stated, or a declaration that contradicts itself or means nothing."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The declaration of one map; the fields are those of :class:`maps.spec.MapSpec`."""

    writer: Writer
    order: int
    option: str
    per_cpu: int
    buckets: str
    carried: Carried
    revises: Revises
    private: bool


def is_per_interface(tags: Iterable[str]) -> bool:
    """Whether the map is none of the node's: the registry has only those."""
    return _PER_INTERFACE in tags


def declared(tags: Iterable[str]) -> Declared:
    """The declaration in a map's tags.

    Raises:
        DeclarationError: no tag, or more than one, says who writes the map; an argument is missing or unknown.
    """
    found = _found(tags)
    writers = found.keys() & {"agent", "programs", "private"}
    if len(writers) != 1:
        raise DeclarationError(f"one of AGENT_WRITES, PROGRAMS_WRITE and PRIVATE says who writes, not {len(writers)}")
    writer = Writer.AGENT if "agent" in writers else Writer.PROGRAMS
    option = found.get("option", "")
    if option and option not in OPTIONS:
        raise DeclarationError(f"no option {option} sizes maps; there are {', '.join(sorted(OPTIONS))}")
    if "carried" in found and writer is Writer.AGENT:
        raise DeclarationError("the agent's maps are carried over without CARRIED")
    if "revises" in found and writer is not Writer.AGENT:
        raise DeclarationError("REVISES is for what the agent writes")
    return Declared(
        writer,
        _positive("AGENT_WRITES", found["agent"]) if writer is Writer.AGENT else 0,
        option,
        _positive("PER_CPU", found["per_cpu"]) if "per_cpu" in found else 0,
        found.get("buckets", ""),
        Carried.SEED if writer is Writer.AGENT else Carried.TRAFFIC if "carried" in found else Carried.NEVER,
        _revises(found.get("revises", "NEVER")),
        "private" in writers,
    )


def live_mask(types: Btf, type_id: int) -> bytes:
    """A mask of a value's octets, 0xff where a member is tagged LIVE at any depth; empty when none is."""
    mask = _mask(types, type_id)
    return mask if any(mask) else b""


def is_declaration(tag: str) -> bool:
    """Whether a tag is one of those that this module reads, and no documentation."""
    return tag.startswith(":")


def _found(tags: Iterable[str]) -> dict[str, str]:
    """The arguments by the tags' names."""
    found: dict[str, str] = {}
    for tag in filter(is_declaration, tags):
        parts = _TAG.fullmatch(tag)
        if parts is None or parts["name"] not in _KNOWN:
            raise DeclarationError(f"the tag {tag!r} means nothing")
        if parts["name"] in found:
            raise DeclarationError(f"the tag :{parts['name']} stands there twice")
        found[parts["name"]] = parts["argument"] or ""
    return found


def _positive(macro: str, text: str) -> int:
    """A macro's argument, which the compiler has not evaluated."""
    if not text.isdecimal() or not int(text):
        raise DeclarationError(f"{macro} wants a positive number, not {text!r}")
    return int(text)


def _revises(text: str) -> Revises:
    """The member of the enum with this name."""
    if text not in Revises.__members__:
        raise DeclarationError(f"REVISES wants one of {', '.join(Revises.__members__)}, not {text!r}")
    return Revises[text]


def _mask(types: Btf, type_id: int) -> bytes:
    """The mask of any type, as long as its value."""
    match types.resolved(type_id):
        case Struct(size=size, members=members):
            mask = bytearray(size)
            for index, member in enumerate(members):
                at, length = member.bit_offset // 8, types.size(member.type_id)
                is_live = LIVE in types.tags(types.bare(type_id), index)
                mask[at : at + length] = b"\xff" * length if is_live else _mask(types, member.type_id)
            return bytes(mask)
        case Array(type_id=element, length=length):
            return _mask(types, element) * length
        case _:
            return bytes(types.size(type_id))
