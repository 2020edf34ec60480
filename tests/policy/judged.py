"""A node in miniature that is given a world of raw objects as the agent is, and asked about flows by packets.

From the JSON to the packet all is the agent's and the programs' own: decoded, compiled, written by rounds, and judged
by the shipped objects. Every pod of the node is behind the loopback device, told apart by its MAC.
"""

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

from agent.compile.settings import Settings
from agent.model.attachment import Attachment, AttachmentKey, Veth
from agent.model.local import Device, Local
from agent.model.name import ObjectName
from agent.reconcile.parts import Dataplane
from agent.reconcile.round import Rounds
from agent.watch.decode.cluster_network_policy import CLUSTER_NETWORK_POLICY
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kind import Kind
from agent.watch.decode.namespace import NAMESPACE
from agent.watch.decode.network_policy import NETWORK_POLICY
from agent.watch.decode.node import NODE
from agent.watch.decode.peer_pod import PEER_POD
from agent.watch.decode.pod import POD
from agent.watch.mirror import Mirror
from maps import abi, libbpf
from maps.apply import AnyTable
from maps.memory import MemoryTable
from maps.record import cut
from maps.registry import agent_maps
from tests.bpf.datapath import LOOPBACK, TC_ACT_SHOT, Datapath
from tests.policy.facts import Address, Flow, Object, World, addresses, node_addresses
from tests.policy.frames import Way

KINDS = (NAMESPACE, NODE, POD, PEER_POD, NETWORK_POLICY, CLUSTER_NETWORK_POLICY)
DENIED = {
    abi.DropReason.DROP_POLICY_INGRESS,
    abi.DropReason.DROP_POLICY_EGRESS,
    abi.DropReason.DROP_POLICY_UNKNOWN,
}
FIRST_PORT, PORTS = 20000, 40000
SLOTS = 64
CONTEXT = struct.pack("<40xI", LOOPBACK).ljust(192, b"\0")  # struct __sk_buff


class Nothing:
    """No deferred work."""

    is_left = False

    def piece(self) -> None:
        """None."""


class Written:
    """A table of a node that is written record by record while the node's *on_write* is there to be told of each."""

    def __init__(self, table: AnyTable, node: "Judged") -> None:
        self._table, self._node = table, node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def update_packed(self, keys: bytes, values: bytes, n: int) -> None:
        """Write *n* records, one after the other."""
        if self._node.on_write is None:
            self._table.update_packed(keys, values, n)
            return
        spec = self._table.spec
        for key, value in zip(cut(keys, spec.key.SIZE), cut(values, spec.value.SIZE), strict=True):
            self._node.on_write()
            self._table.update_packed(key, value, 1)

    def delete_packed(self, keys: bytes, n: int) -> None:
        """Remove *n* records, one after the other."""
        if self._node.on_write is None:
            self._table.delete_packed(keys, n)
            return
        for key in cut(keys, self._table.spec.key.SIZE):
            self._node.on_write()
            self._table.delete_packed(key, 1)


