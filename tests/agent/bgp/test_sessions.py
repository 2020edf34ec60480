"""What BIRD says of its protocols, as sessions; and dpctl's rows of it."""

import pytest

from agent.bgp.control import Answer
from agent.bgp.sessions import bfd_states, session_states, with_bfd
from agent.serve.bgp_report import BgpReport, SessionLine
from dpctl.bgp import peer_rows, route_rows

PROTOCOLS = Answer(
    (
        (2002, "Name       Proto      Table      State  Since         Info"),
        (1002, "device1    Device     ---        up     2026-11-29 12:00:00.000  "),
        (1006, ""),
        (1002, "peer_a     BGP        ---        up     2026-11-29 12:04:39.123  Established   "),
        (1006, "  Description:    BGPPeer tor"),
        (1006, "  BGP state:          Established"),
        (1006, "    Neighbor address: 10.88.0.1"),
        (1006, "    Neighbor AS:      64600"),
        (1006, "  Channel ipv4"),
        (1006, "    Routes:         3 imported, 1 filtered, 2 exported, 3 preferred"),
        (1006, "    Route change stats:     received   rejected   filtered    ignored   accepted"),
        (1006, "      Import updates:             12          0          1          0          11"),
        (1006, "      Import withdraws:            8          0        ---          0          8"),
        (1006, "      Export updates:              5          2          1        ---          2"),
        (1006, "  Channel ipv6"),
        (1006, "    Routes:         1 imported, 2 exported, 1 preferred"),
        (1006, "      Import updates:              1          0          0          0          1"),
        (
            1002,
            "node_b     BGP        ---        start  2026-11-29 12:04:40.000  Active  Socket: Connection refused",
        ),
        (1006, "  BGP state:          Active"),
        (1006, "    Neighbor address: fd88::1%eth0"),
        (1006, "    Neighbor AS:      64512"),
        (1006, "    Last error:       Socket: Connection refused"),
        (0, ""),
    )
)
ROUTES = Answer(
    (
        (1007, "Table master4:"),
        (1007, "10.244.2.0/24        unicast [node_b 12:04:39.123] * (100) [i]"),
        (1007, "\tvia 10.88.0.1 on eth0"),
        (1007, "                     unicast [peer_a 12:04:39.123] (100) [AS64600i]"),
        (1007, "\tvia 10.88.0.2 on eth0"),
        (1007, "\tvia 10.88.0.3 on eth0"),
        (1007, "10.88.0.0/24         unicast [connected 12:00:00.123] * (240)"),
        (1007, "\tdev eth0"),
        (1007, "10.244.1.0/24        blackhole [own_pods4 12:00:00.123] * (200)"),
        (0, ""),
    )
)


def test_the_sessions_are_those_of_bgp() -> None:
    up, waiting = session_states(PROTOCOLS)
    assert (up.name, up.is_up, up.since, up.address, up.asn) == (
        "peer_a", True, "2026-11-29 12:04:39", "10.88.0.1", 64600,
    )  # fmt: skip
    assert (up.imported, up.exported) == (4, 4)
    assert (up.updates_in, up.updates_out) == (13, 5)
    assert (waiting.is_up, waiting.state, waiting.error, waiting.address) == (
        False, "Active", "Socket: Connection refused", "fd88::1",
    )  # fmt: skip


def limited(*families: tuple[int, str]) -> Answer:
    """A session with so many prefixes in each family, and what is said of its limit of 3."""
    lines = [(1002, "peer_a BGP --- up 2026-11-29 12:04:39.123 Established"), (1006, "  BGP state: Established")]
    for count, hit in families:
        lines += [(1006, f"    Import limit:   3{hit}"), (1006, "      Action:       block")]
        lines += [(1006, f"    Routes:         {count} imported, 2 exported, 1 preferred")]
    return Answer((*lines, (0, "")))


