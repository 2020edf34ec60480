"""Pins outlive the process, belong to one agent at a time, and survive its death at any step."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from maps import abi, libbpf, pins
from maps.carry import carry
from maps.errors import LayoutMismatch, PinRootBusy
from maps.libbpf import Object
from maps.pins import Generation, PinRoot
from maps.table import Table

pytestmark = pytest.mark.kernel


@pytest.fixture
def root(bpffs: Path) -> Iterator[PinRoot]:
    """A locked pin root."""
    made = PinRoot(bpffs / "deep" / "root")
    made.lock()
    yield made
    made.unlock()


def loaded(generation: Generation, path: Path, sizes: dict[str, int] | None = None) -> tuple[str, ...]:
    """Load an object on a generation's maps; returns the maps that were new."""
    with Object.open(path) as program:
        for name, size in (sizes or {}).items():
            program.resize(name, size)
        generation.adopt(program)
        program.load()
        return generation.keep(program)


def test_a_second_agent_is_refused_by_name(root: PinRoot) -> None:
    with pytest.raises(PinRootBusy, match=f"another agent works on the pins in {root.path}"):
        PinRoot(root.path).lock()


def test_the_lock_ends_with_its_process(bpffs: Path) -> None:
    script = f"from maps.pins import PinRoot; from pathlib import Path; PinRoot(Path({str(bpffs)!r})).lock()"
    subprocess.run([sys.executable, "-c", script], check=True)
    root = PinRoot(bpffs)
    root.lock()
    root.unlock()


def test_a_second_load_takes_the_first_ones_maps(root: PinRoot, layout_object: Path, twin: ModuleType) -> None:
    generation = root.generation("one")
    assert set(loaded(generation, layout_object)) == {"lamps", "shelves", "tallies", "guests", "alarms"}
    guests = Table.open(twin.GUESTS, generation.map_path("guests"))
    before = libbpf.map_info(guests.fd).id
    assert loaded(generation, layout_object) == ()
    assert generation.pinned() == ("alarms", "guests", "lamps", "shelves", "tallies")
    fd = libbpf.get_pinned(generation.map_path("guests"))
    assert libbpf.map_info(fd).id == before
    os.close(fd)
    guests.close()


def test_a_half_made_generation_is_completed(root: PinRoot, layout_object: Path) -> None:
    generation = root.generation("one")
    loaded(generation, layout_object)
    generation.map_path("lamps").unlink()
    assert loaded(root.generation("one"), layout_object) == ("lamps",)


def test_sizes_make_another_generation() -> None:
    first = pins.generation_name("abc", {"services": 8, "flows": 9})
    assert first == pins.generation_name("abc", {"flows": 9, "services": 8})
    assert first.startswith("abc-")
    assert first != pins.generation_name("abc", {"services": 8, "flows": 10})


def test_the_current_generation_changes_in_one_step(root: PinRoot) -> None:
    assert root.current() is None
    one, two = root.generation("one"), root.generation("two")
    root.make_current(one)
    assert root.current() == one
    assert root.stale() == (two,)
    (root.path / "current-next").symlink_to("nowhere")  # killed before the rename
    root.make_current(two)
    assert root.current() == two
    assert PinRoot(root.path).current() == two
    assert root.generations() == (one, two)


def test_a_removed_generation_is_gone_with_its_maps(root: PinRoot, layout_object: Path) -> None:
    one, two = root.generation("one"), root.generation("two")
    loaded(one, layout_object)
    root.make_current(two)
    for stale in root.stale():
        root.remove(stale)
    assert root.generations() == (two,)
    assert sorted(entry.name for entry in root.path.iterdir()) == ["current", "links", "two"]


def test_a_removal_killed_half_way_is_finished(root: PinRoot, layout_object: Path) -> None:
    one = root.generation("one")
    loaded(one, layout_object)
    one.path.rename(root.path / "removed-one")
    (root.path / "removed-one" / "maps" / "lamps").unlink()
    assert root.generations() == ()
    root.finish_removals()
    assert sorted(entry.name for entry in root.path.iterdir()) == ["links"]


def test_cleaning_up_leaves_nothing(root: PinRoot, layout_object: Path) -> None:
    loaded(root.generation("one"), layout_object)
    root.make_current(root.generation("one"))
    root.remove_all()
    assert not root.path.exists()


def test_entries_are_carried_to_a_larger_generation(root: PinRoot, layout_object: Path, twin: ModuleType) -> None:
    small, large = root.generation("small"), root.generation("large")
    loaded(small, layout_object)
    loaded(large, layout_object, {"lamps": 128})
    end = twin.End(0, bytes(6))

    def lamp(i: int) -> tuple[object, object]:
        address = twin.IPv6Address(i)
        value = twin.Lamp(address, 0, twin.Colour.COLOUR_RED, (end, end), str(i), bytes(10), 0, bytes(3), 0, i)
        return twin.LampKey(address, 1), value

    old, new = (Table.open(twin.LAMPS, made.map_path("lamps")) for made in (small, large))
    assert (old.max_entries, new.max_entries) == (64, 128)
    old.update(lamp(i) for i in range(60))
    newer = (lamp(5)[0], lamp(99)[1])
    new.update([newer])
    assert carry(old.fd, new.fd) == 59
    assert carry(old.fd, new.fd) == 0
    assert dict(new.items()) == dict(old.items()) | dict([newer])
    counts, more = (Table.create(replace(abi.LOAD_SOCKETS, max_entries=n)) for n in (8, 4))
    said, later = abi.LoadSocket(9, 1, 1), abi.LoadSocket(17, 2, 2)
    counts.update([(1, said), (2, said), (6, said)])
    more.update([(2, later)])
    assert carry(counts.fd, more.fd) == 1
    assert dict(more.items()) == {1: said, 2: later} | dict.fromkeys((0, 3), abi.LoadSocket(0, 0, 0))
    for table in (counts, more):
        table.close()
    shelves = Table.open(twin.SHELVES, large.map_path("shelves"))
    with pytest.raises(LayoutMismatch):
        carry(old.fd, shelves.fd)
    for table in (old, new, shelves):
        table.close()


def test_what_others_have_beside_the_pins_is_no_generation_and_stays(bpffs: Path) -> None:
    """As where the root is a folder that others use, such as tc's."""
    (bpffs / "globals").mkdir()
    (bpffs / "globals/theirs").symlink_to("x")
    root = PinRoot(bpffs)
    root.lock()
    made = root.generation("one")
    assert root.generations() == (made,)
    assert root.stale() == (made,)
    root.remove_all()
    assert [entry.name for entry in bpffs.iterdir()] == ["globals"]
    assert [entry.name for entry in (bpffs / "globals").iterdir()] == ["theirs"]
