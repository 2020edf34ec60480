"""Any map can be read in words, whatever build made it."""

from pathlib import Path
from types import ModuleType

import pytest

from maps import libbpf
from maps.dump import Entry, dump, dump_fd
from maps.libbpf import Object
from maps.table import Table

pytestmark = pytest.mark.kernel


def test_records_are_shown_by_their_types(bpffs: Path, layout_object: Path, twin: ModuleType) -> None:
    with Object.open(layout_object) as program:
        program.load()
        libbpf.pin(program.map_fd("lamps"), bpffs / "lamps")
    lamps = Table.open(twin.LAMPS, bpffs / "lamps")
    end = twin.End(5, b"\2\0\0\0\0\1")
    address = twin.IPv6Address("::ffff:10.0.0.1")
    lamps.update(
        [
            (
                twin.LampKey(address, 8080),
                twin.Lamp(
                    address, 258, twin.Colour.COLOUR_BLUE, (end, end), "lobby", b"\1\0" * 5, 3, b"abc", -7, 1 << 33
                ),
            )
        ]
    )
    lamps.close()
    shown_end = {"ifindex": 5, "mac": "02:00:00:00:00:01"}
    assert list(dump(bpffs / "lamps")) == [
        Entry(
            {"addr": "10.0.0.1", "port": 8080},
            {
                "addr": "10.0.0.1",
                "ident": 258,
                "colour": "COLOUR_BLUE",
                "ends": [shown_end, shown_end],
                "label": "lobby",
                "slots": [1, 1, 1, 1, 1],
                "flags": 3,
                "code": [97, 98, 99],
                "height": -7,
                "seen_ns": 1 << 33,
            },
        )
    ]


def test_a_per_cpu_map_shows_every_cpu(layout_object: Path) -> None:
    with Object.open(layout_object) as program:
        program.load()
        shown = list(dump_fd(program.map_fd("tallies")))
    assert len(shown) == 8
    assert shown[0] == Entry(0, [{"packets": 0, "octets": 0}] * libbpf.possible_cpus())


def test_a_map_without_btf_is_shown_in_hexadecimal(twin: ModuleType) -> None:
    guests = Table.create(twin.GUESTS)
    guests.update([(twin.IPv6Address(1), 258)])
    assert list(dump_fd(guests.fd)) == [Entry("00" * 15 + "01", "0201000000000000")]
    guests.close()
