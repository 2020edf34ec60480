"""The generator gives Python what C means, and refuses what would mislead."""

from dataclasses import fields
from enum import IntEnum, IntFlag
from ipaddress import IPv6Address
from pathlib import Path
from types import ModuleType

import pytest

from maps import abigen, exports
from maps.spec import Carried, MapKind, Revises, Writer
from tests.maps.conftest import Compile

HEAD = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#define DOC(text) __attribute__((btf_decl_tag(text)))
#define DECLARED(name, k, v) \\
    struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, k); __type(value, v); } \\
    name SEC(".maps")
#define MAP(name, k, v) DECLARED(name, k, v) DOC(":programs")
#define PRIVATE(name, k, v) DECLARED(name, k, v) DOC(":private")
"""


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        pytest.param(
            "struct leaky { __u8 a; __u32 b; }; MAP(things, __u32, struct leaky);",
            "3 bytes before b: name the padding",
            id="a hole between members is refused",
        ),
        pytest.param(
            "struct leaky { __u64 b; __u8 a; }; MAP(things, __u32, struct leaky);",
            "7 bytes at the end",
            id="a hole at the end is refused",
        ),
        pytest.param(
            "struct rude { __u32 bytes; }; MAP(things, __u32, struct rude);",
            "Python owns the name bytes",
            id="a builtin's name is refused",
        ),
        pytest.param(
            "struct rude { __u32 lambda; }; MAP(things, __u32, struct rude);",
            "Python owns the name lambda",
            id="a keyword is refused",
        ),
        pytest.param("const volatile __u32 secret = 1;", "secret has no DOC", id="an undocumented constant is refused"),
        pytest.param(
            "struct bits { __u32 a : 3; __u32 b : 29; }; MAP(things, __u32, struct bits);",
            "bit field",
            id="a bit field is refused",
        ),
        pytest.param(
            "union either { __u32 a; __u32 b; }; MAP(things, __u32, union either);",
            "cannot be shown",
            id="a union is refused",
        ),
        pytest.param(
            "struct thing { __u32 a; }; MAP(thing, __u32, struct thing); enum Thing { A };"
            "const volatile enum Thing __export_thing = A;",
            "would both be Thing",
            id="two meanings of one Python name are refused",
        ),
        pytest.param(
            "DECLARED(things, __u32, __u32);",
            "map things: one of AGENT_WRITES, PROGRAMS_WRITE and PRIVATE says who writes, not 0",
            id="a map that nobody writes is refused",
        ),
        pytest.param(
            'MAP(things, __u32, __u32) DOC(":agent 1");',
            "map things: one of .* not 2",
            id="a map that two write is refused",
        ),
        pytest.param(
            'DECLARED(things, __u32, __u32) DOC(":agent 4"); DECLARED(others, __u32, __u32) DOC(":agent 4");',
            "maps things and others both have number 4",
            id="two maps under one number of the order of writing are refused",
        ),
        pytest.param(
            'DECLARED(things, __u32, __u32) DOC(":agent FIRST");',
            "AGENT_WRITES wants a positive number, not 'FIRST'",
            id="an order that is no number is refused",
        ),
        pytest.param(
            'MAP(things, __u32, __u32) DOC(":option max_thnigs");',
            "no option max_thnigs sizes maps; there are max_affinities, ",
            id="an option that no agent has is refused",
        ),
        pytest.param(
            'MAP(things, __u32, __u32) DOC(":revises SOMETIMES");',
            "REVISES is for what the agent writes",
            id="a map of the programs that raises the revision is refused",
        ),
        pytest.param(
            'DECLARED(things, __u32, __u32) DOC(":agent 1") DOC(":revises SOMETIMES");',
            "REVISES wants one of NEVER, SET, KEYS, CHANGE, not 'SOMETIMES'",
            id="an unknown change is refused",
        ),
        pytest.param(
            'DECLARED(things, __u32, __u32) DOC(":agent 1") DOC(":carried");',
            "without CARRIED",
            id="a map of the agent that is carried twice is refused",
        ),
        pytest.param(
            'MAP(things, __u32, __u32) DOC(":caried");',
            "the tag ':caried' means nothing",
            id="a declaration that nobody reads is refused",
        ),
        pytest.param(
            'MAP(things, __u32, __u32) DOC(":per_cpu 1") DOC(":per_cpu 2");',
            "the tag :per_cpu stands there twice",
            id="two answers to one question are refused",
        ),
    ],
)
def test_refusals(compile_c: Compile, source: str, complaint: str) -> None:
    path = compile_c(HEAD + source)
    with pytest.raises(exports.ExportError, match=complaint):
        abigen.generate(exports.collect([path]))


def test_two_objects_that_disagree_are_refused(compile_c: Compile) -> None:
    one = compile_c(HEAD + "struct thing { __u32 a; }; MAP(things, __u32, struct thing);")
    other = compile_c(HEAD + "struct thing { __u64 a; }; MAP(things, __u32, struct thing);")
    with pytest.raises(exports.ExportError, match="another object"):
        exports.collect([one, other])


def test_a_refusal_leaves_the_old_module(compile_c: Compile, tmp_path: Path) -> None:
    out = tmp_path / "abi.py"
    out.write_text("old")
    with pytest.raises(SystemExit):
        abigen.main([str(out), str(compile_c(HEAD + "const volatile __u32 secret = 1;"))])
    assert out.read_text() == "old"


def test_names_follow_the_rules(twin: ModuleType) -> None:
    assert issubclass(twin.Colour, IntEnum)
    assert twin.Colour.COLOUR_BLUE == 7
    assert issubclass(twin.LampFlag, IntFlag)
    assert twin.LAMP_MAX == 99
    assert bytes(range(1, 7)) == twin.LAMP_MAC
    assert (twin.LAMPS.name, twin.LAMPS.kind, twin.LAMPS.max_entries) == ("lamps", MapKind.HASH, 64)
    assert twin.GUESTS.kind is MapKind.LRU_HASH
    assert [f.name for f in fields(twin.LampKey)] == ["addr", "port"]


def test_constants_keep_their_defaults(twin: ModuleType) -> None:
    assert (twin.Constants().verdict, twin.Constants().step) == (7, 1)
    assert not hasattr(twin.Constants(), "__export_LAMP_MAX")


def test_the_registry_has_every_map_under_its_name(twin: ModuleType) -> None:
    assert {name: spec.name for name, spec in twin.MAPS.items()} == {
        name: name for name in ("lamps", "shelves", "tallies", "guests", "alarms")
    }
    assert twin.MAPS["lamps"] is twin.LAMPS


def test_what_is_declared_beside_a_map_is_in_its_spec(twin: ModuleType) -> None:
    lamps, guests = twin.LAMPS, twin.GUESTS
    assert (lamps.writer, lamps.order, lamps.option, lamps.flag) == (Writer.AGENT, 7, "max_services", "--max-services")
    assert (lamps.carried, lamps.revises, lamps.counted) == (Carried.SEED, Revises.CHANGE, True)
    assert (guests.writer, guests.order, guests.option, guests.flag) == (Writer.PROGRAMS, 0, "", "")
    assert (guests.per_cpu, guests.carried, guests.revises) == (16, Carried.TRAFFIC, Revises.NEVER)
    assert not guests.counted  # what programs fill is too large to be walked at every scrape
    assert not twin.SHELVES.counted  # an array is always full
    assert not twin.LAMPS.private


def test_octets_that_the_agent_does_not_compare_are_masked_at_every_depth(twin: ModuleType) -> None:
    kept = b"\xff" * 4 + bytes(8)
    assert twin.SHELVES.live == kept
    assert twin.LAMPS.live == bytes(24) + kept + kept + bytes(twin.Lamp.SIZE - 48)
    assert twin.GUESTS.live == b""


def test_a_private_map_has_octets_for_keys_and_values(twin: ModuleType) -> None:
    alarms = twin.MAPS["alarms"]
    assert (alarms.private, alarms.kind, alarms.max_entries) == (True, MapKind.ARRAY, 1)
    assert (alarms.key.SIZE, alarms.value.SIZE) == (4, 16)
    assert alarms.value.unpack_many(bytes(32)) == [bytes(16), bytes(16)]
    assert not hasattr(twin, "ALARMS")


def test_a_record_lies_in_memory_as_in_c(twin: ModuleType) -> None:
    end = twin.End(ifindex=5, mac=b"abcdef")
    lamp = twin.Lamp(
        addr=IPv6Address("::ffff:1.2.3.4"),
        ident=0x01020304,
        colour=twin.Colour.COLOUR_BLUE,
        ends=(end, end),
        label="lobby",
        slots=bytes(range(10)),
        flags=3,
        code=b"xyz",
        height=-2,
        seen_ns=1 << 40,
    )
    packed_end = b"\5\0\0\0abcdef\0\0"
    assert lamp.pack() == (
        bytes(10) + b"\xff\xff\1\2\3\4" + b"\1\2\3\4" + b"\7\0\0\0" + packed_end * 2 + b"lobby".ljust(12, b"\0")
        + bytes(range(10)) + b"\3\0" + b"xyz\0" + b"\xfe\xff\xff\xff" + bytes(5) + b"\1\0\0"
    )  # fmt: skip
    assert twin.Lamp.unpack(lamp.pack()) == lamp


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"label": "a label too long"}, id="text that does not fit"),
        pytest.param({"code": b"xy"}, id="too few bytes"),
        pytest.param({"flags": 1 << 16}, id="a number out of range"),
    ],
)
def test_what_does_not_fit_is_refused_not_cut(twin: ModuleType, change: dict[str, object]) -> None:
    end = twin.End(0, bytes(6))
    known = {
        "addr": IPv6Address(0), "ident": 0, "colour": 0, "ends": (end, end), "label": "", "slots": bytes(10),
        "flags": 0, "code": bytes(3), "height": 0, "seen_ns": 0,
    }  # fmt: skip
    with pytest.raises(Exception, match=r"wanted|fit|format|range"):
        twin.Lamp(**known | change).pack()


def test_the_layout_knows_types_but_not_sizes_of_maps(compile_c: Compile) -> None:
    source = HEAD + "struct thing { __u32 a; }; MAP(things, __u32, struct thing);"
    first, larger, other = (
        abigen.layout(exports.collect([compile_c(text)]))
        for text in (source, source.replace("max_entries, 8", "max_entries, 9"), source.replace("__u32 a", "__s32 a"))
    )
    assert first == larger
    assert first != other


@pytest.mark.parametrize(
    ("words", "others"),
    [
        pytest.param("__u32 b;", "__u64 b;", id="a larger value"),
        pytest.param("__u32 b;", "__u32 c;", id="another name in the same place"),
        pytest.param("__u8 b; __u32 c;", "__u32 c; __u8 b;", id="another order of the same size"),
        pytest.param(
            "union { __u32 b; __u16 c; };", "union { __u32 b; __u8 c; };", id="what Python could not be shown"
        ),
        pytest.param("(copies, __u32,", "(copies, __u64,", id="another key"),
        pytest.param("BPF_MAP_TYPE_HASH", "BPF_MAP_TYPE_LRU_HASH", id="another kind"),
        pytest.param("__type(key, k)", "__type(key, k); __uint(map_flags, 1)", id="other flags"),
        pytest.param("copies", "twins", id="another map"),
    ],
)
def test_the_layout_knows_the_maps_that_python_is_not_shown(compile_c: Compile, words: str, others: str) -> None:
    member = words if words.endswith(";") else ""
    source = f"{HEAD}struct copy {{ __u32 a; {member} }}; PRIVATE(copies, __u32, struct copy);"
    assert words in source
    first, same, changed = (exports.collect([compile_c(s)]) for s in (source, source, source.replace(words, others)))
    assert not first.maps
    assert abigen.layout(first) == abigen.layout(same) != abigen.layout(changed)
