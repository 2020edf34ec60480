"""A node in miniature: the shipped objects with maps of their own, and packets to run through them.

The pod under test is behind the loopback device, the only one that BPF_PROG_TEST_RUN needs nobody to make. Redirects
are answered but not carried out, so a packet comes back as it would have been handed on.
"""

import os
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any, Literal, Self, cast

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from agent.compile.node import kept_ports
from agent.compile.source_range import source_range_keys
from agent.model.address import mapped
from maps import abi, flow_arrays, flow_table, libbpf, maglev, mapio, paths
from maps.abi import DropReason
from maps.object import Object
from maps.registry import table_on
from maps.table import Table

XDP = Path(__file__).resolve().parents[2] / "build/tests/xdp.bpf.o"  # of xdp.bpf.c, by make
NS = 10**9
LOOPBACK = 1
OTHER_POD_DEVICE = 4242
TC_ACT_UNSPEC, TC_ACT_OK, TC_ACT_SHOT, TC_ACT_REDIRECT = 0xFFFFFFFF, 0, 2, 7
XDP_DROP, XDP_PASS, XDP_TX = 1, 2, 3

POD_MAC, OTHER_MAC, GATEWAY_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02", abi.NODE_MAC.hex(":")
POD, OTHER, NODE, REMOTE, CLIENT = "10.244.1.2", "10.244.1.3", "10.88.0.11", "10.244.2.9", "192.0.2.7"
POD6, OTHER6, NODE6, REMOTE6, CLIENT6 = "fd00::2", "fd00::3", "fd88::11", "fd00:2::9", "2001:db8::7"
_SLOTS = abi.SLOT_GROUPS * abi.SLOTS_PER_GROUP
EMPTY_SLOTS = (struct.pack(f"={_SLOTS}I", *range(_SLOTS)), bytes(_SLOTS * abi.FragmentSlot.SIZE), _SLOTS)
_LOCATIONS = abi.MAPS["locations"].max_entries
LOCATIONS = struct.pack(f"={_LOCATIONS}I", *range(_LOCATIONS))
POD_LINK = "fe80::ff:fe00:1"  # of POD_MAC
VIP, VIP6 = "10.96.0.50", "fd00:10:96::50"
NODE_PORTS = (30000, 32767)
NAT_PORTS = (1024, 29999)


def addr(text: str) -> IPv6Address:
    """An address as the maps hold it."""
    return mapped(ip_address(text))


def prefix_key(network: str) -> abi.PrefixKey:
    """A range of addresses as the maps have it."""
    found = ip_network(network)
    family, skipped = (4, 96) if found.version == 4 else (6, 0)
    return abi.PrefixKey(32 + skipped + found.prefixlen, family, mapped(found.network_address))


@dataclass(frozen=True)
class Outcome:
    """What a program did with a packet."""

    verdict: int
    packet: Packet
    reasons: Mapping[tuple[str, str, str], int]  # (program, direction, reason) -> packets
    send_at: int = 0  # ns, what a queue that keeps time is told

    @property
    def reason(self) -> DropReason:
        """The one reason that was counted."""
        ((_, _, name),) = self.reasons
        return DropReason[name]