@pytest.mark.parametrize(
    ("families", "is_limited", "has_room"),
    [
        pytest.param([(3, "")], False, False, id="as many as may be"),
        pytest.param([(3, " [HIT]")], True, False, id="more were told"),
        pytest.param([(0, " [HIT]")], True, True, id="more were told, and what was taken is gone"),
        pytest.param([(3, " [HIT]"), (1, "")], True, False, id="more of one family"),
        pytest.param([(1, ""), (2, " [HIT]")], True, True, id="more of the other, once"),
    ],
)
def test_a_limit_that_is_met_is_known_and_whether_there_is_room_again(
    families: list[tuple[int, str]], *, is_limited: bool, has_room: bool
) -> None:
    (one,) = session_states(limited(*families))
    assert (one.is_limited, one.has_room) == (is_limited, has_room)


def test_the_text_of_a_peers_message_is_none_of_birds() -> None:
    said = "Message: Import limit: 9 [HIT] Routes: 7 imported, 8 exported Import updates: 5 BGP state: Established"
    lines = [(1002, "peer_a BGP --- start 2026-11-29 12:04:39.123 Active"), (1006, f"  {said}")]
    (one,) = session_states(Answer((*lines, (1006, "  BGP state:          Active"), (0, ""))))
    assert (one.is_up, one.imported, one.exported, one.updates_in, one.is_limited) == (False, 0, 0, 0, False)


def test_what_bfd_finds_is_its_sessions_peers_each_at_its_interface() -> None:
    said = (
        (1020, "bfd1:"),
        (1020, "IP address                Interface  State      Since         Interval  Timeout"),
        (1020, "10.88.0.1                 eth0       Up         12:04:40.123    0.100    0.300"),
        (1020, "fd88::1                   eth0       Down       12:04:41.123    1.000    0.000"),
        (1020, "fd88::1                   eth1       Up         12:04:41.123    1.000    0.000"),
        (0, ""),
    )
    states = with_bfd(session_states(PROTOCOLS), bfd_states(Answer(said)))
    assert [one.bfd for one in states] == ["Up", "Down"]


def test_dpctl_names_who_asked_for_a_session_and_what_is_not_there_yet() -> None:
    lines = (
        SessionLine("peer_a", "BGPPeer tor", "10.88.0.1", 64600, "10.88.0.11", has_password=True),
        SessionLine("peer_c", "BGPPeer new", "10.88.0.3", 64600, "10.88.0.11"),
    )
    absent = (("annotation peers[0]", ""), ("BGPPeer keyed", "10.88.0.9"))
    rows = peer_rows(PROTOCOLS, BgpReport(sessions=lines, absent=absent))
    assert [(row.peer, row.address, row.state, row.has_password) for row in rows] == [
        ("", "fd88::1", "Active", False),
        ("BGPPeer tor", "10.88.0.1", "Established", True),
        ("BGPPeer new", "10.88.0.3", "not configured yet", False),
        ("BGPPeer keyed", "10.88.0.9", "left out", False),
        ("annotation peers[0]", "", "left out", False),
    ]


@pytest.mark.parametrize(
    ("at", "prefix", "of", "peer", "is_used", "via"),
    [
        pytest.param(0, "10.244.2.0/24", "node_b", "", True, ("10.88.0.1 eth0",), id="of a node"),
        pytest.param(
            1, "10.244.2.0/24", "peer_a", "BGPPeer tor", False, ("10.88.0.2 eth0", "10.88.0.3 eth0"), id="a second way"
        ),
        pytest.param(2, "10.244.1.0/24", "own_pods4", "", True, (), id="its own, which is told"),
    ],
)
def test_dpctls_routes(at: int, prefix: str, of: str, peer: str, *, is_used: bool, via: tuple[str, ...]) -> None:
    rows = route_rows(ROUTES, {"peer_a": "BGPPeer tor"})
    assert len(rows) == 3
    row = rows[at]
    assert (row.prefix, row.of, row.peer, row.is_used, row.via) == (prefix, of, peer, is_used, via)
