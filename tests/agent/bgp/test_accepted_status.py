"""Whether BGP's resources are accepted is in their status: one node of many writes it, and only what is not there."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from agent.bgp.accepted_status import FORGET_S, GAP_S, STEP_S, AcceptedWriter
from agent.model.cluster import Cluster
from agent.model.node import Node
from agent.threads import Threads
from agent.watch.decode.bgp_configuration import BGP_CONFIGURATION
from agent.watch.decode.bgp_filter import BGP_FILTER
from agent.watch.decode.bgp_peer import BGP_PEER
from agent.watch.decode.decoder import Decoder

KINDS = {one.resource: one for one in (BGP_FILTER, BGP_PEER, BGP_CONFIGURATION)}
GOOD: dict[str, Any] = {"export": [{"action": "Reject"}]}
BAD: dict[str, Any] = {"import": [{"action": "Accept"}]}
WALL_S = 1795000000.0


class Site:
    """An API server with the resources, and nodes that write to it; one clock."""

    def __init__(self, nodes: int = 5) -> None:
        self.now, self.written, self.objects = 1000.0, [], {}  # type: float, list[tuple[str, str]], dict[str, Any]
        self.nodes = [f"n{index:03}" for index in range(nodes)]
        self.made = {
            name: AcceptedWriter(_Api(self, name), name, Threads(), lambda: self.now, lambda: WALL_S + self.now)  # type: ignore[arg-type]
            for name in self.nodes
        }
        self.is_refusing = False
        self.known: dict[str, Cluster] = {}  # the latest, by all that it is made from

    def put(self, path: str, spec: Mapping[str, Any]) -> None:
        """A new spec, as the API server counts it."""
        old = self.objects.get(path, {})
        generation = old.get("metadata", {}).get("generation", 0) + 1
        about = {"name": path.rpartition("/")[2], "generation": generation}
        self.objects[path] = {**old, "metadata": about, "spec": spec}

    def cluster(self, *, version: str = "") -> Cluster:
        """As a node knows it; one of another *version* reads a good filter as a bad one."""
        text = f"{version}{json.dumps(self.objects)}"
        if text in self.known:
            return self.known[text]
        tables: dict[str, Any] = {kind.table: {} for kind in KINDS.values()}
        for path, content in self.objects.items():
            kind = KINDS[path.split("/")[0]]
            given = {**content, "spec": BAD if version and content["spec"] == GOOD else content["spec"]}
            value = Decoder("").decode(kind, json.dumps(given).encode()).value
            assert value is not None
            tables[kind.table][path.rpartition("/")[2]] = value
        found = Cluster(nodes={name: Node(name) for name in self.nodes}, synced=True, **tables)
        self.known = {text: found, **dict([*self.known.items()][:1])}
        return found

    def after(self, seconds: float, *, dead: int = 0, old: int = 0) -> list[tuple[str, str]]:
        """Who wrote of what, by then; the first *dead* nodes have no agent, the first *old* another version."""
        end = self.now + seconds
        while True:
            for index, name in enumerate(self.nodes):
                if index >= dead:
                    self.made[name].look(self.cluster(version="old" if index < old else ""))
                    self.made[name].write_due()
            if self.now >= end:
                break
            self.now = min(end, self.now + 1)
        written, self.written = self.written, []
        return written

    def condition(self, path: str) -> dict[str, Any]:
        """What is written of one."""
        (only,) = self.objects[path]["status"]["conditions"]
        return dict(only)


class _Api:
    """What one node writes to."""

    def __init__(self, site: Site, node: str) -> None:
        self.site, self.node = site, node

    def send(self, method: str, path: str, content: Mapping[str, Any], *_: object) -> None:
        """As Client.send()."""
        assert (method, path.endswith("/status")) == ("PATCH", True)
        of = path.removeprefix("/apis/sluiceway.io/v1alpha1/").removesuffix("/status")
        self.site.written.append((self.node, of))
        if not self.site.is_refusing:
            self.site.objects[of].setdefault("status", {}).update(content["status"])


@pytest.fixture
def site() -> Site:
    return Site()


def test_one_node_of_a_thousand_writes_what_all_know_and_once() -> None:
    site = Site(1000)
    site.put("bgpfilters/site", GOOD)
    site.put("bgpconfigurations/default", {"asn": 23456})
    assert sorted(site.after(0)) == [("n000", "bgpconfigurations/default"), ("n000", "bgpfilters/site")]
    assert site.after(2) == []
    said = site.condition("bgpconfigurations/default")
    assert (said["type"], said["status"], said["reason"]) == ("Accepted", "False", "PartlyInvalid")
    assert "spec.asn: 23456 is reserved" in said["message"]


def test_a_mistake_and_its_mending_are_written_with_the_generation_and_when_it_changed(site: Site) -> None:
    site.put("bgpfilters/site", GOOD)
    site.after(0)
    first = site.condition("bgpfilters/site")
    assert first == {
        "type": "Accepted",
        "status": "True",
        "reason": "Valid",
        "message": "every field can be used",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-18T11:23:20Z",
    }
    site.put("bgpfilters/site", {"export": [{"action": "Accept"}]})
    site.after(GAP_S)
    second = site.condition("bgpfilters/site")
    assert second == {**first, "observedGeneration": 2}
    site.put("bgpfilters/site", BAD)
    site.after(GAP_S)
    third = site.condition("bgpfilters/site")
    assert (third["status"], third["reason"], third["observedGeneration"]) == ("False", "Invalid", 3)
    assert third["message"] == "spec.import[0].prefixes: is missing; say what is taken"
    assert third["lastTransitionTime"] != first["lastTransitionTime"]


def test_a_filter_says_who_names_it_and_goes_on_with_it(site: Site) -> None:
    site.put("bgpfilters/site", GOOD)
    site.put("bgppeers/tor", {"address": "192.0.2.1", "asn": 64600, "filters": ["site"]})
    site.objects["bgppeers/tor"]["status"] = {"nodes": {"n000": {"state": "Established"}}}
    site.after(0)
    assert site.objects["bgpfilters/site"]["status"]["peers"] == ["tor"]
    assert [*site.objects["bgppeers/tor"]["status"]["nodes"]] == ["n000"]
    del site.objects["bgppeers/tor"]
    assert site.after(GAP_S) == [("n000", "bgpfilters/site")]
    assert site.objects["bgpfilters/site"]["status"]["peers"] == []


@pytest.mark.parametrize("dead", [1, 3])
def test_where_the_first_nodes_have_no_agent_the_next_writes_a_little_later(site: Site, dead: int) -> None:
    site.put("bgpfilters/site", GOOD)
    assert site.after(dead * STEP_S - 1, dead=dead) == []
    assert site.after(1, dead=dead) == [(f"n00{dead}", "bgpfilters/site")]
    assert site.after(10 * STEP_S, dead=dead) == []


def test_agents_that_find_otherwise_do_not_take_turns(site: Site) -> None:
    site.put("bgpfilters/site", GOOD)
    assert len(site.after(FORGET_S / 2, old=1)) == 2
    assert len(site.after(10 * FORGET_S, old=1)) <= 20


def test_what_is_not_taken_is_written_by_each_node_once(site: Site) -> None:
    site.is_refusing = True
    site.put("bgpfilters/site", GOOD)
    assert site.after(100 * STEP_S) == [(name, "bgpfilters/site") for name in site.nodes]


def test_changes_that_come_together_are_written_together(site: Site) -> None:
    site.put("bgpfilters/site", GOOD)
    site.after(0)
    for index in range(int(GAP_S) - 1):
        site.put(f"bgppeers/tor{index}", {"address": f"192.0.2.{index + 1}", "asn": 64600, "filters": ["site"]})
        assert ("n000", "bgpfilters/site") not in site.after(1)
    assert site.after(1) == [("n000", "bgpfilters/site")]
    assert len(site.objects["bgpfilters/site"]["status"]["peers"]) == int(GAP_S) - 1


def test_another_object_of_a_name_is_told_of_anew_also_where_there_is_one_node() -> None:
    site = Site(1)
    site.put("bgpfilters/site", GOOD)
    site.after(1)
    del site.objects["bgpfilters/site"]
    site.put("bgpfilters/site", GOOD)  # before anybody has looked
    assert site.after(GAP_S) == [("n000", "bgpfilters/site")]


def test_a_node_that_is_none_of_the_nodes_and_one_that_knows_not_all_yet_write_nothing(site: Site) -> None:
    site.put("bgpfilters/site", GOOD)
    whole = site.cluster()
    only = site.made["n000"]
    for given in (
        Cluster(bgp_filters=whole.bgp_filters, nodes=whole.nodes),
        Cluster(bgp_filters=whole.bgp_filters, synced=True),
    ):
        only.look(given)
        only.write_due()
    assert site.written == []
