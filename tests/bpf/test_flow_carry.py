"""Flows in the next generation's table: two tables that go on by themselves while links move, made one."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import TCP

from maps import abi, flow_arrays, flow_table, mapio
from maps.abi import FlowFlag
from maps.flow_carry import FlowCarry
from maps.flow_table import FlowTable
from maps.object import Object
from tests.bpf.datapath import OTHER, POD, REMOTE, VIP, Datapath, addr, data, frame, syn

pytestmark = pytest.mark.kernel

Flows = FlowTable[Any, Any]
PORT = 40000
FIRST, SECOND = (OTHER, 8080, True), (REMOTE, 8080, False)
ENDED = FlowFlag.FLOW_FIN_ORIGIN | FlowFlag.FLOW_FIN_REPLY


@pytest.fixture(scope="module")
def empty() -> Iterator[Object]:
    """The maps of another generation's table."""
    made = Object.open(flow_table.shipped_writers())
    size = abi.FLOWS.max_entries
    for name, elements in flow_arrays.elements({"flows": size}).items():
        made.resize(name, elements)
    made.set_constants({"flow_bucket_number": flow_arrays.constants(size)["flow_bucket_number"]})
    made.load()
    flow_arrays.draw_seed(made.map_fd("flow_seeds"))
    yield made
    made.close()


@pytest.fixture
def new(empty: Object) -> Iterator[Flows]:
    """The table of the new generation, whose programs the tests are."""
    table = table_of({name: empty.map_fd(name) for name in empty.maps()})
    table.delete([key for key, _ in table.items()])
    yield table
    table.close()


@pytest.fixture
def moved(node: Datapath, new: Flows) -> FlowCarry:
    """The table of the old generation, whose programs the node's are, and the new one."""
    node.service(VIP, 80, [FIRST])
    old = node.tables["flows"]
    assert isinstance(old, FlowTable)
    return FlowCarry(old, new)


def table_of(open_maps: dict[str, int]) -> Flows:
    return FlowTable(abi.FLOWS, os.dup(open_maps["flows"]), flow_table.beside(abi.FLOWS, open_maps))


def exchange(node: Datapath, backend: str, flags: str, answer: str) -> None:
    """The client sends a segment, and its backend another one."""
    asked = syn(PORT) if flags == "S" else data(PORT, flags=flags)
    node.run("pod_ingress", frame(POD, VIP, asked))
    said = TCP(sport=8080, dport=PORT, flags=answer)
    if backend == REMOTE:
        node.run("uplink_ingress", frame(backend, POD, said))
    else:
        node.run("pod_egress", frame(backend, POD, said))


def connect(node: Datapath, backend: str = OTHER) -> None:
    exchange(node, backend, "S", "SA")
    exchange(node, backend, "A", "A")


def close(node: Datapath, backend: str = OTHER) -> None:
    exchange(node, backend, "FA", "FA")


def backends(node: Datapath, *wanted: tuple[str, int, bool]) -> None:
    """Roll the service's backends: those that are not wanted leave."""
    node.tables["backends"].delete([key for key, _ in node.tables["backends"].items()])
    node.service(VIP, 80, list(wanted))
    node.node(revision=int(time.monotonic() * 1000) & 0xFFFFFFF)


def halves(flows: Any) -> dict[str, abi.Flow]:
    """Entries by who answers the client: what is sent forward, and, marked, what is answered."""
    found = {}
    for key, flow in flows.items():
        is_forward = flow.flags & FlowFlag.FLOW_FORWARD
        backend = flow.to_dst if is_forward else (key.lo_addr if key.hi_addr == addr(POD) else key.hi_addr)
        name = str(backend.ipv4_mapped)
        found[name if is_forward else f"{name} answers"] = flow
    return found


def epoch(empty: Object) -> bytes | None:
    return mapio.lookup(empty.map_fd("cache_epochs"), bytes(4), 8)


def test_a_port_that_is_taken_again_while_links_move_leads_to_the_new_backend(
    node: Datapath, moved: FlowCarry, new: Flows, empty: Object
) -> None:
    """The copy of the first connection, which was open, would send the second one's data to the backend that left."""
    connect(node)
    moved.carry(ending=False)
    assert halves(new).keys() == {OTHER, f"{OTHER} answers"}
    close(node)
    backends(node, SECOND)
    before = epoch(empty)
    connect(node, REMOTE)
    moved.carry()
    assert halves(new).keys() == {REMOTE, f"{REMOTE} answers"}
    assert epoch(empty) != before, "copies of the first one are void"


