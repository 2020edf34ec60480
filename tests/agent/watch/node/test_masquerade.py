"""The ranges that pods reach under their own addresses, from a file in ip-masq-agent's format."""

from pathlib import Path

import msgspec
import pytest

from agent.watch.node.masquerade import RESYNC_S, MasqueradeFile, parse

LINK_LOCAL = ["169.254.0.0/16", "fe80::/10"]


@pytest.mark.parametrize(
    ("text", "ranges", "seconds"),
    [
        pytest.param("", [], RESYNC_S, id="an empty file says nothing"),
        pytest.param("resyncInterval: 1m30s", LINK_LOCAL, 90.0, id="link-local ranges are never masqueraded"),
        pytest.param("masqLinkLocal: true\nmasqLinkLocalIPv6: true", [], RESYNC_S, id="unless it says so"),
        pytest.param(
            '{"nonMasqueradeCIDRs": ["10.0.0.0/8", "fd00::/8"], "resyncInterval": "5s"}',
            ["10.0.0.0/8", "fd00::/8", *LINK_LOCAL],
            5.0,
            id="JSON is YAML",
        ),
        pytest.param("resyncInterval: 1ms", LINK_LOCAL, 1.0, id="it is read once a second at most"),
    ],
)
def test_parse(text: str, ranges: list[str], seconds: float) -> None:
    found, resync = parse(text)
    assert (list(map(str, found)), resync) == (ranges, seconds)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("nonMasqueradeCIDRs: [10.0.0.0/8, here]", r"nonMasqueradeCIDRs\[1\]", id="no range"),
        pytest.param("nonMasqueradeCidrs: []", "unknown field", id="a field that is misspelt"),
        pytest.param("resyncInterval: often", "resyncInterval", id="no duration"),
        pytest.param("- 10.0.0.0/8", "Expected `object`", id="no mapping"),
        pytest.param("resyncInterval: !!bool x", "'x'", id="no YAML"),
    ],
)
def test_what_cannot_be_used_is_named(text: str, why: str) -> None:
    with pytest.raises((ValueError, msgspec.ValidationError), match=why):
        parse(text)


def test_a_file_that_becomes_unusable_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config"
    file = MasqueradeFile(path)
    assert file.read() == ()
    path.write_text("nonMasqueradeCIDRs: [10.0.0.0/8]\nmasqLinkLocal: true\nmasqLinkLocalIPv6: true")
    before = file.read()
    path.write_text("{")
    assert [str(r) for r in before] == ["10.0.0.0/8"]
    assert file.read() == before
