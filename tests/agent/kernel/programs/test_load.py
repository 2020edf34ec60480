"""Which programs are loaded, and what is done with them then."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.errors import AgentError
from agent.kernel.programs import load
from agent.kernel.programs.hooks import XDP
from agent.kernel.programs.load import GC_START, GC_TRIES, Loaded, Programs
from maps import abi, libbpf
from maps.pins import PinRoot
from maps.table import Table
from tests.agent.kernel.conftest import Tiny
from tests.agent.kernel.programs.test_attach import SIZES

EPERM = 0xFFFFFFFF


def start(monkeypatch: pytest.MonkeyPatch, refusals: int) -> int:
    """How often the kernel was asked, which refuses so many times."""
    answers = iter([EPERM] * refusals + [0] * GC_TRIES)
    asked = []

    def test_run(*_: object) -> SimpleNamespace:
        asked.append(1)
        return SimpleNamespace(retval=next(answers))

    monkeypatch.setattr("agent.kernel.programs.load.libbpf.test_run", test_run)
    monkeypatch.setattr(load, "GC_PAUSE_S", 0.0)
    loaded = object.__new__(Loaded)
    loaded.programs = Programs(lambda _, name: pytest.fail(f"{name} is loaded"))
    loaded.programs[GC_START] = 3
    loaded.start_gc()
    return len(asked)


@pytest.mark.parametrize("refusals", [0, 1, GC_TRIES - 1])
def test_a_timer_that_had_no_memory_is_armed_as_soon_as_it_has(monkeypatch: pytest.MonkeyPatch, refusals: int) -> None:
    assert start(monkeypatch, refusals) == refusals + 1


def test_one_that_never_has_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AgentError, match="gc_start returned 0xffffffff"):
        start(monkeypatch, GC_TRIES)


@pytest.mark.kernel
def test_a_program_that_few_nodes_use_is_loaded_when_it_is_asked_for_and_on_the_same_maps(
    pin_root: Path, tiny: Tiny
) -> None:
    with loaded_of(pin_root, tiny) as loaded:
        assert XDP not in loaded.programs
        assert "pod_ingress" in loaded.programs
        for _ in range(2):
            libbpf.test_run(loaded.programs[XDP], bytes(64))
        assert XDP in loaded.programs
        with closing(Table.open(abi.NODE, loaded.generation.map_path("node"))) as node:
            assert [value.revision for _, value in node.items()] == [2]


@pytest.mark.kernel
def test_one_whose_maps_have_lost_their_pins_is_not_loaded_onto_others(pin_root: Path, tiny: Tiny) -> None:
    with loaded_of(pin_root, tiny) as loaded:
        loaded.generation.map_path("copies").unlink()
        with pytest.raises(AgentError, match="copies; start the agent again"):
            _ = loaded.programs[XDP]
        assert not loaded.generation.map_path("copies").exists()


def test_there_is_no_program_of_a_name_that_no_object_has() -> None:
    with pytest.raises(KeyError):
        _ = Programs(lambda *_: 0)["uplink_xpd"]


@contextmanager
def loaded_of(pin_root: Path, tiny: Tiny) -> Iterator[Loaded]:
    """The programs of version 1, onto maps of their own."""
    loaded = Loaded(tiny(1), PinRoot(pin_root).generation("one"), SIZES)
    try:
        yield loaded
    finally:
        loaded.close()
