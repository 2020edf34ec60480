"""Which objects are loaded: shipped ones, or fresh ones from a cache."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from agent.errors import BuildFailed
from agent.kernel.programs import build
from agent.kernel.programs.build import KEY, NAMES, Compiler, Sources, compiler, key, objects
from agent.options.choices import Objects

CLANG = compiler()


@pytest.fixture
def where(tmp_path: Path) -> Any:
    sources, headers, shipped = (tmp_path / name for name in ("bpf", "include", "objects"))
    for folder in (sources, headers, shipped):
        folder.mkdir()
    (sources / "cflags").write_text("-target bpf\n-O2\n")
    for name in NAMES:
        (sources / f"{name}.bpf.c").write_text("int answer(void) { return 42; }\n")
        (shipped / f"{name}.bpf.o").write_bytes(b"shipped")
    return Sources(sources, headers, shipped)


needs_clang = pytest.mark.skipif(CLANG is None, reason="no clang in PATH")
OLD = Compiler("/nonexistent/clang", "clang version 0")


def test_a_node_without_clang_loads_what_ships(where: Sources, tmp_path: Path) -> None:
    found = objects(Objects.AUTO, tmp_path / "cache", where, None)
    assert {p.parent for p in found.values()} == {where.objects}


def test_objects_of_these_sources_are_not_compiled_again_whatever_compiler_a_node_has(
    where: Sources, tmp_path: Path
) -> None:
    (where.objects / KEY).write_text(key(where))
    for found in (OLD, Compiler("/nonexistent/clang-99", "clang version 99")):
        assert objects(Objects.AUTO, tmp_path / "cache", where, found)["sock"].parent == where.objects


@needs_clang
def test_a_changed_source_is_compiled_once(where: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CLANG
    (where.objects / KEY).write_text(key(where))
    (where.sources / "sock.bpf.c").write_text("int answer(void) { return 43; }\n")
    first = objects(Objects.AUTO, tmp_path / "cache", where, CLANG)
    assert first["sock"].parent.parent == tmp_path / "cache"
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("compiled again"))
    assert objects(Objects.AUTO, tmp_path / "cache", where, CLANG) == first


@pytest.mark.parametrize("part", ["sources/dp.h", "headers/bpf.h"])
def test_the_key_follows_every_file(where: Sources, part: Any) -> None:
    folder, _, name = part.partition("/")
    before = key(where), key(where, OLD)
    (getattr(where, folder) / name).write_text("#define X 1\n")
    assert not {*before} & {key(where), key(where, OLD)}


def test_the_key_follows_the_compiler(where: Sources) -> None:
    assert key(where, OLD) != key(where, Compiler(OLD.path, "clang version 1"))


@needs_clang
def test_who_asks_for_it_has_the_same_sources_compiled(where: Sources, tmp_path: Path) -> None:
    (where.objects / KEY).write_text(key(where))
    assert objects(Objects.COMPILE, tmp_path / "cache", where, CLANG)["sock"].parent.parent == tmp_path / "cache"


@needs_clang
def test_sources_that_do_not_compile_leave_the_shipped_objects_in_use(where: Sources, tmp_path: Path) -> None:
    (where.sources / "sock.bpf.c").write_text("this is no C\n")
    assert objects(Objects.AUTO, tmp_path / "cache", where, CLANG)["sock"].parent == where.objects
    assert list((tmp_path / "cache").iterdir()) == []


@needs_clang
def test_a_compiler_that_was_asked_for_shows_its_complaint(where: Sources, tmp_path: Path) -> None:
    (where.sources / "sock.bpf.c").write_text("this is no C\n")
    with pytest.raises(BuildFailed, match=r"sock\.bpf\.c:\n.*error"):
        objects(Objects.COMPILE, tmp_path / "cache", where, CLANG)


def test_an_agent_that_ships_nothing_and_finds_no_clang_says_so(where: Sources, tmp_path: Path) -> None:
    shutil.rmtree(where.objects)
    with pytest.raises(BuildFailed, match="make build"):
        objects(Objects.AUTO, tmp_path / "cache", where, None)


def test_the_newest_clang_in_path_is_taken(tmp_path: Path) -> None:
    for version in ("14", "19", "9"):
        tool = tmp_path / f"clang-{version}"
        tool.write_text(f"#!/bin/sh\necho clang version {version}\n")
        tool.chmod(0o755)
    (tmp_path / "clang-format-20").write_text("")
    assert compiler(str(tmp_path)) == Compiler(str(tmp_path / "clang-19"), "clang version 19")
