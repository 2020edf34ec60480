"""``dpctl status``: one look at a node's dataplane, also when its agent is dead."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from agent.model.address import unmapped
from agent.netlink.cookie import netns_cookie
from dpctl import link, lock
from dpctl.explain import way_out
from dpctl.format import Fact, duration, octets
from dpctl.map import MapRow, map_table
from dpctl.netns import names_of
from dpctl.output import Column, Table
from dpctl.pinned import is_ours, opened
from dpctl.report import cluster_fact, last_report, part_table, problem_table
from maps import abi
from maps.pins import Generation, PinRoot
from maps.spec import MapSpec
from maps.traffic import Traffic, traffic

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class MapFill:
    """How full one map is."""

    about: str
    name: str
    used: int | None
    max_entries: int
    full: str  # "12.5%"; empty for an array
    octets: int


@dataclass(frozen=True, slots=True)
class TrafficRow:
    """Packets of one program and direction that went on, or were dropped for one reason."""

    about: str
    program: str
    direction: str
    reason: str  # empty: forwarded, or left to the stack
    packets: int
    octets: int
    way_out: str = ""  # what to do where such packets are to pass


FACTS: tuple[Column[Fact], ...] = (
    Column("ABOUT", lambda r: r.about),
    Column("STATE", lambda r: r.state),
    Column("NOTE", lambda r: r.note),
)
FILLS: tuple[Column[MapFill], ...] = (
    Column("MAP", lambda r: r.name),
    Column("USED", lambda r: "" if r.used is None else str(r.used), right=True),
    Column("MAX", lambda r: str(r.max_entries), right=True),
    Column("FULL", lambda r: r.full, right=True),
    Column("MEMORY", lambda r: octets(r.octets), right=True),
)
TRAFFIC: tuple[Column[TrafficRow], ...] = (
    Column("PROGRAM", lambda r: r.program),
    Column("DIRECTION", lambda r: r.direction),
    Column("REASON", lambda r: r.reason or "forwarded"),
    Column("PACKETS", lambda r: str(r.packets), right=True),
    Column("BYTES", lambda r: str(r.octets), right=True),
    Column("WAY OUT", lambda r: r.way_out),
)


def status_tables(root: PinRoot, run_dir: Path) -> list[Table[Any]]:
    """The summary, what the agent cannot use, links, maps and packets, each as a table; empty ones are left out.

    *run_dir* is where the agent leaves what it says of itself.
    """
    generation = root.current()
    known = generation if generation and is_ours(generation) else None
    node = _only(known, abi.NODE)
    links = _links(root, node)
    fills = map_table(generation).rows if generation else ()
    report = last_report(run_dir, root.path)
    tables: list[Table[Any]] = [
        Table(FACTS, [*_facts(root, node, _only(known, abi.GC_RUNS), links), cluster_fact(report, run_dir)]),
        problem_table(report),
        part_table(report),
        Table(link.COLUMNS, links),
        Table(FILLS, [_fill(row) for row in fills]),
        Table(TRAFFIC, _traffic(known)),
    ]
    return [table for table in tables if table.rows]


def agent_fact(pid: int | None) -> Fact:
    """Whether an agent is at work; without one the programs go on, and nothing new reaches the maps."""
    if pid is None:
        return Fact("agent", "not running", "traffic goes on; changes of the cluster wait", {"pid": None})
    return Fact("agent", "running", f"process {pid} holds the pin root's lock", {"pid": pid})


def generation_facts(root: PinRoot) -> list[Fact]:
    """The generation in use, and those half made or left over."""
    current = root.current()
    facts = [_generation(found, in_use=found == current) for found in root.generations()]
    return facts or [Fact("generation", "none", "an agent makes it: sluiceway-agent run")]


def node_fact(node: abi.Node) -> Fact:
    """What flows are translated to, and how often endpoints and backends have changed."""
    addresses = [str(unmapped(address)) for address in (node.addr4, node.addr6) if int(address)]
    values = {
        "addresses": addresses,
        "revision": node.revision,
        "netns_cookie": node.netns_cookie,
        "nat_ports": [node.nat_port_min, node.nat_port_max],
        "node_ports": [node.node_port_min, node.node_port_max],
    }
    note = (
        f"revision {node.revision}, node ports {node.node_port_min}-{node.node_port_max},"
        f" translates from ports {node.nat_port_min}-{node.nat_port_max}"
    )
    return Fact("node", ", ".join(addresses) or "no address", note, values)


def network_fact(node: abi.Node) -> Fact:
    """How pods' packets go to other nodes, and how outside."""
    is_masqueraded = bool(node.flags & abi.NodeFlag.NODE_MASQUERADE)
    values = {
        "tunnel_ifindex": node.tunnel_ifindex,
        "tunnel_vni": node.tunnel_vni,
        "tunnel_port": node.tunnel_port,
        "masquerade": is_masqueraded,
    }
    outside = "under the node's address" if is_masqueraded else "under their own"
    state, way = _way(node)
    return Fact("network", state, f"{way}pods go outside {outside}", values)