@dataclass
class Datapath:
    """The loaded programs and their maps."""

    objects: dict[str, Object] = field(default_factory=dict)
    tables: dict[str, Table[Any, Any]] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)
    set_ids: int = 0
    copies: int = -1  # the map whose number voids the copies of flows when it is another
    hook: Literal["tc", "xdp"] = "tc"
    slots: dict[tuple[int, bytes], int] = field(default_factory=dict)  # of attachments, by device and MAC

    @classmethod
    def load(cls, sizes: Mapping[str, int] | None = None, constants: Mapping[str, int] | None = None) -> Self:
        """Load every object for devices, and the tests' own, sharing maps, with a node, its pod and a neighbour."""
        self = cls()
        shared: dict[str, int] = {}
        wanted = {"flows": abi.FLOWS.max_entries} | dict(sizes or {})
        fixed = flow_arrays.constants(wanted["flows"]) | dict(constants or {})
        elements = flow_arrays.elements(wanted)
        shipped = {name: paths.objects() / f"{name}.bpf.o" for name in ("tc_pod", "tc_uplink", "xdp", "gc")}
        tested = shipped | {"xdp_pods": XDP}
        for name, path in tested.items():
            loaded = self.stack.enter_context(Object.open(path))
            loaded.set_constants(fixed)
            for each in loaded.maps():
                if each in shared:
                    loaded.reuse(each, shared[each])
                elif each in elements:
                    loaded.resize(each, elements[each])
            loaded.load()
            shared |= {each: loaded.map_fd(each) for each in loaded.maps() if each not in shared}
            self.objects[name] = loaded
        flow_arrays.draw_seed(shared["flow_seeds"])
        for name, fd in shared.items():
            if not abi.MAPS[name].private:
                self.tables[name] = table_on(abi.MAPS[name], os.dup(fd), flow_table.beside(abi.MAPS[name], shared))
        self.copies = shared["cache_epochs"]
        self.reset()
        return self

    def reset(self) -> None:
        """Empty every map but the arrays; then the node, its pod and a neighbour."""
        for table in self.tables.values():
            if not table.spec.kind.is_array:
                table.delete([key for key, _ in table.items()])
        limits, none = self.tables["limits"], abi.AttachmentLimits(abi.Limit(0, 0, 0), abi.Limit(0, 0, 0))
        limits.update((slot, none) for slot in self.slots.values())
        mapio.update(self.copies, bytes(4), os.urandom(8), 1)
        self.tables["flow_moves"].update([(0, abi.FlowMove(0))])
        owners = (abi.SHARE_OUTSIDE, abi.SHARE_NODE, *(abi.SHARE_PODS + slot for slot in self.slots.values()))
        self.tables["shares"].update((owner, abi.Share.unpack(bytes(abi.Share.SIZE))) for owner in owners)
        self.tables["fragment_slots"].update_packed(*EMPTY_SLOTS)
        self.node()
        self.tables["own_macs"].update([(abi.MacKey(abi.NODE_MAC), abi.OwnMac(LOOPBACK))])
        self.endpoint(POD, LOOPBACK, POD_MAC)
        self.endpoint(POD6, LOOPBACK, POD_MAC)
        self.endpoint(POD_LINK, LOOPBACK, POD_MAC)
        self.endpoint(OTHER, OTHER_POD_DEVICE, OTHER_MAC)
        self.endpoint(OTHER6, OTHER_POD_DEVICE, OTHER_MAC)
        self.endpoint(NODE, 0, "00:00:00:00:00:00", abi.EndpointFlag.ENDPOINT_NODE | abi.EndpointFlag.ENDPOINT_HELD)
        self.endpoint(NODE6, 0, "00:00:00:00:00:00", abi.EndpointFlag.ENDPOINT_NODE | abi.EndpointFlag.ENDPOINT_HELD)

    def fill_flows(self, left: int) -> None:
        """Of a table of one bucket (a size of 1), leave room for so many entries."""
        number, now_s = abi.FLOW_WAYS - left - self.tables["flows"].count(), time.monotonic_ns() >> abi.SEEN_BITS
        flow = replace(abi.Flow.unpack(bytes(abi.Flow.SIZE)), seen_s=now_s)
        elsewhere = addr("203.0.113.1")
        self.tables["flows"].update(
            (abi.FlowKey(elsewhere, elsewhere, 1, port, 17, 0, 0), flow) for port in range(1, 1 + number)
        )

    def close(self) -> None:
        """Let the kernel have everything back."""
        for table in self.tables.values():
            table.close()
        self.stack.close()

    def node(
        self,
        revision: int = 1,
        addr4: str = NODE,
        addr6: str = NODE6,
        nat: tuple[int, int] = NAT_PORTS,
        *,
        tunnel: int = 0,
        port: int = 0,
        flags: int = 0,
    ) -> None:
        """Write the node's record."""
        zero = IPv6Address(0)
        record = abi.Node(
            addr(addr4) if addr4 else zero,
            addr(addr6) if addr6 else zero,
            0,
            revision,
            *nat,
            *NODE_PORTS,
            tunnel,
            7,
            port,
            flags,
            tunnel,
        )
        self.tables["node"].update([(0, record)])
        kept = kept_ports([(nat[1] + 1, 0xFFFF), *([(1024, nat[0] - 1)] if nat[0] > 1024 else [])])
        self.tables["kept_ports"].update_packed(bytes(4), kept, 1)

    def endpoint(self, address: str, ifindex: int, mac: str, flags: int = 0) -> None:
        """Make an address known."""
        slot = self.attach(ifindex, mac) if ifindex else 0
        self.tables["endpoints"].update([(addr(address), abi.Endpoint(slot, flags))])
        self.forget_locations()

    def attach(self, ifindex: int, mac: str) -> int:
        """Give an interface, which its device and MAC name, a slot; the one that it has where it has one."""
        interface = (ifindex, bytes.fromhex(mac.replace(":", "")))
        if interface not in self.slots:
            slot = self.slots[interface] = len(self.slots) + 1
            self.tables["attachments"].update([(slot, abi.Attachment(ifindex, 100 + slot, slot, interface[1], 0, 0))])
        return self.slots[interface]

    def chain(self, *ifindexes: int) -> None:
        """Have the interfaces behind these devices be another plugin's, and those behind others ours."""
        for (ifindex, mac), slot in self.slots.items():
            flags = abi.AttachmentFlag.ATTACHMENT_CHAINED if ifindex in ifindexes else abi.AttachmentFlag(0)
            self.tables["attachments"].update([(slot, abi.Attachment(ifindex, 100 + slot, slot, mac, flags, 0))])

    def forget_locations(self) -> None:
        """Have no CPU remember where addresses were, as when the agent has raised the revision; flows are not told."""
        spec = abi.MAPS["locations"]
        fd = self.objects["tc_pod"].map_fd(spec.name)
        mapio.update(fd, LOCATIONS, bytes(spec.value.SIZE * spec.max_entries), spec.max_entries)

    def limit(
        self, ifindex: int, *, ingress: int = 0, egress: int = 0, ahead_s: float = 0.0, burst_s: float = 1.0
    ) -> None:
        """Keep the pod behind a device to rates in bits per second; *ahead_s* is how far it is ahead of them, from now.

        A time before the machine's boot is the boot's.
        """
        burst_ns, at_ns = int(burst_s * NS), max(1, time.monotonic_ns() + int(ahead_s * NS))
        self.set_limits(
            ifindex,
            abi.AttachmentLimits(abi.Limit(ingress, burst_ns, at_ns), abi.Limit(egress, burst_ns, at_ns)),
        )

    def set_limits(self, ifindex: int, limits: abi.AttachmentLimits) -> None:
        """Write the limits of the pod behind a device."""
        self.tables["limits"].update([(self.slot(ifindex), limits)])

    def limits(self, ifindex: int) -> abi.AttachmentLimits:
        """The limits of the pod behind a device."""
        return cast(abi.AttachmentLimits, self.tables["limits"].get(self.slot(ifindex)))

    def slot(self, ifindex: int) -> int:
        """The slot of the attachment behind a device, the first."""
        return next(slot for (device, _), slot in self.slots.items() if device == ifindex)

    def prefix(
        self, network: str, remote: str = "", flags: int = 0, *, node_id: int = 1, forward_id: int | None = None
    ) -> None:
        """Say of a range that it is behind another node's tunnel, or what else is so of it.

        *forward_id*, if not the same, is the remote to which what keeps its client's address is sent.
        """
        remote_id = 0
        if remote:
            remote_id = self.tables["remotes"].count() + 1
            self.tables["remotes"].update([(remote_id, abi.Remote(addr(remote)))])
        record = abi.Prefix(remote_id, flags, node_id, remote_id if forward_id is None else forward_id)
        self.tables["prefixes"].update([(prefix_key(network), record)])
        self.forget_locations()

    def service_range(self, network: str) -> None:
        """Say that services' addresses are taken from a range."""
        kept = abi.Prefix(abi.REMOTE_CLUSTER_IP, abi.PrefixFlag.PREFIX_NO_MASQUERADE, 0, 0)
        self.tables["prefixes"].update([(prefix_key(network), kept)])
        self.forget_locations()

    def routed_range(self, network: str, ifindex: int) -> None:
        """Have the pod behind a device route for a range."""
        self.tables["routed_ranges"].update([(prefix_key(network), abi.RoutedRange(self.slot(ifindex)))])
        self.forget_locations()

    def uplink(self, ifindex: int, addr4: str = "", addr6: str = "") -> None:
        """Say that a device has the uplink's programs, and what leaves by it comes from where no route says."""
        zero = IPv6Address(0)
        record = abi.Uplink(addr(addr4) if addr4 else zero, addr(addr6) if addr6 else zero)
        self.tables["uplinks"].update([(ifindex, record)])

    def service(
        self,
        address: str,
        port: int,
        backends: list[tuple[str, int, bool]],
        *,
        protocol: int = 6,
        scope: abi.Scope = abi.Scope.SCOPE_INTERNAL,
        affinity_s: int = 0,
        flags: int = 0,
    ) -> int:
        """A service of (address, port, is local) backends; returns its set's id."""
        self.set_ids += 1
        set_id = self.set_ids
        parts = self.backends(set_id, backends)
        key = abi.ServiceKey(addr(address), port, protocol, scope)
        self.tables["services"].update([(key, abi.Service(set_id, affinity_s, len(backends), parts, flags, 0, 0))])
        return set_id

    def source_range(self, set_id: int, network: str) -> None:
        """Have a load balancer's address that leads to the set serve a range of sources."""
        parsed = ip_network(network)
        keys = source_range_keys([parsed], set_id, ipv6=parsed.version == 6)
        self.tables["source_ranges"].update([(abi.SourceRangeKey.unpack(key), 1) for key in keys])

    def service_address(self, address: str, scope: abi.Scope = abi.Scope.SCOPE_INTERNAL) -> None:
        """Say that an address is a service's: of the cluster alone, or one that leads in from outside."""
        self.tables["service_addrs"].update([(abi.ServiceAddrKey(addr(address), scope), 1)])
        self.forget_locations()

    def backends(self, set_id: int, backends: list[tuple[str, int, bool]], first_slot: int = 0) -> int:
        """Fill a set; slots count from *first_slot*. Returns in how many parts, one at least."""
        slots = range(first_slot, first_slot + len(backends))
        records = [
            abi.Backend(addr(a), p, abi.BackendFlag.BACKEND_LOCAL if local else 0, 1) for a, p, local in backends
        ]
        self.tables["backends"].update(
            [(abi.BackendKey(set_id, slot), record) for slot, record in zip(slots, records, strict=True)]
        )
        tables = maglev.tables([(addr(a), p) for a, p, _ in backends], slots)
        self.tables["maglevs"].update(
            (abi.MaglevKey(set_id, part), abi.Maglev(table)) for part, table in enumerate(tables)
        )
        return max(1, len(tables))

    def counted(self) -> dict[tuple[str, str, str], int]:
        """Every counter that is not zero."""
        found = {}
        for index, counter in self.tables["counters"].items():
            if counter.packets:
                place, reason = divmod(index, abi.COUNTER_REASONS)
                program, direction = divmod(place, abi.Direction.DIRECTIONS)
                found[abi.Program(program).name, abi.Direction(direction).name, DropReason(reason).name] = (
                    counter.packets
                )
        return found

    def run(self, program: str, packet: Packet | bytes, ifindex: int = LOOPBACK, gso_size: int = 0) -> Outcome:
        """Run a program on one packet, or on one of segments of *gso_size*."""
        before = self.counted()
        raw = packet if isinstance(packet, bytes) else bytes(packet)
        if program == "uplink_xdp":
            context = struct.pack("<6I", 0, len(raw), 0, ifindex, 0, 0)  # struct xdp_md
            done = libbpf.test_run(self.objects["xdp"].program_fd(program), raw, context=context)
        elif self.hook == "xdp":
            done = libbpf.test_run(self.objects["xdp_pods"].program_fd(f"xdp_{program}"), raw)
        else:
            holder = "tc_pod" if program.startswith("pod") else "tc_uplink"
            context = struct.pack("<40xI132xI", ifindex, gso_size).ljust(192, b"\0")  # struct __sk_buff
            done = libbpf.test_run(self.objects[holder].program_fd(program), raw, context=context)
        after = self.counted()
        reasons = {k: n - before.get(k, 0) for k, n in after.items() if n != before.get(k, 0)}
        send_at = struct.unpack_from("<Q", done.context.ljust(160, b"\0"), 152)
        return Outcome(done.retval, Ether(done.packet), reasons, *send_at)

    @contextmanager
    def at(self, hook: Literal["tc", "xdp"]) -> Iterator[Self]:
        """The tests' own programs of another hook in the block, which stop before a packet is handed over."""
        self.hook = hook
        try:
            yield self
        finally:
            self.hook = "tc"

    def gc(self) -> abi.GcRun:
        """Run conntrack GC once; returns what was seen."""
        libbpf.test_run(self.objects["gc"].program_fd("gc_now"), b"")
        return self.gc_run()

    def gc_run(self) -> abi.GcRun:
        """What the last GC run saw."""
        return cast(abi.GcRun, self.tables["gc_runs"].get(0))


