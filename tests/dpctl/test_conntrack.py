"""Entries of flows become connections, each shown once and from its client."""

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_network
from itertools import permutations

import pytest

from dpctl.conntrack import Filter, FlowRow, Known, flow_rows
from dpctl.format import End, set_label
from maps.abi import FLOWS, Flow, FlowFlag, FlowKey, PeerLocation
from maps.memory import MemoryTable

NOWHERE = PeerLocation(0, 0, 0)
NOW = 10_000
TCP, UDP = 6, 17
Entry = tuple[FlowKey, Flow]


def at(last: int) -> IPv6Address:
    return IPv6Address(f"::ffff:10.0.0.{last}")


CLIENT, SERVICE, BACKEND, NODE = (at(n) for n in (1, 2, 3, 4))
SETS = {9: set_label("default/web:http/TCP/IPv4/all")}


def entry(
    origin: tuple[IPv6Address, int],
    other: tuple[IPv6Address, int],
    to: tuple[tuple[IPv6Address, int], tuple[IPv6Address, int]] | None = None,
    *,
    flags: int = 0,
    swap: bool = False,
    seen_s: int = NOW,
    protocol: int = TCP,
    set_id: int = 0,
) -> Entry:
    """One entry; the key's order means nothing, *swap* turns it round."""
    lo, hi = (other, origin) if swap else (origin, other)
    source, target = to or ((IPv6Address(0), 0), (IPv6Address(0), 0))
    flags |= FlowFlag.FLOW_ORIGIN_HI if swap else 0
    key = FlowKey(lo[0], hi[0], lo[1], hi[1], protocol, 0, 0)
    return key, Flow(
        1, flags, source[0], target[0], source[1], target[1], (NOWHERE, NOWHERE), 1, seen_s, set_id, 0, 0, 0
    )


def pair(
    *, swap: bool = False, flags: int = 0, answer: int = 0, source: tuple[IPv6Address, int] = (CLIENT, 5)
) -> list[Entry]:
    """A translated flow's two entries."""
    client, service, backend = (CLIENT, 5), (SERVICE, 80), (BACKEND, 8080)
    forward = FlowFlag.FLOW_FORWARD | flags
    reverse = FlowFlag.FLOW_REVERSE | answer
    return [
        entry(client, service, (source, backend), flags=forward, swap=swap, set_id=9),
        entry(source, backend, (service, client), flags=reverse, swap=not swap, seen_s=NOW - 2),
    ]


def shown(entries: Iterable[Entry], chosen: Filter = Filter(), **known: frozenset[IPv6Address]) -> list[FlowRow]:  # noqa: B008
    """The rows of entries that were in a table."""
    flows = MemoryTable(FLOWS, 64)
    flows.update(entries)
    return flow_rows(flows.items(), Known(SETS, now_s=NOW, **known), chosen)


@pytest.mark.parametrize("swap", [False, True], ids=["keys begin with the client", "keys begin with the other end"])
def test_both_halves_of_a_translated_flow_are_one_row(swap: bool) -> None:  # noqa: FBT001
    for order in permutations(pair(swap=swap, answer=FlowFlag.FLOW_REPLIED)):
        (row,) = shown(order)
        assert (row.client, row.service, row.backend) == (
            End("10.0.0.1", 5),
            End("10.0.0.2", 80),
            End("10.0.0.3", 8080),
        )
        assert row.snat is None
        assert (row.service_name, row.state, row.flags) == ("default/web:http", "established", ("replied",))
        assert row.idle_s == 0


@pytest.mark.parametrize("swap", [False, True], ids=["keys begin with the client", "keys begin with the other end"])
def test_a_translated_source_is_what_the_backend_sees(swap: bool) -> None:  # noqa: FBT001
    (row,) = shown(pair(swap=swap, source=(NODE, 2000)))
    assert (row.client, row.snat) == (End("10.0.0.1", 5), End("10.0.0.4", 2000))


@pytest.mark.parametrize("swap", [False, True], ids=["the lo end began", "the hi end began"])
def test_an_untranslated_flow_leads_to_whom_it_was_sent(swap: bool) -> None:  # noqa: FBT001
    (row,) = shown([entry((CLIENT, 5), (BACKEND, 53), protocol=UDP, swap=swap)])
    assert (row.client, row.service, row.backend) == (End("10.0.0.1", 5), None, End("10.0.0.3", 53))


