"""``sluiceway-agent import``: what it prints, where, and its exit code."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.errors import ConfigError
from agent.migrate.command import main
from agent.options.choices import Encapsulation
from agent.options.config import Options
from agent.options.origins import load
from tests.agent.migrate.inputs import daemon

IMAGE = "cloudnativelabs/kube-router:v2.11.0"
MOUNTS = "1 0 0:1 / /sys/fs/bpf rw - bpf bpf rw\n2 0 0:2 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


def write(folder: Path, *items: dict[str, Any], name: str = "all.yaml") -> str:
    file = folder / name
    file.write_text(yaml.safe_dump_all(items))
    return str(file)


def test_it_prints_a_file_that_an_agent_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, daemon("kube-router", IMAGE, ["--metrics-port=0"]))
    assert main(["kube-router", "--from", file]) == 0
    printed = capsys.readouterr()
    config = tmp_path / "config"
    config.write_text(printed.out)
    _, options, _ = load(["run", "--config", str(config), "--manifests", "/m"], {}, MOUNTS)
    assert isinstance(options, Options)
    assert (options.encapsulation, options.cross_subnet, options.policy_reject) == (Encapsulation.IPIP, True, True)
    assert "mapped: DaemonSet kube-system/kube-router: --run-router=true" in printed.err


def test_it_prints_values_of_the_chart_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, daemon("kube-router", IMAGE, ["--metrics-port=0"]))
    assert main(["kube-router", "--from", file]) == 0
    options = yaml.safe_load(capsys.readouterr().out)
    assert main(["kube-router", "--from", file, "--format", "values"]) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == {"options": options}
    assert "  # DaemonSet kube-system/kube-router: " in printed


def test_no_options_are_values_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, daemon("kube-proxy", "kube-proxy:v1.36.3"))
    main(["kube-proxy", "--from", file, "--format", "values"])
    assert isinstance(yaml.safe_load(capsys.readouterr().out)["options"], dict)


def test_what_has_no_counterpart_is_on_stderr_and_in_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, daemon("kube-router", IMAGE, ["--bfd-port=4784"]))
    assert main(["kube-router", "--from", file]) == 1
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("no counterpart: DaemonSet kube-system/kube-router: --bfd-port=4784")
    )


def test_objects_are_written_or_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, daemon("kube-router", IMAGE, ["--run-loadbalancer", "--loadbalancer-ip-range=192.0.2.0/28"]))
    assert main(["kube-router", "--from", file]) == 1
    assert "give --objects" in capsys.readouterr().err
    assert main(["kube-router", "--from", file, "--objects", str(tmp_path / "objects.yaml")]) == 0
    assert [one["kind"] for one in yaml.safe_load_all((tmp_path / "objects.yaml").read_text())] == ["LoadBalancerPool"]


def test_options_that_do_not_go_together_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, daemon("kube-router", IMAGE, ["--run-router=false", "--masquerade-all"]))
    assert main(["kube-router", "--from", file]) == 1
    assert "do not go together: --masquerade-all" in capsys.readouterr().err


def test_a_folder_is_read_whole(tmp_path: Path) -> None:
    write(tmp_path, {"apiVersion": "v1", "kind": "List", "items": [daemon("kube-router", IMAGE)]}, name="a.yaml")
    (tmp_path / "notes.txt").write_text("{")
    assert main(["kube-router", "--from", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        pytest.param(["weave"], "invalid choice", id="another network"),
        pytest.param(["kube-router", "--from", "/nowhere"], "cannot read /nowhere", id="no file"),
        pytest.param(["kube-router", "--from", "{folder}"], "has no file", id="an empty folder"),
        pytest.param(["kube-router", "--from", "{folder}/text"], "is no Kubernetes object", id="no object"),
        pytest.param(["kube-router", "--form", "x"], "unrecognized", id="an unknown flag"),
        pytest.param(
            ["kube-router", "--kubeconfig", "/nowhere"], "cannot use --kubeconfig /nowhere", id="no kubeconfig"
        ),
    ],
)
def test_mistakes(tmp_path: Path, argv: list[str], text: str) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ConfigError, match=text):
        main([one.replace("{folder}", str(tmp_path)) for one in argv])
