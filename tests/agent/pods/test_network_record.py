"""Records of pods' networks, and what a start makes of spoilt ones."""

from pathlib import Path

import pytest

from agent.pods.network_record import NetworkRecords, NetworkSet


@pytest.mark.parametrize("spoilt", [b"", b"{", b'{"container_id":"\xff"}', b'{"made":' + b"[" * 100_000])
def test_a_record_that_cannot_be_read_costs_no_other(tmp_path: Path, spoilt: bytes) -> None:
    kept = NetworkSet("c1", "eth0", "/run/netns/p", "default/p", "boot", ())
    NetworkRecords(tmp_path).put(kept)
    (tmp_path / "0.json").write_bytes(spoilt)
    records = NetworkRecords(tmp_path)
    records.load()
    assert records.all() == (kept,)


def test_a_start_takes_away_what_a_writer_that_died_left(tmp_path: Path) -> None:
    """No record of this name comes again: its container is gone."""
    (tmp_path / "0.draft").write_bytes(b'{"container_id":')
    NetworkRecords(tmp_path).load()
    assert list(tmp_path.iterdir()) == []
