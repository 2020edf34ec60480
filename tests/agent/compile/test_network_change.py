"""A changed annotation of a pod that runs: what asks for the same stays, wherever it stands."""

import json
from typing import Any

import pytest

from agent.compile.network import asked_text
from agent.compile.network_annotation import selections
from agent.compile.network_change import NetworkChange, Present, network_change
from agent.model.name import ObjectName


def change(before: str, after: str) -> NetworkChange:
    """From a pod that was started with one annotation to another."""
    made = network_change(selections(before, "default", ""), ()).wanted
    present = [Present(one.interface, one.name, asked_text(one)) for one in made]
    return network_change(selections(after, "default", ""), present)


def long(*elements: dict[str, Any]) -> str:
    return json.dumps(elements)


@pytest.mark.parametrize(
    ("before", "after", "gone", "new"),
    [
        pytest.param("a,b", "a,b", [], [], id="nothing has changed"),
        pytest.param("a,b", '[{"name": "a"}, {"name": "b", "namespace": "default"}]', [], [], id="in another form"),
        pytest.param("", "a", [], ["a net1"], id="the first"),
        pytest.param("a", "a,b@data0", [], ["b data0"], id="one more, by name"),
        pytest.param("a,b,c", "", ["net3", "net2", "net1"], [], id="all go, the last first"),
        pytest.param("a,b,c", "b,c", ["net1"], [], id="the first goes and no other is renamed"),
        pytest.param("a,b,c", "b,d,c", ["net1"], ["d net1"], id="its place is taken, and its name is free"),
        pytest.param("a,b", "b,c", ["net1"], ["c net1"], id="a name that another has is not given twice"),
        pytest.param("a,a", "a", ["net2"], [], id="one of two alike"),
        pytest.param("a", "a,a,a", [], ["a net2", "a net3"], id="more of the same"),
        pytest.param("b,a", "a,b", [], [], id="another order is no change"),
        pytest.param("a@x", "a@y", ["x"], ["a y"], id="another name is another interface"),
        pytest.param("a@x", "b@x", ["x"], ["b x"], id="another network under the same name"),
        pytest.param("a@x", "a", [], [], id="a name that is not asked for any more stays"),
        pytest.param(
            long({"name": "a", "ips": ["10.1.1.1"]}),
            long({"name": "a", "ips": ["10.1.1.2"]}),
            ["net1"],
            ["a net1"],
            id="another address",
        ),
    ],
)
def test_what_a_changed_annotation_means(before: str, after: str, gone: list[str], new: list[str]) -> None:
    found = change(before, after)
    assert list(found.gone) == gone
    assert [f"{one.name.name} {one.interface}" for one in found.new] == new
    assert len({one.interface for one in found.wanted}) == len(found.wanted)


def test_of_what_an_earlier_agent_noted_the_network_and_the_name_count() -> None:
    present = [Present("net1", ObjectName("default", "a"), ""), Present("net2", ObjectName("default", "b"), "")]
    found = network_change(selections(long({"name": "b", "mac": "02:00:00:00:00:01"}), "default", ""), present)
    assert (found.gone, found.new) == (("net1",), ())
