"""What the maps hold, as lines for people: the expected half of a scenario."""

from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import IPv6Address
from typing import Any

from agent.model.address import unmapped
from agent.model.service import Protocol
from dpctl.endpoint import network_text
from maps import abi
from maps.apply import AnyTable

Tables = Mapping[str, AnyTable]
RULES = {abi.RULES_UNKNOWN: "nothing yet", abi.RULES_NONE: "everything"}


def dump(tables: Tables) -> str:
    """Every map that is not empty, its entries sorted."""
    parts = []
    for name, lines in (
        ("services", _services(tables)),
        ("service_addrs", _service_addrs(tables)),
        ("backend_sets", _backend_sets(tables)),
        ("maglevs", _maglevs(tables)),
        ("rings", _rings(tables)),
        ("turns", (str(set_id) for set_id, _ in sorted(tables["turns"].items()))),
        ("loads", (f"{key.set_id} slot {key.slot}" for key in _in_order(tables["loads"]))),
        ("backends", _backends(tables)),
        ("attachments", _attachments(tables)),
        ("endpoints", _endpoints(tables)),
        ("routed_ranges", _routed_ranges(tables)),
        ("prefixes", _prefixes(tables)),
        ("pod_netns", _pod_netns(tables)),
        ("node", _node(tables)),
    ):
        found = [f"  {line}\n" for line in lines]
        parts += [f"{name}\n", *found] if found else []
    return "".join(parts)


def dump_policy(tables: Tables) -> str:
    """What policy says of each pod's interfaces, and of whom."""
    parts = (
        ("interfaces", _interfaces(tables)),
        ("rules", _rules(tables)),
        ("peers", _peers(tables)),
    )
    return "".join("".join([f"{name}\n", *(f"  {line}\n" for line in lines)]) for name, lines in parts)


def _interfaces(tables: Tables) -> Iterator[str]:
    for slot, value in sorted(tables["pod_policies"].items()):
        if value.flags:
            ways = (f"{way} {RULES.get(n, f'set {n}')}" for way, n in (("in", value.ingress), ("out", value.egress)))
            yield f"slot {slot} on network {value.network}: {', '.join(ways)}"


def _rules(tables: Tables) -> Iterator[str]:
    labels = {number: one.label for number, one in tables["policies"].items()}
    for key, rule in sorted(tables["rules"].items(), key=lambda one: (one[0].rules, one[0].peer_class)):
        said = [f"{one.low}-{one.high} {abi.PolicyVerdict(one.verdict).name}" for one in rule.ranges[: rule.count]]
        words = ", ".join([*said, f"else {abi.PolicyVerdict(rule.verdict).name}"])
        by = {labels[one] for one in (rule.policy, *(each.policy for each in rule.ranges[: rule.count])) if one}
        yield f"set {key.rules}, class {key.peer_class}: {words} by {', '.join(sorted(by))}"


def _peers(tables: Tables) -> Iterator[str]:
    for key, value in sorted(tables["peers"].items(), key=lambda one: (one[0].network, one[0].addr)):
        yield f"{unmapped(key.addr)} on network {key.network}: class {value.number}"
    for range_key, value in sorted(tables["peer_ranges"].items(), key=lambda one: network_text(one[0])):
        yield f"{network_text(range_key)}: class {value.number}"


def _services(tables: Tables) -> Iterator[str]:
    entries = ((k.scope, k.protocol, k.addr, k.port, v) for k, v in tables["services"].items())
    for scope, protocol, addr, port, value in sorted(entries, key=lambda entry: entry[:4]):
        words = [f"set {value.set_id}", f"{value.backends} backends", f"{value.parts} parts"]
        words += [f"affinity {value.affinity_s} s"] if value.affinity_s else []
        words += [abi.Scheduler(value.scheduler).name] if value.scheduler else []
        words += _flags(abi.ServiceFlag(value.flags))
        yield f"{_end(addr, port)} {Protocol(protocol).name} {abi.Scope(scope).name}: {', '.join(words)}"


