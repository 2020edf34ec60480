"""What is done with programs once they are loaded."""

from types import SimpleNamespace

import pytest

from agent.errors import AgentError
from agent.kernel.programs import load
from agent.kernel.programs.load import GC_START, GC_TRIES, Loaded

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
    loaded.programs = {GC_START: 3}
    loaded.start_gc()
    return len(asked)


@pytest.mark.parametrize("refusals", [0, 1, GC_TRIES - 1])
def test_a_timer_that_had_no_memory_is_armed_as_soon_as_it_has(monkeypatch: pytest.MonkeyPatch, refusals: int) -> None:
    assert start(monkeypatch, refusals) == refusals + 1


def test_one_that_never_has_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AgentError, match="gc_start returned 0xffffffff"):
        start(monkeypatch, GC_TRIES)
