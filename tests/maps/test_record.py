"""Every record of the real layout survives the way to bytes and back."""

import sys
from dataclasses import fields
from ipaddress import IPv6Address
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maps import abi, record

RECORDS = sorted(
    (found for found in vars(abi).values() if isinstance(found, type) and hasattr(found, "SIZE")),
    key=lambda found: found.__name__,
)


DRAWN = 2048  # octets of a field at most: what is longer repeats itself


def values_of(kind: Any, size_note: int) -> st.SearchStrategy[Any]:
    """Values of a field's type; *size_note* is the room for bytes and numbers."""
    if kind is IPv6Address:
        return st.integers(0, (1 << 128) - 1).map(IPv6Address)
    if kind is int:
        return st.integers(0, (1 << 8 * size_note) - 1)
    if kind is bytes:
        drawn = min(size_note, DRAWN)
        return st.binary(min_size=drawn, max_size=drawn).map(lambda octets: (octets * size_note)[:size_note])
    if kind is str:
        return st.text(st.characters(exclude_characters="\0", codec="ascii"), max_size=size_note - 1)
    if get_origin(kind) is tuple:
        return st.tuples(*(records_of(part) for part in get_args(kind)))
    return records_of(kind)


def records_of(kind: Any) -> st.SearchStrategy[Any]:
    """Records of a generated class; how wide a field is stands behind it, in the layout's own words."""
    hints = get_type_hints(kind)
    widths = field_widths(kind)
    return st.builds(kind, **{f.name: values_of(hints[f.name], widths[f.name]) for f in fields(kind)})


def field_widths(kind: type) -> dict[str, int]:
    """Bytes of each field, from the comment that the generator writes."""
    widths = {}
    source = (sys.modules[kind.__module__].__file__ or "").removesuffix("c")
    with open(source, encoding="utf-8") as text:  # noqa: PTH123
        inside = False
        for line in text:
            if line.startswith("class "):
                inside = line.startswith(f"class {kind.__name__}:")
            name, _, rest = line.strip().partition(": ")
            if inside and "  # " in rest:
                widths[name] = width(rest.split("  # ")[1].split(",")[0])
    return widths


def width(c_type: str) -> int:
    """Bytes of a C type."""
    name, _, length = c_type.partition("[")
    sizes = {"char": 1, "ip_addr": 16, "mac_addr": 6}
    size = sizes.get(name) or int("".join(filter(str.isdigit, name)) or "0") // 8
    return size * int(length.rstrip("]")) if length else size


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: f"{kind.__name__} survives packing")
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_round_trip(kind: Any, data: st.DataObject) -> None:
    records = data.draw(st.lists(records_of(kind), max_size=3))
    packed = kind.pack_many(records)
    assert len(packed) == kind.SIZE * len(records)
    assert kind.unpack_many(packed) == records
    assert [kind.unpack(one.pack()) for one in records] == records


def test_a_port_out_of_range_is_refused() -> None:
    key = abi.ServiceKey(addr=IPv6Address(0), port=70000, protocol=6, scope=0)
    with pytest.raises(Exception, match="format"):
        key.pack()


@given(st.lists(st.integers(0, (1 << 32) - 1)))
def test_bare_numbers_survive_packing(numbers: list[int]) -> None:
    codec = record.IntCodec("<I")
    assert codec.unpack_many(codec.pack_many(numbers)) == numbers
    assert [codec.unpack(codec.pack(n)) for n in numbers] == numbers


@given(st.lists(st.integers(0, (1 << 128) - 1).map(IPv6Address)))
def test_bare_addresses_survive_packing(addresses: list[IPv6Address]) -> None:
    codec = record.ADDRESS
    assert codec.unpack_many(codec.pack_many(addresses)) == addresses
    assert [codec.unpack(codec.pack(a)) for a in addresses] == addresses