def xdp_fact(links: list[link.LinkRow]) -> Fact:
    """Whether the drivers of the node's devices run the XDP program, or the kernel for them, or neither."""
    state, where = link.xdp_hook(links)
    return Fact("xdp", state, where or "tc has all that comes in from outside", {"devices": where})


def _way(node: abi.Node) -> tuple[str, str]:
    """How packets are encapsulated, in a word and as a clause."""
    if not node.tunnel_ifindex:
        return "native", ""
    if node.flags & abi.NodeFlag.NODE_IPIP:
        return "ipip", f"by headers of our own, with the MTU of device {node.tunnel_ifindex}; "
    by = f"network {node.tunnel_vni} by device {node.tunnel_ifindex} to UDP port {node.tunnel_port}"
    if node.flags & abi.NodeFlag.NODE_GENEVE:
        return "geneve", f"{by}, VXLAN's header exchanged; "
    return "tunnel", f"{by}; "


def flows_fact(gc: abi.GcRun, now_ns: int) -> Fact:
    """The table of flows as the last run of conntrack GC left it."""
    if not gc.runs:
        return Fact("flows", "unknown", "conntrack GC has not run yet", {"runs": 0})
    age_s = max(0, now_ns - gc.at_ns) / 1e9
    values = {
        "flows": gc.flows,
        "unanswered": gc.unanswered,
        "expired": gc.expired,
        "gc_runs": gc.runs,
        "gc_age_s": round(age_s, 1),
    }
    note = f"{gc.unanswered} unanswered, {gc.expired} ended for age; GC ran {duration(age_s)} ago"
    return Fact("flows", f"{gc.flows} entries", note, values)


def traffic_rows(counted: list[Traffic]) -> list[TrafficRow]:
    """What was counted at all, drops after what went on."""
    rows = [
        TrafficRow(
            "traffic", item.program, item.direction, item.reason, item.packets, item.octets, way_out(item.reason)
        )
        for item in counted
        if item.packets
    ]
    return sorted(rows, key=lambda row: (bool(row.reason), row.program, row.direction, -row.packets))


def _facts(root: PinRoot, node: abi.Node | None, gc: abi.GcRun | None, links: list[link.LinkRow]) -> list[Fact]:
    facts = [
        Fact("pin root", str(root.path)),
        agent_fact(lock.holder(root.path)),
        *generation_facts(root),
        Fact("socket hook", link.socket_hook(links)),
    ]
    if node and node.netns_cookie == netns_cookie():
        facts.append(xdp_fact(links))
    if node:
        facts += [node_fact(node), network_fact(node)]
    if gc:
        facts.append(flows_fact(gc, time.monotonic_ns()))
    return facts


def _generation(generation: Generation, *, in_use: bool) -> Fact:
    layout = "this build's layout" if is_ours(generation) else "another build's layout: see dpctl map dump"
    note = f"{'in use' if in_use else 'not in use'}, {layout}"
    return Fact("generation", generation.name, note, {"in_use": in_use, "known_layout": is_ours(generation)})


def _links(root: PinRoot, node: abi.Node | None) -> list[link.LinkRow]:
    """Pinned links, and the tc filters by which programs are on devices that have none, or not yet."""
    device = names_of(node.netns_cookie if node else 0)
    links = link.link_rows(root, device)
    if node and node.netns_cookie == netns_cookie():
        links += link.filter_rows(device)
    return links


def _only(generation: Generation | None, spec: MapSpec[int, V]) -> V | None:
    """The one record of a map that has one, where the map is there to read."""
    if generation is None or spec.name not in generation.pinned():
        return None
    with opened(generation, spec) as table:
        return table.get(0)


def _traffic(generation: Generation | None) -> list[TrafficRow]:
    if generation is None or abi.COUNTERS.name not in generation.pinned():
        return []
    with opened(generation, abi.COUNTERS) as counters:
        return traffic_rows(list(traffic(counters.items())))


def _fill(row: MapRow) -> MapFill:
    return MapFill("map", row.name, row.used, row.max_entries, row.percent, row.octets)
