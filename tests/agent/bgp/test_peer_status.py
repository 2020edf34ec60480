"""A BGPPeer's status: each node writes its own entry, seldom, and nobody that of a peer of very many nodes."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from agent.bgp.keeper import BgpState
from agent.bgp.peer_status import CHANGE_S, COUNT_S, MOST_NODES, PeerStatusWriter
from agent.bgp.sessions import SessionState
from agent.model.accepted import Standing
from agent.model.bgp import BgpPeer
from agent.model.cluster import Cluster
from agent.model.node import Node
from agent.model.policy import Operator, Requirement, Selector
from agent.threads import Threads

UP = SessionState("peer_1", "Established", "2026-11-29 12:00:00", imported=3, exported=2)
PATH = "/apis/sluiceway.io/v1alpha1/bgppeers/tor/status"
ENTRY = {"state": "Established", "since": "2026-11-29 12:00:00", "imported": 3, "exported": 2, "error": ""}


class Api:
    """Takes what is written."""

    def __init__(self) -> None:
        self.written: list[tuple[str, Any]] = []
        self.trouble: OSError | None = None

    def send(self, method: str, path: str, content: Mapping[str, Any], *_: object) -> None:
        """As Client.send()."""
        if self.trouble:
            raise self.trouble
        assert method == "PATCH"
        self.written.append((path, content["status"]["nodes"]))


class Writer:
    """A writer, its clock and its API server."""

    def __init__(self) -> None:
        self.now, self.api = 1000.0, Api()
        self.made = PeerStatusWriter(self.api, "n1", Threads(), lambda: self.now)  # type: ignore[arg-type]

    def after(
        self, seconds: float, cluster: Cluster, *sessions: SessionState, has_all: bool = False
    ) -> list[tuple[str, Any]]:
        """What is written then."""
        self.now += seconds
        about = {one.name: "BGPPeer tor" for one in sessions}
        self.made.look(cluster, BgpState(is_running=True, has_all=has_all, sessions=sessions, about=about))
        self.made.write_due()
        written, self.api.written = self.api.written, []
        return written


TOR = BgpPeer("tor", ip_address("192.0.2.1"), 64600)


def world(*nodes: str, status_nodes: str = "", peer: BgpPeer = TOR) -> Cluster:
    told = replace(peer, standing=Standing(nodes=frozenset(status_nodes.split())))
    return Cluster(nodes={name: Node(name) for name in nodes}, bgp_peers={"tor": told})


@pytest.fixture
def writer() -> Writer:
    return Writer()


def test_what_happened_is_written_at_once_and_then_not_for_a_while(writer: Writer) -> None:
    given = world("n1", "n2")
    assert writer.after(0, given, UP) == [(PATH, {"n1": ENTRY})]
    lost = replace(UP, state="Active", error="Hold timer expired")
    assert writer.after(1, given, lost) == []
    assert writer.after(CHANGE_S, given, lost) == [
        (PATH, {"n1": {**ENTRY, "state": "Down", "error": "Hold timer expired"}})
    ]
    assert writer.after(CHANGE_S * 9, given, lost) == []


def test_a_session_that_is_tried_again_and_again_is_written_once(writer: Writer) -> None:
    given = world("n1")
    down = replace(UP, state="Active", imported=0, exported=0, error="Socket: Connection refused")
    assert [one["n1"]["state"] for _, one in writer.after(0, given, down)] == ["Down"]
    more = []
    for turn, state in enumerate(("Connect", "Idle", "OpenSent", "Down", "Active") * 4, start=1):
        error = down.error if turn % 2 else "Received: Bad peer AS"
        again = replace(down, state=state, since=f"2026-11-29 12:{turn:02}:00", error=error)
        more += [(CHANGE_S * turn, one["n1"]["since"]) for _, one in writer.after(CHANGE_S, given, again)]
    assert more == [(COUNT_S, down.since)], "another error of a session that is down as before has time"
    assert [one["n1"]["since"] for _, one in writer.after(CHANGE_S, given, UP)] == [UP.since]


def test_numbers_alone_are_written_more_seldom(writer: Writer) -> None:
    given = world("n1")
    writer.after(0, given, UP)
    assert writer.after(CHANGE_S, given, replace(UP, imported=4)) == []
    assert writer.after(COUNT_S, given, replace(UP, imported=5)) == [(PATH, {"n1": {**ENTRY, "imported": 5}})]


def test_a_session_that_is_wanted_no_more_takes_its_entry_along(writer: Writer) -> None:
    given = world("n1")
    writer.after(0, given, UP)
    assert writer.after(CHANGE_S, given) == [(PATH, {"n1": None})]
    assert writer.after(CHANGE_S, given) == []


def test_the_first_of_the_nodes_takes_away_what_a_deleted_one_left(writer: Writer) -> None:
    writer.after(0, world("n1", "n2", status_nodes="n2"), UP)
    assert writer.after(1, world("n1", status_nodes="n1 n2"), UP) == [(PATH, {"n2": None})]
    assert writer.after(CHANGE_S, world("n1", status_nodes="n1"), UP) == []
    assert writer.after(CHANGE_S, world("n0", "n1", "n2", status_nodes="n1 n2"), UP) == []
    assert writer.after(CHANGE_S, world("n0", "n1", status_nodes="n1 n2"), UP) == []


def test_what_was_left_while_no_agent_ran_is_taken_away_by_the_next(writer: Writer) -> None:
    assert writer.after(0, world("n1", status_nodes="n1 n2"), UP) == [(PATH, {"n1": ENTRY}), (PATH, {"n2": None})]
    others = Selector((Requirement("rack", Operator.IN, frozenset({"r1"})),))
    elsewhere = world("n0", "n1", status_nodes="n1 n2", peer=replace(TOR, nodes=others))
    assert Writer().after(0, elsewhere) == [(PATH, {"n1": None})]


def test_an_agent_that_starts_leaves_its_entry_until_it_knows_better(writer: Writer) -> None:
    assert writer.after(0, world("n0", "n1", status_nodes="n1")) == []


def test_the_entry_of_a_session_that_came_to_an_end_while_no_agent_ran_goes(writer: Writer) -> None:
    given = world("n0", "n1", status_nodes="n0 n1")
    assert writer.after(0, given) == []
    assert writer.after(1, given, has_all=True) == [(PATH, {"n1": None})]
    assert writer.after(1, world("n0", "n1", status_nodes="n0"), has_all=True) == []
    assert writer.after(CHANGE_S, given, UP, has_all=True) == [(PATH, {"n1": ENTRY})]


def test_of_a_peer_of_very_many_nodes_nothing_is_written(writer: Writer) -> None:
    assert writer.after(0, world("n1", *(f"m{i}" for i in range(MOST_NODES))), UP) == []


def test_an_api_server_that_does_not_answer_is_left_alone_for_a_while(writer: Writer) -> None:
    given = world("n1")
    writer.api.trouble = OSError("no route")
    assert writer.after(0, given, UP) == []
    writer.api.trouble = None
    assert writer.after(0, given, UP) == []
    assert writer.after(CHANGE_S * 10, given, UP) == [(PATH, {"n1": ENTRY})]