def _service_addrs(tables: Tables) -> Iterator[str]:
    for scope, addr in sorted((k.scope, k.addr) for k, _ in tables["service_addrs"].items()):
        yield f"{unmapped(addr)} {abi.Scope(scope).name}"


def _backend_sets(tables: Tables) -> Iterator[str]:
    for set_id, value in sorted(tables["backend_sets"].items()):
        yield f"{set_id}: {value.label}"


def _maglevs(tables: Tables) -> Iterator[str]:
    for key, value in sorted(tables["maglevs"].items(), key=lambda entry: (entry[0].set_id, entry[0].part)):
        shares = Counter(memoryview(value.slots).cast("H"))
        told = ", ".join(f"slot {slot} has {share}" for slot, share in sorted(shares.items()))
        yield f"{key.set_id} part {key.part}: {told}"


def _rings(tables: Tables) -> Iterator[str]:
    for key, value in sorted(tables["rings"].items(), key=lambda entry: (entry[0].set_id, entry[0].part)):
        slots = memoryview(value.slots).cast("H")[: value.length]
        yield f"{key.set_id} part {key.part}, of {value.length} places: {' '.join(map(str, slots))}"


def _in_order(table: AnyTable) -> list[Any]:
    return sorted((key for key, _ in table.items()), key=lambda key: (key.set_id, key.slot))


def _backends(tables: Tables) -> Iterator[str]:
    for key, value in sorted(tables["backends"].items(), key=lambda entry: (entry[0].set_id, entry[0].slot)):
        words = [_end(value.addr, value.port), *_flags(abi.BackendFlag(value.flags))]
        words += [f"weight {value.weight}"] if value.weight != 1 else []
        yield f"{key.set_id} slot {key.slot}: {', '.join(words)}"


def _endpoints(tables: Tables) -> Iterator[str]:
    for addr, value in sorted(tables["endpoints"].items()):
        yield f"{unmapped(addr)}: {', '.join([f'slot {value.slot}', *_flags(abi.EndpointFlag(value.flags))])}"


def _routed_ranges(tables: Tables) -> Iterator[str]:
    entries = ((network_text(key), value.slot) for key, value in tables["routed_ranges"].items())
    for network, slot in sorted(entries):
        yield f"{network}: slot {slot}"


def _prefixes(tables: Tables) -> Iterator[str]:
    entries = ((network_text(key), value) for key, value in tables["prefixes"].items())
    for network, value in sorted(entries, key=lambda entry: entry[0]):
        yield f"{network}: remote {value.remote_id}, node {value.node_id:08x}"


def _attachments(tables: Tables) -> Iterator[str]:
    for slot, value in sorted(tables["attachments"].items()):
        if value.ifindex:
            yield f"{slot}: endpoint {value.endpoint_id}, ifindex {value.ifindex}, {value.mac.hex(':')}"


def _pod_netns(tables: Tables) -> Iterator[str]:
    for cookie, value in sorted(tables["pod_netns"].items()):
        yield f"{cookie}: {unmapped(value.addr4)}, {unmapped(value.addr6)}"


def _node(tables: Tables) -> Iterator[str]:
    node = tables["node"].get(0)
    if node is not None and node.netns_cookie:
        yield f"addresses {unmapped(node.addr4)}, {unmapped(node.addr6)}"
        yield f"netns cookie {node.netns_cookie}, revision {node.revision}"
        yield f"translates to ports {node.nat_port_min}-{node.nat_port_max}"
        yield f"node ports {node.node_port_min}-{node.node_port_max}"


def _end(addr: IPv6Address, port: int) -> str:
    plain = unmapped(addr)
    return f"{plain}:{port}" if plain.version == 4 else f"[{plain}]:{port}"


def _flags(flags: Any) -> list[str]:
    return [flag.name for flag in type(flags) if flag in flags]
