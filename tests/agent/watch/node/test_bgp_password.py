"""Files of passwords: read again, never shown, and what cannot be used is told by file and place."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.model.bgp import Password
from agent.threads import Threads
from agent.watch.mirror import Mirror
from agent.watch.node.bgp_password import PasswordSource


@pytest.fixture
def mirror() -> Mirror:
    return Mirror(lambda _: None, (), routes=True)


@pytest.fixture
def source(tmp_path: Path, mirror: Mirror) -> PasswordSource:
    (tmp_path / "keys").mkdir()
    return PasswordSource(tmp_path / "keys", tmp_path / "list", mirror, Threads())


def encoded(*texts: str) -> str:
    return ",".join(base64.b64encode(text.encode()).decode() for text in texts)


def test_files_by_their_names_and_a_list_in_its_order(tmp_path: Path, mirror: Mirror, source: PasswordSource) -> None:
    (tmp_path / "keys" / "tor").write_text("one\n")
    (tmp_path / "keys" / "..data").mkdir()
    (tmp_path / "list").write_text(encoded("two", "three") + "\n")
    source.look()
    found = mirror.cluster.bgp_passwords
    assert found.by_key == {"tor": Password("one")}
    assert found.of_options == (Password("two"), Password("three"))
    (tmp_path / "keys" / "tor").write_text("four")
    source.look()
    assert mirror.cluster.bgp_passwords.by_key == {"tor": Password("four")}
    assert "four" not in repr(mirror.cluster)


@pytest.mark.parametrize(
    ("text", "passwords", "is_lost"),
    [
        pytest.param(
            f"{encoded('one')},,no base64!", (Password("one"), Password(""), None), False, id="one is no base64"
        ),
        pytest.param(encoded("one", "x" * 81), (Password("one"), None), False, id="one is too long"),
        pytest.param("\n", (), True, id="nothing in the file"),
        pytest.param(None, (), True, id="no file"),
    ],
)
def test_a_listed_password_that_cannot_be_used_is_none_that_is_not_wanted(
    tmp_path: Path,
    mirror: Mirror,
    source: PasswordSource,
    text: str | None,
    passwords: tuple[Password | None, ...],
    *,
    is_lost: bool,
) -> None:
    if text is not None:
        (tmp_path / "list").write_text(text)
    source.look()
    found = mirror.cluster.bgp_passwords
    assert (found.of_options, found.is_list_lost) == (passwords, is_lost)
    assert len(mirror.cluster.problems) == 1


def test_nothing_is_configured_before_they_were_looked_for(mirror: Mirror, source: PasswordSource) -> None:
    assert "passwords of BGP" in mirror.missing()
    source.look()
    assert "passwords of BGP" not in mirror.missing()


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda folder: (folder / "keys" / "tor").write_text('with "quotes"'), id="a quote"),
        pytest.param(lambda folder: (folder / "keys" / "tor").write_text("x" * 81), id="too long"),
        pytest.param(lambda folder: (folder / "keys" / "tor").write_bytes(b"\xff\xfe"), id="no text"),
        pytest.param(lambda folder: (folder / "list").write_text("no base64!"), id="no base64"),
    ],
)
def test_what_cannot_be_used_is_told_without_it(
    tmp_path: Path, mirror: Mirror, source: PasswordSource, write: Callable[[Path], object]
) -> None:
    (tmp_path / "list").write_text(encoded("good"))
    write(tmp_path)
    source.look()
    (problem,) = mirror.cluster.problems
    assert problem.kind == "File"
    assert "quotes" not in problem.text
    assert mirror.cluster.bgp_passwords.by_key == {}
