"""The demo takes down what it made, and no lab of somebody else's."""

import pytest

from lab import cluster, demo, site
from lab.errors import LabError, LabExistsError


@pytest.mark.parametrize(
    ("error", "removed"),
    [
        pytest.param(LabExistsError("a lab swlab is there already"), [], id="one that is there stays"),
        pytest.param(LabError("n2 did not start"), ["swlab"], id="half of one of its own goes"),
    ],
)
def test_a_demo_that_fails(
    error: LabError, removed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def up(*_: object) -> None:
        raise error

    gone: list[str] = []
    monkeypatch.setattr(cluster, "up", up)
    monkeypatch.setattr(site, "remove", gone.append)
    assert demo.run("swlab", keep=False) == 1
    assert gone == removed
    assert str(error) in capsys.readouterr().out