def frame(src: str, dst: str, l4: Packet, *, mac: str = POD_MAC, to: str = GATEWAY_MAC, ttl: int = 64) -> Packet:
    """A frame of either family, complete with checksums."""
    ip = IPv6(src=src, dst=dst, hlim=ttl) if ":" in src else IP(src=src, dst=dst, ttl=ttl)
    return Ether(bytes(Ether(src=mac, dst=to) / ip / l4))


def syn(sport: int = 40000, dport: int = 80) -> Packet:
    """A TCP segment that begins a connection, with options as Linux sends them."""
    return TCP(sport=sport, dport=dport, flags="S", seq=1000, options=[("MSS", 1460), ("SAckOK", b""), ("WScale", 7)])


def data(sport: int = 40000, dport: int = 80, flags: str = "PA") -> Packet:
    """A TCP segment of an established connection; its payload has an odd length."""
    return TCP(sport=sport, dport=dport, flags=flags, seq=1001, ack=1) / Raw(b"hello, service")


def datagram(sport: int = 40000, dport: int = 53, size: int = 33) -> Packet:
    """A UDP datagram."""
    return UDP(sport=sport, dport=dport) / Raw(b"q" * size)


def checksums_hold(packet: Packet) -> bool:
    """Whether building the packet anew gives the same octets: every length and checksum in it is right.

    What an ICMP error quotes is built anew as well; it must be whole.
    """
    fresh = packet.copy()
    layer = fresh
    while layer:
        for name in ("chksum", "cksum"):
            if name in layer.fields:
                delattr(layer, name)
        layer.raw_packet_cache = None
        layer = layer.payload
    return bytes(fresh) == bytes(packet)
