"""Which Go builds the cluster, and when it is built again."""

import re
import stat
from pathlib import Path

import pytest

from lab.kubernetes import build, golang
from lab.kubernetes.golang import BuildError


def fake_go(folder: Path, answer: str) -> str:
    """A go command that says which version it is."""
    path = folder / "go"
    path.write_text(f"#!/bin/sh\necho {answer}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize(
    ("answer", "is_enough"),
    [
        pytest.param("go1.26.8", True, id="the version asked for"),
        pytest.param("go1.27", True, id="a later one without a patch number"),
        pytest.param("go1.26.10", True, id="numbers are compared as numbers"),
        pytest.param("go1.26.7", False, id="an earlier one is not enough"),
        pytest.param("devel", False, id="no version is not enough"),
    ],
)
def test_a_go_is_new_enough(tmp_path: Path, answer: str, is_enough: bool) -> None:  # noqa: FBT001
    assert golang.has_version(fake_go(tmp_path, answer), (1, 26, 8)) == is_enough


def test_a_command_that_is_not_there_is_not_enough(tmp_path: Path) -> None:
    assert not golang.has_version(str(tmp_path / "go"), (1, 26))


def test_every_program_has_a_module_that_pins_it() -> None:
    others = (*golang.CNI_PROGRAMS, *golang.KUBEADM_PROGRAMS, golang.POLICY_SUITE, golang.HELM, golang.KUBE_PROXY)
    for program in (*golang.PROGRAMS, *others):
        assert (golang.MODULES / program.module / "go.sum").exists(), program


def test_kubernetes_is_pinned_to_the_version_that_its_programs_are_told() -> None:
    assert f"k8s.io/kubernetes v{golang.KUBERNETES_VERSION}" in (golang.MODULES / "cluster/go.mod").read_text()


def pinned(module: str) -> dict[str, str]:
    """The versions in a module's go.mod."""
    return dict(
        re.findall(r"^(?:require |\t)(\S+) (v\S+)", (golang.MODULES / module / "go.mod").read_text(), re.MULTILINE)
    )


@pytest.mark.parametrize("module", ["kubeadm", "kube-proxy"])
def test_kubernetes_other_programs_are_of_the_versions_that_the_cluster_is_of(module: str) -> None:
    cluster, other = pinned("cluster"), pinned(module)
    assert other["k8s.io/kubernetes"] == f"v{golang.KUBERNETES_VERSION}"
    assert {name: version for name, version in other.items() if cluster.get(name, version) != version} == {}


AMENDMENT = golang.Amendment("example.org/m", "a.go", "func A() {\n", "\treturn\n")


def test_an_amendment_goes_behind_what_it_names() -> None:
    text = "func A() {\n\tlong()\n}\nfunc B() {\n}\n"
    assert golang.amended(text, AMENDMENT) == "func A() {\n\treturn\n\tlong()\n}\nfunc B() {\n}\n"


@pytest.mark.parametrize(
    "text", [pytest.param("func B() {\n}\n", id="nowhere"), pytest.param("func A() {\n}\n" * 2, id="twice")]
)
def test_an_amendment_is_refused_whose_place_is_there(text: str) -> None:
    with pytest.raises(BuildError, match=r"a\.go of example\.org/m"):
        golang.amended(text, AMENDMENT)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        pytest.param({"HOME": "/h"}, "/h/.cache/sluiceway/kubernetes", id="in the home"),
        pytest.param(
            {"HOME": "/h", "XDG_CACHE_HOME": "/c"}, "/c/sluiceway/kubernetes", id="where the user keeps caches"
        ),
        pytest.param({"HOME": "/h", "SLUICEWAY_CACHE": "/s"}, "/s/kubernetes", id="where the project is told to"),
    ],
)
def test_the_cache_is(environment: dict[str, str], folder: str) -> None:
    assert build.cache_folder(environment) == Path(folder)
