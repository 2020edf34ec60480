"""Plugin and conflist appear whole and in the right order, and go in the reverse one."""

import json
from pathlib import Path

import pytest

from agent.cni.install import Installation, install, uninstall
from agent.log import TextFormatter


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    path = tmp_path / "shim"
    path.write_bytes(b"\x7fELF")
    return path


def test_plugin_and_conflist_are_installed(tmp_path: Path, shim: Path) -> None:
    binary, conf = tmp_path / "bin", tmp_path / "net.d"
    install(shim, binary, conf, Path("/run/x/cni.sock"))
    assert (binary / "sluiceway-cni").stat().st_mode & 0o777 == 0o755
    path = conf / "10-sluiceway.conflist"
    assert path.stat().st_mode & 0o777 == 0o600
    config = json.loads(path.read_text())
    assert config["cniVersion"] == "1.0.0"
    assert config["cniVersions"][-1] == "1.1.0"
    (plugin,) = config["plugins"]
    assert (plugin["type"], plugin["socket"]) == ("sluiceway-cni", "/run/x/cni.sock")
    assert plugin["capabilities"] == {
        "portMappings": True,
        "bandwidth": True,
        "ips": True,
        "mac": True,
        "io.kubernetes.cri.pod-annotations": True,
    }
    assert [p.name for p in (*binary.iterdir(), *conf.iterdir())] == ["sluiceway-cni", "10-sluiceway.conflist"]


def test_with_another_plugins_conflist_ours_goes_and_the_plugin_stays(tmp_path: Path, shim: Path) -> None:
    folders = tmp_path / "bin", tmp_path / "conf"
    install(shim, *folders, tmp_path / "cni.sock")
    install(shim, *folders, tmp_path / "cni.sock", is_chained=True)
    assert [path.name for folder in folders for path in folder.iterdir()] == ["sluiceway-cni"]
    kept = Installation(shim, *folders, tmp_path / "cni.sock", is_chained=True)
    (folders[0] / "sluiceway-cni").unlink()
    kept.keep()
    assert (folders[0] / "sluiceway-cni").exists()


def test_a_conflist_is_not_written_where_the_plugin_could_not_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        install(tmp_path / "missing", tmp_path / "bin", tmp_path / "net.d", Path("/run/x/cni.sock"))
    assert not (tmp_path / "net.d").exists()


def test_a_second_install_touches_nothing(tmp_path: Path, shim: Path) -> None:
    arguments = (shim, tmp_path / "bin", tmp_path / "net.d", Path("/run/x/cni.sock"))
    install(*arguments)
    before = (tmp_path / "bin/sluiceway-cni").stat().st_ino
    install(*arguments)
    assert (tmp_path / "bin/sluiceway-cni").stat().st_ino == before


def test_uninstall_takes_the_conflist_first_and_neighbours_never(tmp_path: Path, shim: Path) -> None:
    binary, conf = tmp_path / "bin", tmp_path / "net.d"
    install(shim, binary, conf, Path("/run/x/cni.sock"))
    (conf / "99-other.conflist").write_text("{}")
    assert [p.name for p in uninstall(binary, conf)] == ["10-sluiceway.conflist", "sluiceway-cni"]
    assert [p.name for p in conf.iterdir()] == ["99-other.conflist"]
    assert uninstall(binary, conf) == ()


def test_uninstall_leaves_the_plugin_while_another_list_names_it(
    tmp_path: Path, shim: Path, written: pytest.LogCaptureFixture
) -> None:
    binary, conf = tmp_path / "bin", tmp_path / "net.d"
    install(shim, binary, conf, Path("/run/x/cni.sock"))
    other = conf / "10-flannel.conflist"
    other.write_text('{"plugins": [{"type": "flannel"}, {"type": "sluiceway-cni"}]}')
    assert [p.name for p in uninstall(binary, conf)] == ["10-sluiceway.conflist"]
    assert (binary / "sluiceway-cni").exists()
    assert str(other) in TextFormatter().format(written.records[-1])
    other.write_text('{"plugins": [{"type": "flannel"}]}')
    assert [p.name for p in uninstall(binary, conf)] == ["sluiceway-cni"]


def test_uninstall_takes_what_an_agent_left_half_written(tmp_path: Path, shim: Path) -> None:
    binary, conf = tmp_path / "bin", tmp_path / "net.d"
    install(shim, binary, conf, Path("/run/x/cni.sock"))
    for path in (binary / "sluiceway-cni", conf / "10-sluiceway.conflist"):
        path.rename(path.with_name(f".{path.name}.new"))
    assert len(uninstall(binary, conf)) == 2
    assert [*binary.iterdir(), *conf.iterdir()] == []


@pytest.mark.parametrize("spoilt", ["bin/sluiceway-cni", "net.d/10-sluiceway.conflist"])
def test_what_somebody_removes_or_changes_is_back_at_the_next_look(tmp_path: Path, shim: Path, spoilt: str) -> None:
    installation = Installation(shim, tmp_path / "bin", tmp_path / "net.d", Path("/run/x/cni.sock"))
    installation.keep()
    path = tmp_path / spoilt
    content = path.read_bytes()
    for spoil in (path.unlink, lambda: path.write_bytes(b"else"), lambda: path.chmod(0o444)):
        spoil()
        installation.keep()
        assert path.read_bytes() == content
        assert path.stat().st_mode & 0o777 != 0o444


def test_an_installation_that_fails_is_told_once_and_tried_until_it_succeeds(
    tmp_path: Path, shim: Path, written: pytest.LogCaptureFixture
) -> None:
    content = shim.read_bytes()
    shim.unlink()
    installation = Installation(shim, tmp_path / "bin", tmp_path / "net.d", Path("/run/x/cni.sock"))
    for _ in range(3):
        installation.keep()
    assert written.text.count("CNI plugin not installed") == 1
    shim.write_bytes(content)
    installation.keep()
    assert (tmp_path / "net.d/10-sluiceway.conflist").exists()


@pytest.mark.parametrize(
    ("spoilt", "option"),
    [pytest.param("bin", "--cni-bin-dir", id="the plugin"), pytest.param("net.d", "--cni-conf-dir", id="the conflist")],
)
def test_a_folder_that_cannot_be_written_is_a_problem_until_it_can(
    tmp_path: Path, shim: Path, spoilt: str, option: str
) -> None:
    (tmp_path / spoilt).touch()  # which even root cannot make a folder of
    installation = Installation(shim, tmp_path / "bin", tmp_path / "net.d", Path("/run/x/cni.sock"))
    assert installation.problems("n1") == ()
    installation.keep()
    (problem,) = installation.problems("n1")
    assert (problem.name.name, problem.field) == ("n1", option)
    assert problem.text.startswith(f"{tmp_path / spoilt} cannot be written: ")
    (tmp_path / spoilt).unlink()
    installation.keep()
    assert installation.problems("n1") == ()