def test_the_copy_of_a_connection_learns_that_it_ended(node: Datapath, moved: FlowCarry, new: Flows) -> None:
    """Who takes its port again in the new table begins a connection with whom is there by then."""
    connect(node)
    moved.carry(ending=False)
    close(node)
    moved.carry()
    forward, reverse = halves(new)[OTHER], halves(new)[f"{OTHER} answers"]
    assert (forward.flags | reverse.flags) & ENDED == ENDED


def test_half_a_connection_is_made_whole(node: Datapath, moved: FlowCarry, new: Flows) -> None:
    """One end had closed when it was copied first, so that the half that saw it stayed behind."""
    connect(node)
    node.run("pod_egress", frame(OTHER, POD, TCP(sport=8080, dport=PORT, flags="FA")))
    moved.carry(ending=False)
    assert halves(new).keys() == {OTHER}
    moved.carry()
    assert halves(new).keys() == {OTHER, f"{OTHER} answers"}


def serial_after(key: abi.FlowKey, flow: abi.Flow) -> int:
    """Another entry's serial under the same key."""
    return flow.serial ^ 0x40 or key.lo_port


def begun(moved_flow: tuple[abi.FlowKey, abi.Flow], **changed: Any) -> tuple[abi.FlowKey, abi.Flow]:
    """As the new programs would begin one under the same key."""
    key, flow = moved_flow
    return key, replace(flow, serial=serial_after(key, flow), flags=flow.flags & ~FlowFlag.FLOW_CARRIED, **changed)


def forward(flows: Any) -> tuple[abi.FlowKey, abi.Flow]:
    return next((key, flow) for key, flow in flows.items() if flow.flags & FlowFlag.FLOW_FORWARD)


def test_what_the_new_programs_began_stays_and_gets_no_foreign_half(
    node: Datapath, moved: FlowCarry, new: Flows
) -> None:
    """The client sent its SYN again, and met the new programs, which know other backends."""
    connect(node)
    new.update([begun(forward(node.tables["flows"]), to_dst=addr(REMOTE))])
    moved.carry(ending=False)
    moved.carry()
    assert halves(new).keys() == {REMOTE}


def test_what_the_new_programs_ended_does_not_come_back(node: Datapath, moved: FlowCarry, new: Flows) -> None:
    connect(node)
    moved.carry(ending=False)
    new.delete([key for key, _ in new.items()])
    moved.carry(ending=False)
    moved.carry()
    assert halves(new) == {}


def test_an_end_that_was_seen_later_goes_on(node: Datapath, moved: FlowCarry, new: Flows) -> None:
    """After a death amid the move, links go back to programs that began theirs before."""
    connect(node)
    key, flow = forward(node.tables["flows"])
    new.update([begun((key, flow), to_dst=addr(REMOTE), seen_s=flow.seen_s - 1)])
    moved.carry()
    assert halves(new).keys() == {OTHER, f"{OTHER} answers"}


def test_what_is_about_to_be_deleted_stays_behind(node: Datapath, moved: FlowCarry, new: Flows) -> None:
    """Whoever has said that deletes it in the old table; in the new one it would stay for ever."""
    connect(node)
    old = node.tables["flows"]
    key, flow = forward(old)
    old.update([(key, replace(flow, flags=flow.flags | FlowFlag.FLOW_ENDED))])
    moved.carry()
    assert halves(new).keys() == {f"{OTHER} answers"}


def test_what_half_made_tables_know_is_later_than_what_an_older_one_has(node: Datapath, new: Flows) -> None:
    node.service(VIP, 80, [FIRST])
    connect(node)
    old = node.tables["flows"]
    assert isinstance(old, FlowTable)
    key, flow = begun(forward(old), to_dst=addr(REMOTE))
    new.update([(key, replace(flow, flags=flow.flags | FlowFlag.FLOW_CARRIED))])
    FlowCarry(old, new, is_latest=False).carry()
    assert forward(new)[1].to_dst == addr(REMOTE)
