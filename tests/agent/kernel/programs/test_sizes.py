"""How large the maps become."""

from dataclasses import fields
from typing import Any

import pytest

from agent.kernel.programs.sizes import LEAST, SHARE, constants, entry_octets, memory_bytes, sizes
from agent.options.config import Options
from maps import abi, libbpf
from maps.spec import OPTIONS, MapKind, MapSpec
from maps.table import Table

GIB = 1 << 30
CACHE_SPAN = abi.MAPS["flow_caches"].per_cpu
SIZED = tuple(spec for spec in abi.MAPS.values() if spec.is_sized)


def _bytes(entries: Any, cpus: int) -> Any:
    """What all maps take; buckets are reckoned with the entries in them."""
    return sum(n * entry_octets(abi.MAPS[name], cpus) for name, n in entries.items() if name != abi.FLOWS.buckets)


def test_every_option_that_a_map_names_is_one_of_the_agent() -> None:
    assert {field.name for field in fields(Options) if field.name.startswith("max_")} == OPTIONS
    assert {spec.option for spec in SIZED} - {""} == OPTIONS


def test_a_large_node_gets_the_sizes_of_the_source() -> None:
    entries = sizes(Options(), 64 * GIB, 1)
    assert entries == {name: spec.max_entries for name, spec in abi.MAPS.items()}
    more = sizes(Options(), 64 * GIB, 8)
    sized = {spec.name for spec in SIZED if spec.per_cpu} | {abi.FLOWS.buckets}
    assert {name for name in more if more[name] != entries[name]} == sized


@pytest.mark.parametrize(("cpus", "flows"), [(1, 262144), (4, 262144), (8, 524288), (256, 1 << 20)])
def test_more_cpus_are_good_for_more_flows(cpus: int, flows: int) -> None:
    assert sizes(Options(), 256 * GIB, cpus)["flows"] == flows


@pytest.mark.parametrize(("gib", "least"), [(1, 80_000), (2, 160_000), (4, 262_144)])
def test_a_small_node_has_the_flows_that_its_memory_allows(gib: int, least: int) -> None:
    assert sizes(Options(), gib * GIB, 2)["flows"] >= least


@pytest.mark.parametrize("gib", [1, 2, 4])
def test_the_maps_of_a_small_node_take_at_most_their_share(gib: Any) -> None:
    assert _bytes(sizes(Options(), gib * GIB, 2), 2) <= gib * GIB // SHARE


def test_an_option_is_taken_as_it_stands_and_the_rest_shares_what_is_left() -> None:
    entries = sizes(Options(max_flows=500_000), 2 * GIB, 2)
    assert entries["flows"] == 500_000
    assert entries["services"] < sizes(Options(), 2 * GIB, 2)["services"]


@pytest.mark.parametrize("flows", [1, 10, 1280, 1281, 500_000, 1 << 24])
def test_the_buckets_have_room_for_all_flows_and_their_parts_are_alike(flows: int) -> None:
    fixed = constants({spec.name: spec.max_entries for spec in abi.MAPS.values()} | {"flows": flows}, 2)
    buckets, stretches = fixed["flow_bucket_number"], fixed["flow_stretches"]
    assert flows <= buckets * abi.FLOW_ROOM < flows + (stretches + 1) * abi.FLOW_ROOM
    assert buckets % stretches == 0
    assert stretches <= abi.MAPS["gc_looks"].max_entries


def test_no_map_falls_below_the_least_size() -> None:
    entries = sizes(Options(max_flows=1 << 24), GIB, 2)
    assert min(entries[spec.name] for spec in SIZED) == LEAST


@pytest.mark.parametrize(("gib", "cpus", "span"), [(64, 2, CACHE_SPAN), (64, 1, CACHE_SPAN), (1024, 128, 8192)])
def test_every_cpu_keeps_copies_of_flows(gib: int, cpus: int, span: int) -> None:
    assert constants(sizes(Options(), gib * GIB, cpus), cpus)["cache_span"] == span


@pytest.mark.parametrize("cpus", [1, 3, 7, 96, 1024])
@pytest.mark.parametrize("gib", [1, 3, 512])
def test_all_copies_have_room(gib: int, cpus: int) -> None:
    entries = sizes(Options(), gib * GIB, cpus)
    span = constants(entries, cpus)["cache_span"]
    assert span & (span - 1) == 0
    assert span == 1 or (cpus * span <= entries["flow_caches"] and cpus * (span // 2) <= entries["cache_sets"])
    assert span == 1 or (cpus * span <= entries["shortcuts"] and cpus * span <= 4 * entries["shortcut_tags"])


def test_the_memory_is_read_from_meminfo() -> None:
    assert memory_bytes("MemTotal:       24684084 kB\nMemFree: 1 kB\n") == 24684084 * 1024


@pytest.mark.kernel
@pytest.mark.parametrize("spec", SIZED, ids=lambda s: s.name)
def test_an_entry_takes_what_the_kernel_charges(spec: MapSpec[Any, Any]) -> None:
    table = Table.create(spec, 4096)
    if not spec.kind.is_array:
        keys = b"".join(_key(spec, i) for i in range(1, 4097))
        table.update_packed(keys, bytes(4096 * spec.value.SIZE), 4096)
    charged = libbpf.map_info(table.fd).memory_bytes / 4096
    table.close()
    assert (
        0.6 <= charged / entry_octets(spec, libbpf.possible_cpus()) <= 1.01
    )  # of a power of two, and what is once a map


def _key(spec: MapSpec[Any, Any], number: int) -> bytes:
    if spec.kind is not MapKind.LPM_TRIE:
        return number.to_bytes(spec.key.SIZE, "little")
    bits = 8 * (spec.key.SIZE - 4)  # struct bpf_lpm_trie_key: the length, then the address
    return bits.to_bytes(4, "little") + number.to_bytes(spec.key.SIZE - 4, "big")
