"""The table in memory and the table in the kernel keep one contract."""

import os
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address
from typing import Any

import pytest

from maps import abi, table
from maps.errors import LayoutMismatch, MapFull, MapsError
from maps.memory import MemoryTable
from maps.percpu import PerCpuTable
from maps.spec import MapSpec
from maps.table import Table, TableLike

Make = Callable[..., TableLike[Any, Any]]


@pytest.fixture(params=[pytest.param("memory"), pytest.param("kernel", marks=pytest.mark.kernel)])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Make a table of a spec and a size."""
    made: list[TableLike[Any, Any]] = []

    def one(spec: MapSpec[Any, Any], max_entries: int = 0) -> TableLike[Any, Any]:
        if request.param == "memory":
            made.append(MemoryTable(spec, max_entries))
        elif spec.kind.is_per_cpu:
            made.append(PerCpuTable.create(spec, max_entries))
        else:
            made.append(Table.create(spec, max_entries))
        return made[-1]

    yield one
    for each in made:
        each.close()


def backend(i: int) -> tuple[abi.BackendKey, abi.Backend]:
    """A backend like no other."""
    return abi.BackendKey(i // 7, i % 7), abi.Backend(IPv6Address((0xFFFF << 32) + i), 1 + i % 65535, i & 1, 1)


def test_what_is_written_is_read(make: Make) -> None:
    backends = make(abi.BACKENDS)
    backends.update([backend(1), backend(2)])
    assert backends.get(backend(1)[0]) == backend(1)[1]
    assert dict(backends.items()) == dict([backend(1), backend(2)])
    assert backends.count() == 2


def test_a_key_that_is_not_there_is_none(make: Make) -> None:
    assert make(abi.BACKENDS).get(abi.BackendKey(1, 1)) is None


def test_an_empty_table_has_no_items(make: Make) -> None:
    backends = make(abi.BACKENDS)
    assert list(backends.items()) == []
    assert backends.count() == 0


def test_an_update_replaces(make: Make) -> None:
    backends = make(abi.BACKENDS)
    key, value = backend(1)
    backends.update([(key, value)])
    backends.update([(key, backend(2)[1])])
    assert dict(backends.items()) == {key: backend(2)[1]}


def test_of_one_key_twice_the_last_counts(make: Make) -> None:
    backends = make(abi.BACKENDS)
    key, value = backend(1)
    backends.update([(key, backend(2)[1]), (key, value)])
    assert backends.get(key) == value


def test_nothing_to_write_and_nothing_to_delete_is_fine(make: Make) -> None:
    backends = make(abi.BACKENDS)
    backends.update([])
    backends.update_packed(b"", b"", 0)
    backends.delete([])
    assert backends.count() == 0


def test_keys_that_are_gone_may_be_deleted_again(make: Make) -> None:
    backends = make(abi.BACKENDS)
    backends.update(map(backend, range(5)))
    gone = [backend(i)[0] for i in (9, 1, 8, 3, 7)]
    backends.delete(gone)
    backends.delete(gone)
    assert dict(backends.items()) == dict(backend(i) for i in (0, 2, 4))


def test_many_entries_come_back_each_once(make: Make) -> None:
    backends = make(abi.BACKENDS)
    backends.update(map(backend, range(10_000)))
    read = list(backends.items())
    assert len(read) == 10_000
    assert dict(read) == dict(map(backend, range(10_000)))


def test_packed_and_plain_writes_are_the_same(make: Make) -> None:
    backends = make(abi.BACKENDS)
    pairs = [backend(i) for i in range(100)]
    keys = abi.BackendKey.pack_many(key for key, _ in pairs)
    backends.update_packed(keys, abi.Backend.pack_many(value for _, value in pairs), 100)
    assert dict(backends.items()) == dict(pairs)


def test_packed_bytes_of_a_wrong_length_are_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="are not 2 entries"):
        make(abi.BACKENDS).update_packed(bytes(16), bytes(20), 2)


def test_packed_and_plain_deletes_are_the_same(make: Make) -> None:
    backends = make(abi.BACKENDS)
    backends.update(map(backend, range(5)))
    gone = [backend(i)[0] for i in (9, 1, 3)]
    backends.delete_packed(abi.BackendKey.pack_many(gone), 3)
    assert dict(backends.items()) == dict(backend(i) for i in (0, 2, 4))
    with pytest.raises(ValueError, match="are not 2 keys"):
        backends.delete_packed(bytes(9), 2)


def test_a_full_hash_says_so_and_keeps_what_came_before(make: Make) -> None:
    backends = make(abi.BACKENDS, 8)
    with pytest.raises(MapFull) as full:
        backends.update(map(backend, range(12)))
    assert (full.value.name, full.value.capacity, full.value.wanted) == ("backends", 8, 12)
    assert dict(backends.items()) == dict(map(backend, range(8)))


def test_a_full_hash_still_takes_changes(make: Make) -> None:
    backends = make(abi.BACKENDS, 8)
    backends.update(map(backend, range(8)))
    backends.update([(backend(3)[0], backend(4)[1])])
    assert backends.get(backend(3)[0]) == backend(4)[1]


def test_a_full_lru_forgets_instead(make: Make) -> None:
    affinities = make(abi.AFFINITIES, 64)
    value = abi.Affinity(IPv6Address(1), 80, 0, 0)
    for i in range(1000):
        affinities.update([(abi.AffinityKey(IPv6Address(i), 1), value)])
    assert 0 < affinities.count() <= 64


def test_an_array_has_all_its_entries_from_the_start(make: Make) -> None:
    node = make(abi.NODE)
    assert [key for key, _ in node.items()] == [0]
    assert node.get(0) == abi.Node.unpack(bytes(abi.Node.SIZE))
    assert node.count() == 1


def test_an_array_keeps_its_entries(make: Make) -> None:
    with pytest.raises(TypeError, match="keeps its entries"):
        make(abi.NODE).delete([0])


def test_an_array_has_no_other_indices(make: Make) -> None:
    node = make(abi.NODE)
    with pytest.raises(IndexError, match="no entry 1"):
        node.update([(1, abi.Node.unpack(bytes(abi.Node.SIZE)))])
    with pytest.raises(IndexError, match="no entry 1"):
        node.get(1)


def test_a_sum_over_cpus_reads_as_it_was_written(make: Make) -> None:
    counters = make(abi.COUNTERS)
    counters.update([(5, abi.Counter(packets=3, octets=180))])
    assert counters.get(5) == abi.Counter(packets=3, octets=180)
    assert sum(counter.packets for _, counter in counters.items()) == 3


def test_bare_keys_are_addresses_and_numbers(make: Make) -> None:
    endpoints, sets = make(abi.ENDPOINTS), make(abi.BACKEND_SETS)
    endpoint = abi.Endpoint(slot=1, flags=0)
    endpoints.update([(IPv6Address("::ffff:10.0.0.1"), endpoint)])
    sets.update([(7, abi.BackendSet("default/web:http/TCP/IPv4/cluster"))])
    assert list(endpoints.items()) == [(IPv6Address("::ffff:10.0.0.1"), endpoint)]
    assert list(sets.items()) == [(7, abi.BackendSet("default/web:http/TCP/IPv4/cluster"))]


@pytest.mark.kernel
def test_every_write_call_is_counted_for_the_fail_point(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(table, "on_write", seen.append)
    backends = Table.create(abi.BACKENDS)
    backends.update(map(backend, range(100)))
    backends.delete([backend(1)[0]])
    backends.close()
    assert seen == [seen[0], seen[0] + 1]


@pytest.mark.kernel
def test_a_map_of_another_size_is_not_taken() -> None:
    wrong = MapSpec("backends", abi.BACKENDS.kind, abi.BACKENDS.key, abi.MAGLEVS.value, 8, 1)
    made = Table.create(wrong)
    with pytest.raises(LayoutMismatch, match="another build"):
        Table(abi.BACKENDS, os.dup(made.fd))
    made.close()


@pytest.mark.kernel
def test_a_closed_table_fails_with_an_error_of_ours() -> None:
    backends = Table.create(abi.BACKENDS)
    backends.close()
    backends.close()
    with pytest.raises(MapsError):
        backends.update([backend(1)])