@pytest.mark.parametrize("half", [0, 1], ids=["the first half", "the second half"])
def test_a_half_alone_is_shown_as_such(half: int) -> None:
    (row,) = shown([pair()[half]])
    assert (row.client, row.service, row.backend) == (End("10.0.0.1", 5), End("10.0.0.2", 80), End("10.0.0.3", 8080))
    assert "unpaired" in row.flags


def test_what_another_nodes_client_is_answered_is_whole_by_itself() -> None:
    reverse = FlowFlag.FLOW_REVERSE | FlowFlag.FLOW_DSR
    (row,) = shown([entry((CLIENT, 5), (BACKEND, 8080), ((SERVICE, 80), (CLIENT, 5)), flags=reverse)])
    assert (row.client, row.service, row.backend) == (End("10.0.0.1", 5), End("10.0.0.2", 80), End("10.0.0.3", 8080))
    assert (row.snat, row.flags) == (None, ("dsr",))


@pytest.mark.parametrize(
    ("protocol", "flags", "state"),
    [
        pytest.param(TCP, 0, "new", id="unanswered is new"),
        pytest.param(TCP, FlowFlag.FLOW_REPLIED, "established", id="answered is established"),
        pytest.param(TCP, FlowFlag.FLOW_REPLIED | FlowFlag.FLOW_FIN_REPLY, "closing", id="one FIN is closing"),
        pytest.param(TCP, FlowFlag.FLOW_FIN_ORIGIN | FlowFlag.FLOW_FIN_REPLY, "closed", id="two FINs are closed"),
        pytest.param(TCP, FlowFlag.FLOW_RESET, "closed", id="a reset is closed"),
        pytest.param(UDP, FlowFlag.FLOW_REPLIED, "established", id="UDP knows answers alone"),
        pytest.param(
            TCP,
            FlowFlag.FLOW_FORWARD | FlowFlag.FLOW_DSR | FlowFlag.FLOW_FIN_ORIGIN,
            "closed",
            id="the client's FIN is all that is seen of a connection that another node answers",
        ),
    ],
)
def test_a_state_is_what_gc_goes_by(protocol: int, flags: int, state: str) -> None:
    (row,) = shown([entry((CLIENT, 5), (BACKEND, 80), protocol=protocol, flags=flags)])
    assert row.state == state


@pytest.mark.parametrize(
    ("here", "direction"),
    [
        pytest.param({CLIENT, BACKEND}, "local", id="both ends here"),
        pytest.param({CLIENT}, "out", id="the client here"),
        pytest.param({BACKEND}, "in", id="the backend here"),
        pytest.param(set(), "through", id="none here"),
    ],
)
def test_a_direction_is_seen_from_the_node(here: set[IPv6Address], direction: str) -> None:
    (row,) = shown(pair(), here=frozenset(here))
    assert row.direction == direction


def test_the_latest_packet_comes_first_and_a_limit_keeps_it() -> None:
    entries = [entry((CLIENT, port), (BACKEND, 80), seen_s=NOW - port) for port in (7, 3, 5)]
    assert [row.client.port for row in shown(entries)] == [3, 5, 7]
    assert [row.client.port for row in shown(entries, Filter(limit=1))] == [3]


def test_a_packet_that_came_while_reading_has_no_age_and_the_clock_may_wrap() -> None:
    entries = [entry((CLIENT, 1), (BACKEND, 80), seen_s=NOW + 1), entry((CLIENT, 2), (BACKEND, 80), seen_s=2**32 - 1)]
    assert [row.idle_s for row in shown(entries)] == [0.0, round((NOW + 1) * 2**30 / 1e9, 1)]


@pytest.mark.parametrize(
    ("chosen", "ports"),
    [
        pytest.param(Filter(networks=(ip_network("10.0.0.2"),)), [5], id="the service's address"),
        pytest.param(Filter(networks=(ip_network("10.0.0.4/32"),)), [5], id="the source as the backend sees it"),
        pytest.param(Filter(ports=(80, 53)), [5, 6], id="any of the ports"),
        pytest.param(Filter(service="default/web"), [5], id="the service"),
        pytest.param(Filter(protocol=UDP, ports=(80,)), [], id="all filters at once"),
    ],
)
def test_a_filter_looks_at_every_end(chosen: Filter, ports: list[int]) -> None:
    entries = [*pair(source=(NODE, 2000)), entry((CLIENT, 6), (BACKEND, 53), protocol=UDP, seen_s=NOW - 9)]
    assert [row.client.port for row in shown(entries, chosen)] == ports
