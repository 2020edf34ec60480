"""A node in miniature that is given a world of raw objects as the agent is, and asked about flows by packets.

From the JSON to the packet all is the agent's and the programs' own: decoded, compiled, written by rounds, and judged
by the shipped objects. Every pod of the node is behind the loopback device, told apart by its MAC.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet

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
from maps import abi
from maps.memory import MemoryTable
from maps.registry import agent_maps
from tests.bpf.datapath import LOOPBACK, TC_ACT_SHOT, Datapath
from tests.policy.facts import Flow, Object, World, addresses, node_addresses

KINDS = (NAMESPACE, NODE, POD, PEER_POD, NETWORK_POLICY, CLUSTER_NETWORK_POLICY)
DENIED = {"DROP_POLICY_INGRESS", "DROP_POLICY_EGRESS", "DROP_POLICY_UNKNOWN"}
FIRST_PORT, PORTS = 20000, 40000


class Nothing:
    """No deferred work."""

    is_left = False

    def piece(self) -> None:
        """None."""


@dataclass
class Judged:
    """The node *name* of worlds, on *datapath*'s maps."""

    datapath: Datapath
    name: str
    rounds: Rounds = field(init=False)
    mirror: Mirror = field(init=False)
    _attached: dict[AttachmentKey, Attachment] = field(default_factory=dict)
    _seen: dict[Kind, dict[str, Object]] = field(default_factory=dict)
    _slots: int = 0
    _sport: int = 0

    def __post_init__(self) -> None:
        """Empty maps."""
        self.datapath.reset()
        for name in ("attachments", "pod_policies"):
            table = self.datapath.tables[name]
            table.update_packed(
                b"".join(table.spec.key.pack(i) for i in range(64)), bytes(64 * table.spec.value.SIZE), 64
            )
        for name in ("endpoints",):
            table = self.datapath.tables[name]
            table.delete([key for key, _ in table.items()])
        settings = Settings(self.name, network_policy=True)
        # of maps that no tc program has, those of the socket hooks, memory does
        missing = {spec.name: MemoryTable(spec) for spec in agent_maps() if spec.name not in self.datapath.tables}
        dataplane = Dataplane({**missing, **self.datapath.tables}, (), Nothing())
        self.rounds = Rounds(dataplane, settings, (), lambda: 0)
        self.mirror = Mirror(lambda _: None, KINDS)

    def apply(self, world: World) -> None:
        """Bring the node to a world."""
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
        self._attach(world)
        for _ in self.rounds.round(self.mirror.cluster):
            pass
        if self.rounds.map_error:
            raise self.rounds.map_error

    def _attach(self, world: World) -> None:
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
        here = self._here()
        return flow.source in here or flow.destination in here

    def _here(self) -> dict[Any, Attachment]:
        return {address: one for one in self._attached.values() for address in one.addresses}

    def passes(self, flow: Flow, sport: int) -> bool:
        """Whether a packet of the flow from a source port passes, and is dropped for no other reason than policy's."""
        here = self._here()
        sender = here.get(flow.source)
        if sender is not None:
            program, mac = "pod_ingress", sender.mac
        elif flow.own_node:
            program, mac = "pod_egress", abi.NODE_MAC.hex(":")
        else:
            program, mac = "uplink_ingress", "02:ff:00:00:00:01"
        done = self.datapath.run(program, _frame(flow, sport, mac))
        reasons = {name for _, _, name in done.reasons} - {"DROP_NONE"}
        if not reasons <= DENIED:
            raise AssertionError(f"{flow} is dropped for {reasons}")
        if bool(reasons) != (done.verdict == TC_ACT_SHOT):
            raise AssertionError(f"{flow}: verdict {done.verdict}, counted {done.reasons}")
        return not reasons


def _frame(flow: Flow, sport: int, mac: str) -> Packet:
    v6 = flow.source.version == 6
    ip = IPv6 if v6 else IP
    return (
        Ether(src=mac, dst="02:00:00:00:00:fe")
        / ip(src=str(flow.source), dst=str(flow.destination))
        / _transport(flow, sport)
    )


def _transport(flow: Flow, sport: int) -> Packet:
    match flow.protocol:
        case "TCP":
            return TCP(sport=sport, dport=flow.port, flags="S")
        case "UDP":
            return UDP(sport=sport, dport=flow.port)
        case "SCTP":
            return SCTP(sport=sport, dport=flow.port)
        case _:
            return ICMPv6EchoRequest(id=sport) if flow.source.version == 6 else ICMP(type=8, id=sport)
