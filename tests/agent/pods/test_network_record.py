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
