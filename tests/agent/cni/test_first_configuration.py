"""The configuration that the runtime takes for new pods is looked at as long as the agent runs, and told if wrong."""

import json
from pathlib import Path

import pytest

from agent.cni.first_configuration import FirstConfiguration
from agent.cni.install import CONFLIST, conflist

BRIDGE = json.dumps({"name": "theirs", "plugins": [{"type": "bridge"}]})
CHAIN = json.dumps({"name": "theirs", "plugins": [{"type": "bridge"}, {"type": "sluiceway-cni"}]})
MULTUS = json.dumps({"type": "multus-shim", "clusterNetwork": f"/host/etc/cni/net.d/{CONFLIST}"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / CONFLIST).write_bytes(conflist(Path("/run/x/cni.sock")))
    return tmp_path


def texts(first: FirstConfiguration) -> list[str]:
    return [str(problem) for problem in first.problems()]


def test_one_that_comes_before_ours_is_told_until_it_goes(folder: Path) -> None:
    first = FirstConfiguration(folder, "n1", is_chained=False)
    assert texts(first) == []
    other = folder / "05-x.conflist"
    other.write_text(BRIDGE)
    (text,) = texts(first)
    assert text.startswith(f"Node n1: --cni-conf-dir: {other} comes before {CONFLIST}")
    assert "; remove it" in text
    assert texts(first) == [text]
    other.unlink()
    assert texts(first) == []


@pytest.mark.parametrize(
    ("name", "content", "is_told"),
    [
        pytest.param("10-calico.conflist", BRIDGE, True, id="a list that sorts before ours"),
        pytest.param("05-x.conf", '{"type": "bridge"}', True, id="a single configuration"),
        pytest.param("05-x.json", BRIDGE, True, id="the third suffix that runtimes read"),
        pytest.param("05-x.conflist", "no JSON", True, id="one that cannot be read stands in the way too"),
        pytest.param("05-x.conflist", CHAIN, False, id="a list that our plugin is in"),
        pytest.param("00-multus.conf", MULTUS, False, id="Multus, that asks ours"),
        pytest.param("05-x.conflist.bak", BRIDGE, False, id="what no runtime reads"),
        pytest.param("99-x.conflist", BRIDGE, False, id="one behind ours"),
    ],
)
def test_what_runtimes_read_before_ours(folder: Path, name: str, content: str, is_told: bool) -> None:  # noqa: FBT001
    (folder / name).write_text(content)
    assert bool(texts(FirstConfiguration(folder, "n1", is_chained=False))) == is_told


@pytest.mark.parametrize(("theirs", "is_told"), [(BRIDGE, True), (CHAIN, False)], ids=["without ours", "with ours"])
def test_multus_that_leads_to_anothers_list_is_as_that_list(folder: Path, theirs: str, *, is_told: bool) -> None:
    (folder / CONFLIST).unlink()
    (folder / "10-flannel.conflist").write_text(theirs)
    multus = {"type": "multus-shim", "clusterNetwork": "/host/etc/cni/net.d/10-flannel.conflist"}
    (folder / "00-multus.conf").write_text(json.dumps(multus))
    assert bool(texts(FirstConfiguration(folder, "n1", is_chained=True))) == is_told


def test_one_behind_ours_is_not_told_before_ours_is_there(folder: Path) -> None:
    (folder / CONFLIST).unlink()
    (folder / "99-x.conflist").write_text(BRIDGE)
    assert texts(FirstConfiguration(folder, "n1", is_chained=False)) == []


def test_anothers_list_is_to_name_our_plugin(tmp_path: Path) -> None:
    first = FirstConfiguration(tmp_path, "n1", is_chained=True)
    assert texts(first) == []
    path = tmp_path / "10-flannel.conflist"
    path.write_text(BRIDGE)
    (text,) = texts(first)
    assert f"{path} is the first" in text
    assert "name it as the last plugin" in text
    path.write_text(CHAIN)
    assert texts(first) == []
    (tmp_path / "05-x.conflist").write_text(BRIDGE)
    assert "05-x.conflist" in texts(first)[0]


def test_a_folder_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert texts(FirstConfiguration(tmp_path / "none", "n1", is_chained=True)) == []
