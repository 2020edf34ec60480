"""Files whole or not there, also in folders that pods mount."""

from pathlib import Path

import pytest

from agent.pods.files import below, place


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    other, draft = tmp_path / "passwd", tmp_path / "interface.draft"
    other.write_text("root")
    draft.symlink_to(other)
    place(tmp_path / "interface.json", b"{}", draft=draft)
    assert ((tmp_path / "interface.json").read_bytes(), other.read_text()) == (b"{}", "root")
    assert not draft.is_symlink()


def test_what_a_dead_writer_left_is_in_nobodys_way(tmp_path: Path) -> None:
    draft = tmp_path / "interface.draft"
    draft.write_text("half of a lo")
    place(tmp_path / "interface.json", b"{}", draft=draft, mode=0o644)
    assert (tmp_path / "interface.json").read_bytes() == b"{}"
    assert not draft.exists()


def test_a_failure_leaves_what_was_there_and_no_draft(tmp_path: Path) -> None:
    (tmp_path / "interface.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        place(tmp_path / "interface.json", b"{}", draft=tmp_path / "interface.draft")
    assert [path.name for path in tmp_path.iterdir()] == ["interface.json"]


def test_links_of_another_root_lead_to_where_they_do_there(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    (tmp_path / "var/lock").symlink_to("../run/lock")
    assert below(tmp_path, Path("/var/run/x/y")) == tmp_path / "run/x/y"
    assert below(tmp_path, Path("/var/lock/x")).resolve() == tmp_path / "run/lock/x"
    assert below(tmp_path, Path("/opt/cni")) == tmp_path / "opt/cni"