@dataclass
class Judged:
    """The node *name* of worlds, on *datapath*'s maps. *on_write* is called before each record is written."""

    datapath: Datapath
    name: str
    on_write: Callable[[], None] | None = None
    settings: Settings = field(init=False)
    rounds: Rounds = field(init=False)
    mirror: Mirror = field(init=False)
    _tables: Mapping[str, Any] = field(init=False)
    _attached: dict[AttachmentKey, Attachment] = field(default_factory=dict)
    _slots: int = 0
    _sport: int = 0
    _dropped: bytes = b""
    _own: frozenset[Address] = frozenset()

    def __post_init__(self) -> None:
        """Empty maps."""
        self.datapath.reset()
        for name in ("attachments", "pod_policies", "pod_classes"):
            table = self.datapath.tables[name]
            keys = b"".join(table.spec.key.pack(index) for index in range(SLOTS))
            table.update_packed(keys, bytes(SLOTS * table.spec.value.SIZE), SLOTS)
        endpoints = self.datapath.tables["endpoints"]
        endpoints.delete([key for key, _ in endpoints.items()])
        rooms = {name: self.datapath.tables[name].max_entries for name in ("peers", "peer_ranges")}
        self.settings = Settings(
            self.name, network_policy=True, peer_room=rooms["peers"], range_room=rooms["peer_ranges"]
        )
        # memory does for maps that no tc program has, those of socket hooks; no world has a device for the frames' MAC
        known = {name: table for name, table in self.datapath.tables.items() if name != abi.OWN_MACS.name}
        missing = {spec.name: MemoryTable(spec) for spec in agent_maps() if spec.name not in known}
        self._tables = {**missing, **known}
        self._dropped = self._counters()
        self.restart()

    def restart(self) -> None:
        """Begin an agent, which finds what the maps hold and the attachments that there are, and knows no cluster."""
        tables = {name: Written(table, self) for name, table in self._tables.items()}
        self.rounds = Rounds(Dataplane(tables, (), Nothing()), self.settings, self._attached.values(), lambda: 0)
        self.mirror = Mirror(lambda _: None, KINDS)

    def apply(self, world: World) -> None:
        """Bring the node to a world."""
        self.attach(world)
        self.sync(world)

    def sync(self, world: World) -> None:
        """Bring the node to a world in which it has the attachments already.

        Raises:
            MapFull: something does not fit; all else is there.
        """
        self._mirror(world)
        for _ in self.rounds.round(self.mirror.cluster):
            pass
        if self.rounds.map_error:
            raise self.rounds.map_error

    def _mirror(self, world: World) -> None:
        decoder = Decoder(self.name)
        tables: dict[Kind, Iterable[Object]] = {
            NAMESPACE: world.namespaces,
            NODE: world.nodes,
            POD: world.pods,
            PEER_POD: world.pods,
            NETWORK_POLICY: world.network_policies,
            CLUSTER_NETWORK_POLICY: world.cluster_network_policies,
        }
        for kind, objects in tables.items():
            decoded = [decoder.decode(kind, json.dumps(one).encode()) for one in objects]
            kept = []
            for one in decoded:  # as a watch does: what is as before is the identical value
                held = self.mirror.held(kind, one.name)
                kept.append(type(one)(kind, one.name, held, one.problems) if held == one.value else one)
            self.mirror.replace(kind, kept)
        own = [
            address for node in world.nodes if node["metadata"]["name"] == self.name for address in node_addresses(node)
        ]
        device = Device(
            7, "eth0", tuple(own), tuple(ip_network(f"{address}/{address.max_prefixlen}") for address in own), 1500
        )
        self.mirror.set_local(Local((device,), netns_cookie=1))
        self._own = frozenset(own)

    def attach(self, world: World) -> set[Address]:
        """Have the pods that a world has here, and no others, and serve them; the addresses of those that are new."""
        wanted = {}
        for pod in world.pods:
            spec, status = pod["spec"], pod.get("status", {})
            if spec.get("nodeName") != self.name or spec.get("hostNetwork"):
                continue
            if status.get("phase") in {"Succeeded", "Failed"} or not tuple(addresses(pod)):
                continue
            wanted[pod["metadata"]["uid"], "eth0"] = pod
        gone = [key for key in self._attached if key not in wanted or self._address_moved(key, wanted[key])]
        for key in gone:
            self.rounds.detach(self._attached.pop(key))
        new = [key for key in wanted if key not in self._attached]
        for key in new:
            self._attached[key] = self._attachment(key, wanted[key])
            self.rounds.attach(self._attached[key])
        if gone or new:
            self.rounds.serve((*gone, *new))
        return {address for key in new for address in self._attached[key].addresses}

    def _address_moved(self, key: AttachmentKey, pod: Object) -> bool:
        return set(self._attached[key].addresses) != set(addresses(pod))

    def _attachment(self, key: AttachmentKey, pod: Object) -> Attachment:
        self._slots += 1
        used = {one.slot for one in self._attached.values()}
        slot = next(slot for slot in range(1, 1000) if slot not in used)
        meta = pod["metadata"]
        v4 = next((one for one in addresses(pod) if isinstance(one, IPv4Address)), None)
        v6 = next((one for one in addresses(pod) if isinstance(one, IPv6Address)), None)
        return Attachment(
            container_id=key[0],
            interface=key[1],
            endpoint_id=self._slots,
            slot=slot,
            netns="",
            netns_cookie=100 + self._slots,
            mac=f"02:00:00:01:{self._slots >> 8:02x}:{self._slots & 255:02x}",
            link=Veth(f"swp{self._slots}", LOOPBACK),
            ipv4=v4,
            ipv6=v6,
            pod=ObjectName(meta["namespace"], meta["name"]),
            pod_uid=meta["uid"],
        )

    def port(self) -> int:
        """A source port that no flow had lately."""
        self._sport = (self._sport + 1) % PORTS
        return FIRST_PORT + self._sport

    def asks(self, flow: Flow) -> bool:
        """Whether this node sees the flow. Link-local addresses are the link's own, and nobody forwards theirs."""
        if flow.source.is_link_local or flow.destination.is_link_local:
            return False
        here = self.here()
        return flow.source in here or flow.destination in here

    def here(self) -> dict[Address, Attachment]:
        """The attachments by their addresses."""
        return {address: one for one in self._attached.values() for address in one.addresses}

    def passes(self, flow: Flow, sport: int) -> bool:
        """Whether the first packet of the flow from a source port passes."""
        return self.carries(Way(flow, sport, opens=True))

    def carries(self, way: Way) -> bool:
        """Whether a packet passes; one that does not is dropped by policy, and for no other reason."""
        sender = self.here().get(way.source)
        if sender is not None:
            holder, program, mac = "tc_pod", "pod_ingress", sender.mac
        elif way.source in self._own:
            holder, program, mac = "tc_pod", "pod_egress", abi.NODE_MAC.hex()
        else:
            holder, program, mac = "tc_uplink", "uplink_ingress", "02:ff:00:00:00:01"
        fd = self.datapath.objects[holder].program_fd(program)
        verdict = libbpf.test_run(fd, way.frame(mac), context=CONTEXT).retval
        if verdict == TC_ACT_SHOT:
            self._check_reason(way)
        return verdict != TC_ACT_SHOT

    def _check_reason(self, way: Way) -> None:
        now = self._counters()
        fields, cpus = len(now) // 8 // abi.COUNTERS.max_entries, libbpf.possible_cpus()
        each = fields // cpus  # of a CPU: packets, octets
        before, after = (struct.unpack(f"={len(one) // 8}Q", one) for one in (self._dropped, now))
        self._dropped = now
        differing = {at // fields % abi.COUNTER_REASONS for at in range(0, len(after), each) if before[at] != after[at]}
        reasons = {abi.DropReason(reason) for reason in differing} - {abi.DropReason.DROP_NONE}
        if len(reasons) != 1 or not reasons <= DENIED:
            raise AssertionError(f"{way} is dropped for {reasons}")

    def _counters(self) -> bytes:
        return b"".join(values for _, values in self.datapath.tables["counters"].packed_items())
