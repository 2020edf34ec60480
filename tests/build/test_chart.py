"""The chart has a value for every option, and takes for each what the agent takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.options import values
from deploy.build import chart, generated, option_schema
from deploy.helm.sluiceway.files.wait import is_ready, servers

OPTIONS = dict(option_schema.in_chart())


def test_what_is_generated_is_as_its_sources_say() -> None:
    assert not [*generated.differences(generated.wanted())]


def test_a_difference_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text("old\n")
    assert [*generated.differences({tmp_path / "page.md": "new\n"})][-2:] == ["-old\n", "+new\n"]


def test_every_option_but_those_that_the_chart_says_itself_is_a_value() -> None:
    names = yaml.safe_load(chart.VALUES.read_text())["options"]
    assert {*names} == {name for name, _ in option_schema.options()} - option_schema.NOT_IN_CHART


@pytest.mark.parametrize("name", OPTIONS)
def test_the_agent_reads_every_word_that_a_value_may_be(name: str) -> None:
    option = OPTIONS[name]
    for word in option_schema.schema(option).get("enum", ()):
        if word is not None:
            option.metadata["parse"](values.written(word))


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_says_what_it_is_for_and_its_default(name: str) -> None:
    assert "(default: " in option_schema.schema(OPTIONS[name])["description"]


def daemon_set(**status: int) -> Mapping[str, Any]:
    return {"metadata": {"generation": 2}, "status": status}


@pytest.mark.parametrize(
    ("found", "is_done"),
    [
        pytest.param(
            daemon_set(observedGeneration=2, numberReady=3, desiredNumberScheduled=3), True, id="all are ready"
        ),
        pytest.param(
            daemon_set(observedGeneration=2, numberReady=2, desiredNumberScheduled=3), False, id="one is not yet"
        ),
        pytest.param(
            daemon_set(observedGeneration=1, numberReady=3, desiredNumberScheduled=3), False, id="of an earlier one"
        ),
        pytest.param(daemon_set(numberReady=0, desiredNumberScheduled=0), False, id="nobody has looked at it yet"),
    ],
)
def test_the_uninstallation_waits_until_all_nodes_are_clean(found: Mapping[str, Any], is_done: bool) -> None:  # noqa: FBT001
    assert is_ready(found) == is_done


@pytest.mark.parametrize(
    ("given", "host", "asked"),
    [
        pytest.param("", "10.96.0.1", ["https://10.96.0.1:443"], id="the pod's own"),
        pytest.param("", "fd00::1", ["https://[fd00::1]:443"], id="the pod's own, of IPv6"),
        pytest.param("https://a:6443, https://b:6443", "10.96.0.1", ["https://a:6443", "https://b:6443"], id="others"),
    ],
)
def test_who_is_asked_whether_the_nodes_are_clean(given: str, host: str, asked: list[str]) -> None:
    assert servers(given, {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}) == asked
