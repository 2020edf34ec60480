"""Entries of ``flows`` to connections: the two entries of a NAT pair become one, shown from its client's side.

``bpf/dp/abi/flow.h`` says what an entry holds. Both keys of a pair put their ends in an order that means nothing, so
halves are matched by their two ends in whatever order.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address

from maps.abi import Flow, FlowFlag, FlowKey

Peer = tuple[IPv6Address, int]
_Ends = tuple[frozenset[Peer], int, int]  # both ends, protocol, network

WRAP = 1 << 32  # seen_s is an unsigned word
# as bare numbers, for arithmetic on flags takes ten times as long, and there are 100,000 flows
FORWARD, REVERSE, ORIGIN_HI = int(FlowFlag.FLOW_FORWARD), int(FlowFlag.FLOW_REVERSE), int(FlowFlag.FLOW_ORIGIN_HI)
DSR = int(FlowFlag.FLOW_DSR)


@dataclass(frozen=True, slots=True)
class Connection:
    """A client and who answers it."""

    protocol: int
    network: int
    client: Peer  # the end that began
    service: Peer | None  # what it asked for; None: not translated
    server: Peer  # who answers
    snat: Peer | None  # the client's address as the server has it, where that was translated
    set_id: int  # the backend set chosen from; 0: unknown
    seen_s: int  # last packet, as struct flow's
    flags: int  # enum flow_flag, of both entries
    paired: bool  # False: the other half of a translated flow is missing


def connections(entries: Iterable[tuple[FlowKey, Flow]]) -> Iterator[Connection]:
    """The connections that the entries are of, in the order of the entries."""
    whole = list(entries)
    answers = {_both_ends(key): flow for key, flow in whole if flow.flags & REVERSE}
    for key, flow in whole:
        if flow.flags & FORWARD:
            yield _translated(key, flow, answers.pop(_other(key, flow), None))
        elif not flow.flags & REVERSE:
            yield _plain(key, flow)
    for key, flow in whole:
        if flow.flags & REVERSE and _both_ends(key) in answers:
            yield _answer_alone(key, flow)


def _ends(key: FlowKey, flow: Flow) -> tuple[Peer, Peer]:
    """The key's end that began, and the other."""
    lo, hi = (key.lo_addr, key.lo_port), (key.hi_addr, key.hi_port)
    return (hi, lo) if flow.flags & ORIGIN_HI else (lo, hi)


def _both_ends(key: FlowKey) -> _Ends:
    return frozenset({(key.lo_addr, key.lo_port), (key.hi_addr, key.hi_port)}), key.protocol, key.network


def _other(key: FlowKey, flow: Flow) -> _Ends:
    """Where the other half of a translated flow stands."""
    there = frozenset({(flow.to_src, flow.to_sport), (flow.to_dst, flow.to_dport)})
    return there, key.protocol, key.network


def _plain(key: FlowKey, flow: Flow) -> Connection:
    client, server = _ends(key, flow)
    return Connection(key.protocol, key.network, client, None, server, None, 0, flow.seen_s, flow.flags, paired=True)


def _translated(key: FlowKey, flow: Flow, answer: Flow | None) -> Connection:
    client, service = _ends(key, flow)
    source, backend = (flow.to_src, flow.to_sport), (flow.to_dst, flow.to_dport)
    return Connection(
        protocol=key.protocol,
        network=key.network,
        client=client,
        service=service,
        server=backend,
        snat=source if source != client else None,
        set_id=flow.set_id,
        seen_s=_later(flow.seen_s, answer.seen_s) if answer else flow.seen_s,
        flags=flow.flags | (answer.flags if answer else 0),
        paired=answer is not None,
    )


def _answer_alone(key: FlowKey, flow: Flow) -> Connection:
    """A second half without its first: another node's client's (DSR), or one whose write failed or that just ended."""
    source, backend = _ends(key, flow)
    client = (flow.to_dst, flow.to_dport)
    return Connection(
        protocol=key.protocol,
        network=key.network,
        client=client,
        service=(flow.to_src, flow.to_sport),
        server=backend,
        snat=source if source != client else None,
        set_id=0,
        seen_s=flow.seen_s,
        flags=flow.flags,
        paired=bool(flow.flags & DSR),
    )


def _later(one: int, other: int) -> int:
    """The later of two times on a clock that wraps."""
    return one if (one - other) % WRAP < WRAP // 2 else other
