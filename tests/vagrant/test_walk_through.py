"""docs/install/kubeadm.md and the machines' scripts have the same commands, in the same order."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.kubernetes import golang
from tests.vagrant import page
from tests.vagrant.stubs import CHECKOUT, PROVISION, SCRIPTS

# what changes a cluster; a script may wait, look, and take away what it left before, on its own account
CHANGES = re.compile(r"^(kubeadm (init|join|reset)|kubectl (create|expose|run|apply|scale|drain|uncordon)) ")


def typed(script: str) -> list[str]:
    return page.lines((PROVISION / f"{script}.sh").read_text())


def first_untyped(commands: Sequence[str], script: Sequence[str]) -> str | None:
    """The first of *commands* that does not follow those before it in *script*."""
    rest = iter(script)
    return next((command for command in commands if command not in rest), None)


def documented() -> dict[str, list[str]]:
    """The page's commands by their script."""
    all_of: dict[str, list[str]] = {}
    for block in page.blocks():
        all_of.setdefault(block.script, []).extend(block.lines)
    return all_of


@pytest.mark.parametrize("script", [pytest.param(name, id=f"{name}.sh types them") for name in sorted(documented())])
def test_the_pages_commands_in_their_order(script: str) -> None:
    assert first_untyped(documented()[script], typed(script)) is None


@pytest.mark.parametrize("path", [pytest.param(path, id=f"what {path.name} changes is there") for path in SCRIPTS])
def test_nothing_else(path: Path) -> None:
    told = documented().get(path.stem, [])
    assert [line for line in typed(path.stem) if CHANGES.match(line) and line not in told] == []


def test_the_page_has_every_step_but_those_of_sriov() -> None:
    assert {path.stem for path in SCRIPTS} - set(documented()) == {"sriov"}


def test_a_command_out_of_order_is_found() -> None:
    assert first_untyped(["a", "b"], ["a", "x", "b"]) is None
    assert first_untyped(["b", "a"], ["a", "x", "b"]) == "a"


def test_the_versions_are_the_labs_and_the_projects() -> None:
    text = page.PAGE.read_text()
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    assert set(re.findall(r"^version=(\S+)$", text, re.MULTILINE)) == {golang.KUBERNETES_VERSION}
    assert set(re.findall(r"sluiceway[:-](\d+\.\d+\.\d+)", text)) == {version}
