"""Several CPUs meet the same flows at once: nothing is lost, left behind, or taken for another's."""

import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import pytest
from scapy.packet import Packet

from agent.model.service import Scheduler
from maps import abi
from maps.abi import FlowFlag, NodeFlag
from tests.bpf.cpus import CPUS
from tests.bpf.datapath import NODE, OTHER, OTHER_MAC, POD, VIP, Datapath, data, datagram, frame, syn
from tests.bpf.packets import answer
from tests.bpf.scheduled import Live

FLOWS = range(20000, 22000)
OUTSIDE = "192.0.2.9"
PAIR = FlowFlag.FLOW_FORWARD | FlowFlag.FLOW_REVERSE
AtOnce = Callable[..., None]

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")]


@pytest.fixture
def at_once(node: Datapath, runner: Path) -> AtOnce:
    """Run programs of the pod's device on their packets, each on a CPU of its own, packet by packet together."""

    def run(*works: tuple[str, Iterable[Packet]]) -> None:
        fds = [node.objects["tc_pod"].program_fd(name) for name, _ in works]
        turns = chain.from_iterable(zip(*(map(bytes, packets) for _, packets in works), strict=True))
        words = [f"{CPUS[i % len(CPUS)]}:{fd}" for i, fd in enumerate(fds)]
        octets = b"".join(len(raw).to_bytes(2, "little") + raw for raw in turns)
        subprocess.run([runner, *words], input=octets, pass_fds=set(fds), check=True, timeout=60)

    return run


def assert_pairs(node: Datapath, flows: int) -> None:
    """Every entry is half of a pair whose other half names it, and there are so many pairs."""
    held = dict(node.tables["flows"].items())
    assert len(held) == 2 * flows
    for key, flow in held.items():
        ends = sorted([(flow.to_src, flow.to_sport), (flow.to_dst, flow.to_dport)], key=order)
        other = held[abi.FlowKey(ends[0][0], ends[1][0], ends[0][1], ends[1][1], key.protocol, 0, 0)]
        assert (flow.flags | other.flags) & PAIR == PAIR


def order(end: tuple[object, int]) -> tuple[int, int, int]:
    """The order of a key's ends, as flow.h has it."""
    octets = end[0].packed  # type: ignore[attr-defined]
    words = [int.from_bytes(octets[i : i + 4], "little") for i in (0, 4, 8, 12)]
    return words[2] << 32 | words[3], words[0] << 32 | words[1], end[1]


@pytest.mark.parametrize("kind", [syn, datagram])
def test_a_flow_that_begins_on_two_cpus_begins_once(
    node: Datapath, at_once: AtOnce, kind: Callable[..., Packet]
) -> None:
    node.node(flags=NodeFlag.NODE_MASQUERADE)
    packets = [frame(POD, OUTSIDE, kind(sport=port)) for port in FLOWS]
    at_once(("pod_ingress", packets), ("pod_ingress", packets))
    assert_pairs(node, len(FLOWS))


def test_all_cpus_take_turns_from_one_row(node: Datapath, at_once: AtOnce) -> None:
    backends = [f"10.244.2.{n}" for n in range(1, 6)]
    live = Live(node, VIP, backends).now(scheduler=Scheduler.RR, weights={backends[0]: 4})
    works = [[frame(POD, VIP, syn(sport=port + add)) for port in FLOWS] for add in (0, len(FLOWS))]
    at_once(*(("pod_ingress", packets) for packets in works))
    assert_pairs(node, 2 * len(FLOWS))
    forward = [flow for _, flow in node.tables["flows"].items() if flow.flags & FlowFlag.FLOW_FORWARD]
    share = len(forward) // 8
    assert Counter(str(flow.to_dst.ipv4_mapped) for flow in forward) == dict.fromkeys(live.backends, share) | {
        backends[0]: 4 * share
    }


def test_a_flow_that_begins_anew_on_two_cpus_begins_once(node: Datapath, at_once: AtOnce) -> None:
    set_id = node.service(VIP, 53, [(OTHER, 8053, True)], protocol=17)
    packets = [frame(POD, VIP, datagram(sport=port)) for port in FLOWS]
    at_once(("pod_ingress", packets))
    node.tables["backends"].delete([abi.BackendKey(set_id, 0)])
    node.backends(set_id, [(NODE, 8054, True)], first_slot=1)
    node.node(revision=2)
    at_once(("pod_ingress", packets), ("pod_ingress", packets))
    assert_pairs(node, len(FLOWS))
    assert {flow.to_dport for _, flow in node.tables["flows"].items() if flow.flags & FlowFlag.FLOW_FORWARD} == {8054}


def test_no_fin_is_lost_when_both_ends_send_one_at_once(node: Datapath, at_once: AtOnce) -> None:
    opened = [frame(POD, OTHER, syn(sport=port)) for port in FLOWS]
    at_once(("pod_ingress", opened))
    at_once(("pod_egress", [answer(packet, OTHER_MAC) for packet in opened]))
    fins = [frame(POD, OTHER, data(sport=port, flags="FA")) for port in FLOWS]
    at_once(("pod_ingress", fins), ("pod_egress", [answer(packet, OTHER_MAC, "FA") for packet in fins]))
    both = FlowFlag.FLOW_FIN_ORIGIN | FlowFlag.FLOW_FIN_REPLY
    assert [key for key, flow in node.tables["flows"].items() if flow.flags & both != both] == []
    assert node.tables["flows"].count() == len(FLOWS)
