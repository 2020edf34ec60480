"""What a box has of Kubernetes, in place of its packages."""

import configparser
from pathlib import Path

import pytest

from lab.kubernetes import box, golang, kubeadm_images
from lab.kubernetes.kubeadm_images import Archives


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for box.sh, of programs and archives that say what they are."""
    monkeypatch.setenv("SLUICEWAY_CACHE", str(tmp_path))
    monkeypatch.setattr(
        golang, "programs", lambda _cache, _say, wanted: {each.name: _file(tmp_path, each.name) for each in wanted}
    )
    archives = Archives(_file(tmp_path, "every-node.tar"), _file(tmp_path, "control-plane.tar"))
    monkeypatch.setattr(kubeadm_images, "archives", lambda *_: archives)
    box.write(tmp_path / "box", print)
    return tmp_path / "box"


def _file(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text(name)
    return path


def test_programs_are_where_the_packages_have_them_and_images_are_all(written: Path) -> None:
    programs = {path.name: path.read_text() for path in (written / "root/usr/bin").iterdir()}
    assert programs == {name: name for name in ("kubeadm", "kubelet", "kubectl")}
    assert {path.name for path in (written / "images").iterdir()} == {"every-node.tar", "control-plane.tar"}


def test_kubelet_waits_for_kubeadm_and_takes_the_flags_of_both_files(written: Path) -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment]  # names as they are
    text = (written / "root" / box.UNIT).read_text()
    parser.read_string(text)
    assert parser["Unit"]["ConditionPathExists"] == "/var/lib/kubelet/config.yaml"
    assert {"/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet"} == {
        line.removeprefix("EnvironmentFile=-") for line in text.splitlines() if line.startswith("EnvironmentFile")
    }
    assert "$KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS" in text
