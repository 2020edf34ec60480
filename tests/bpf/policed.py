"""Policed pods: what every table of policy has in common; a node in a namespace with routes, on one CPU."""

from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6NIQueryName,
)
from scapy.layers.sctp import SCTP, SCTPChunkInit
from scapy.packet import Packet

from maps import abi
from maps.abi import DropReason
from tests.bpf.cpus import FIRST_CPU, on_cpu
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    LOOPBACK,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    OTHER_MAC,
    POD,
    POD6,
    POD_LINK,
    POD_MAC,
    REMOTE,
    REMOTE6,
    VIP,
    VIP6,
    Datapath,
    addr,
    datagram,
    frame,
    syn,
)
from tests.bpf.rules import ACCEPT, EVERYBODY, Policed, Range
from tests.bpf.rules import TCP as TCP_NUMBER
from tests.bpf.uplink import routed

NOBODY = "00:00:00:00:00:00"

INGRESS, EGRESS, UNKNOWN, NONE = (
    DropReason.DROP_POLICY_INGRESS,
    DropReason.DROP_POLICY_EGRESS,
    DropReason.DROP_POLICY_UNKNOWN,
    DropReason.DROP_NONE,
)
# a pod, another one beside it, the node, a pod of another node, a client outside
BOTH = [
    pytest.param(POD, OTHER, NODE, REMOTE, CLIENT, id="IPv4"),
    pytest.param(POD6, OTHER6, NODE6, REMOTE6, CLIENT6, id="IPv6"),
]
PAIRS = [pytest.param(POD, OTHER, id="IPv4"), pytest.param(POD6, OTHER6, id="IPv6")]
SERVED = [pytest.param(POD, OTHER, VIP, id="IPv4"), pytest.param(POD6, OTHER6, VIP6, id="IPv6")]
OWN = [pytest.param(POD, NODE, "10.88.0.99", id="IPv4"), pytest.param(POD6, NODE6, "fd88::99", id="IPv6")]
FIRST, SECOND = 7, 8  # classes


def sctp(sport: int = 40000, dport: int = 80) -> Packet:
    """A packet that begins an association."""
    return SCTP(sport=sport, dport=dport) / SCTPChunkInit()


def echo(pod: str, ident: int = 77) -> Packet:
    """A ping."""
    return ICMPv6EchoRequest(id=ident) if ":" in pod else ICMP(type=8, id=ident)


def question(pod: str) -> Packet:
    """ICMP that has no identifier which we know: a timestamp's request, a query of node information."""
    return ICMPv6NIQueryName() if ":" in pod else ICMP(type=13)


TRANSPORTS = [
    pytest.param(syn, id="TCP"),
    pytest.param(lambda: datagram(dport=80), id="UDP"),
    pytest.param(sctp, id="SCTP"),
]


@pytest.fixture(autouse=True)
def one_cpu() -> Iterator[None]:
    """Copies of flows are a CPU's own."""
    with on_cpu(FIRST_CPU):
        yield


@pytest.fixture(scope="module", autouse=True)
def routes() -> Iterator[None]:
    """A namespace in which pods have a way out."""
    with routed():
        yield


@pytest.fixture
def policed(node: Datapath) -> Iterator[Policed]:
    """A node with policy, whose pods are both behind one device, and that no policy selects."""
    held = Policed(node)
    for address in (OTHER, OTHER6):
        node.endpoint(address, LOOPBACK, OTHER_MAC)
    attachments = {slot: node.tables["attachments"].get(slot) for slot in node.slots.values()}
    held.flags()
    held.forget_drops()
    for address in (POD, OTHER):
        held.pod(address)
    yield held
    node.tables["attachments"].update(attachments.items())
    unknown = abi.PodPolicy(abi.RULES_UNKNOWN, abi.RULES_UNKNOWN, abi.PodPolicyFlag(0), 0)
    node.tables["pod_policies"].update((slot, unknown) for slot in attachments)
    node.tables["pod_classes"].update((slot, abi.PodClass(EVERYBODY, EVERYBODY, 1)) for slot in attachments)


def sent(policed: Policed, src: str, dst: str, l4: Packet, ttl: int = 64) -> DropReason:
    """What became of a packet at the hook where it is met: a pod's, or what the node sends, or what comes in."""
    macs = {POD: POD_MAC, POD6: POD_MAC, POD_LINK: POD_MAC, OTHER: OTHER_MAC, OTHER6: OTHER_MAC}
    program = "pod_ingress" if src in macs else "uplink_ingress"
    if policed.node.tables["endpoints"].get(addr(src)) and src not in macs:
        program = "pod_egress"
    return policed.node.run(program, frame(src, dst, l4, mac=macs.get(src, OTHER_MAC), ttl=ttl)).reason


def tcp(low: int, high: int, verdict: abi.PolicyVerdict = ACCEPT) -> Range:
    return (TCP_NUMBER, low, high, verdict)
