"""A VF in a pod on the node in miniature: its programs with its own slot and addresses, on the maps of the node's."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from maps import abi, flow_arrays, libbpf, paths
from maps.abi import DropReason
from maps.object import Object
from tests.bpf.cpus import FIRST_CPU, on_cpu
from tests.bpf.datapath import LOOPBACK, TC_ACT_OK, VIP, VIP6, Datapath, Outcome, addr, frame
from tests.bpf.rules import Policed, Rules

VF, VF6, VF_MAC, VF_LINK = "10.9.0.2", "fd09::2", "02:00:00:00:09:02", "fe80::ff:fe00:902"
PEER, PEER6, PEER_MAC = "10.9.0.3", "fd09::3", "02:00:00:00:09:03"
SLOT = 900
BOTH = pytest.mark.parametrize(
    ("own", "peer", "vip"), [pytest.param(VF, PEER, VIP, id="IPv4"), pytest.param(VF6, PEER6, VIP6, id="IPv6")]
)
INGRESS, EGRESS = DropReason.DROP_POLICY_INGRESS, DropReason.DROP_POLICY_EGRESS


@dataclass
class PodVf:
    """The interface."""

    node: Datapath
    programs: Object
    slot: int = SLOT

    def policed(
        self, *, ingress: Rules | None = None, egress: Rules | None = None, audited: bool = False, network: int = 0
    ) -> Policed:
        """Say what is so of the pod, and which network its VF is on; None: no policy selects it."""
        held = Policed(self.node)
        held.flags()
        into, out = (abi.RULES_NONE if one is None else held.rules(one) for one in (ingress, egress))
        flags = abi.PodPolicyFlag.POLICY_AUDITED if audited else abi.PodPolicyFlag(0)
        self.node.tables["pod_policies"].update([(self.slot, abi.PodPolicy(into, out, flags, network))])
        held.revise(self.slot)
        return held

    def sends(self, dst: str, l4: Packet, *, src: str = "", mac: str = VF_MAC) -> Outcome:
        """What becomes of a packet of the pod's."""
        own = VF6 if ":" in dst else VF
        return self.run("vf_egress", frame(src or own, dst, l4, mac=mac, to=PEER_MAC))

    def is_sent(self, src: str, l4: Packet, *, dst: str = "") -> Outcome:
        """What becomes of what comes by the wire."""
        own = VF6 if ":" in src else VF
        return self.run("vf_ingress", frame(src, dst or own, l4, mac=PEER_MAC, to=VF_MAC))

    def run(self, program: str, packet: Packet, ifindex: int = LOOPBACK) -> Outcome:
        """As :meth:`Datapath.run`."""
        before = self.node.counted()
        context = struct.pack("<40xI", ifindex).ljust(192, b"\0")  # struct __sk_buff
        done = libbpf.test_run(self.programs.program_fd(program), bytes(packet), context=context)
        reasons = {k: n - before.get(k, 0) for k, n in self.node.counted().items() if n != before.get(k, 0)}
        return Outcome(done.retval, Ether(done.packet), reasons)


def passes(outcome: Outcome) -> bool:
    """Whether it goes on where it was going."""
    assert (outcome.verdict == TC_ACT_OK) == (outcome.reason is DropReason.DROP_NONE)
    return outcome.verdict == TC_ACT_OK


@contextmanager
def pod_vf(node: Datapath, slot: int = SLOT, own: tuple[str, ...] = (VF, VF6, VF_LINK)) -> Iterator[PodVf]:
    """The programs of a VF, for the block."""
    with Object.open(paths.objects() / "tc_vf.bpf.o") as programs:
        for name in programs.maps():
            holder = next((one for one in node.objects.values() if name in one.maps()), None)
            if holder is not None:
                programs.reuse(name, holder.map_fd(name))
        addresses = b"".join(addr(one).packed for one in own)
        programs.set_constants(
            flow_arrays.constants(abi.FLOWS.max_entries)
            | {"own_slot": slot, "own_addresses": addresses.ljust(abi.OWN_ADDRESSES * 16, b"\0")}
        )
        programs.load()
        yield PodVf(node, programs, slot)


@pytest.fixture(scope="module")
def programs(loaded: Datapath) -> Iterator[PodVf]:
    """The VF's programs."""
    with pod_vf(loaded) as found:
        yield found


@pytest.fixture
def vf(node: Datapath, programs: PodVf) -> Iterator[PodVf]:
    """A VF whose pod no policy selects, on one CPU."""
    mac = bytes.fromhex(VF_MAC.replace(":", ""))
    node.tables["attachments"].update([(SLOT, abi.Attachment(0, 77, SLOT, mac, abi.AttachmentFlag(0), 0))])
    with on_cpu(FIRST_CPU):
        programs.policed()
        yield programs
    node.tables["pod_policies"].update([(SLOT, abi.PodPolicy(0, 0, abi.PodPolicyFlag(0), 0))])
    node.node()
