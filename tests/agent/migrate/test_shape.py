"""Whatever stands in a field of an input: an import says what became of it, or which field of which object is wrong."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.migrate.command import IMPORTERS
from agent.migrate.objects import Objects
from agent.migrate.report import config_text, findings_text, objects_text
from tests.agent.migrate.inputs import calico, config_map, daemon, node

CONFIGURED = list(yaml.safe_load_all(Path(__file__).with_name("configured.yaml").read_text()))
WRONG: tuple[Any, ...] = (
    None, "", "x", 0, -1, 3.5, True, [], [None], ["x"], [{}], [[]], {}, {"a": None}, {1: 2}, 10**30, float("nan"),
    "9" * 5000, "80:x", "10.0.0.0/33", "[" * 3000, "{plugins: 1}", '{"plugins": 1}', '{"Backend": 1}',
)  # fmt: skip


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value in a document."""
    if path:
        yield path
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield from places(value, (*path, key))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A document with another value at one place."""
    made = copy.deepcopy(document)
    within = made
    for step in path[:-1]:
        within = within[step]
    within[path[-1]] = value
    return made


def imported(*documents: Any) -> str:
    """All that each importer prints of an input, or why it is refused."""
    try:
        found = Objects.of(documents)
    except ValueError as error:
        return f"{error}\n"
    made = [importer.migrate(found) for importer in IMPORTERS.values()]
    return "".join(config_text(one.settings) + findings_text(one.findings) + objects_text(one.objects) for one in made)


def test_what_is_right_is_imported() -> None:
    assert "mapped: IPPool p4: spec.ipipMode=Always" in imported(*CONFIGURED)


@pytest.mark.parametrize("document", CONFIGURED, ids=lambda one: f"{one['kind']} {one['metadata']['name']}")
def test_whatever_stands_in_a_field_ends_in_words(document: Any) -> None:
    for path in places(document):
        for value in WRONG:
            assert imported(changed(document, path, copy.deepcopy(value)))


CONTAINERS = ("spec", "template", "spec", "containers")


@pytest.mark.parametrize(
    ("document", "text"),
    [
        pytest.param(
            changed(daemon("kube-router", "kube-router"), (*CONTAINERS, 0, "args"), "--run-router"),
            r"DaemonSet kube-system/kube-router: Expected `array \| null`, got `str` - at `\$.spec.template.spec."
            r"containers\[0\].args`; give what kubectl get -o yaml prints",
            id="a text in place of a list",
        ),
        pytest.param(
            calico("GlobalNetworkPolicy", "x", {"ingress": ["Allow"]}), r"ingress\[0\]", id="a rule that is a word"
        ),
        pytest.param(
            calico("BGPConfiguration", "default", {"asNumber": 1.10}), "asNumber", id="1.10 without its quotes is 1.1"
        ),
        pytest.param({**node(), "metadata": {"name": "n1", "labels": {True: "x"}}}, "put it in quotes", id="on: x"),
    ],
)
def test_the_field_is_named(document: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Objects.of([document])


def test_null_is_not_there() -> None:
    given = changed(daemon("kube-router", "kube-router"), (*CONTAINERS, 0, "env"), None)
    assert "mapped: DaemonSet kube-system/kube-router: --run-router=true" in imported(
        given, {"kind": "List", "items": None}
    )
    assert "no counterpart" in imported(config_map("kube-flannel-cfg") | {"data": None})


def test_a_value_that_contains_itself_is_told() -> None:
    within = config_map("kube-flannel-cfg")
    within["data"]["more"] = within
    with pytest.raises(ValueError, match="contains itself"):
        Objects.of([within])


def test_a_peer_without_an_as_number_needs_the_clusters() -> None:
    peer = calico("BGPPeer", "tor", {"peerIP": "192.0.2.1"})
    printed = imported(calico("BGPConfiguration", "default", {"asNumber": "ours"}), peer)
    assert "BGPPeer tor: spec: 'ours' is no AS number; there is no BGPPeer for it" in printed
    assert "kind: BGPPeer" not in printed
