"""What keeps a session from what it is for, where BIRD waits, or fails, and does not say why."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from agent.compile.bgp.annotations import NodeBgp
from agent.compile.bgp.router import Session
from agent.compile.bgp.settings import BgpSettings
from agent.model.address import Address, Network, is_in_any
from agent.model.bgp import PREFIX
from agent.model.name import ObjectName, Problem
from agent.model.node import Node

Found = Iterator[tuple[Session, str, str]]  # with the field of a BGPPeer, and why


def not_relayed(sessions: Iterable[Session], node: Node, own: NodeBgp, settings: BgpSettings) -> Found:
    """Whose routes BGP itself keeps from other nodes: what one of the same AS tells goes to no other of it."""
    found = tuple(one for one in sessions if one.is_internal)
    if not settings.relayed or own.server or not any(one.is_node for one in found):
        return
    for session in (one for one in found if not one.is_node):
        text = (
            f"{session.asn} is the session's own AS, so Node {node.name} relays nothing of {session.address} "
            "to nodes of its AS (RFC 4271 9.2); give the router another, or make the node a reflector "
            "(kube-router.io/rr.server)"
        )
        yield session, "spec.asn", text


def not_near(sessions: Iterable[Session], node: Node, subnets: tuple[Network, ...]) -> Found:
    """Whom BIRD waits for until the node is on a subnet with him."""
    for session in sessions if subnets else ():
        is_direct = not (session.is_node or session.is_internal or session.multihop or session.interface)
        if is_direct and not is_in_any(session.address, subnets):
            field = "spec.multihop" if session.about.startswith("BGPPeer ") else "--peer-router-multihop-ttl"
            text = f"{session.address} is on no subnet of Node {node.name}, so that there is no session; "
            yield session, "spec.multihop", f"{text}give {field} where it is hops away"


def not_from(sessions: Iterable[Session], node: Node, own: NodeBgp, here: frozenset[Address]) -> Found:
    """From which addresses the node cannot peer: BIRD says of them that the connection is closed."""
    known = {None, *own.local, *node.internal_ips, *here}
    for session in sessions if here else ():
        if session.local not in known:
            where = f"{session.annotation}.localip" if session.annotation else "spec.sourceAddress"
            yield replace(session, annotation=where), where, _no_source(node, session.local)


def not_heard_at(node: Node, own: NodeBgp, here: frozenset[Address]) -> Iterator[Problem]:
    """At which addresses of its own annotation it cannot be heard."""
    for address in own.local if here else ():
        if address not in here:
            where = f"metadata.annotations['{PREFIX}bgp-local-addresses']"
            yield Problem("Node", ObjectName("", node.name), where, _no_source(node, address))


def _no_source(node: Node, address: Address | None) -> str:
    return f"no device of Node {node.name} has {address}, so that there is no session from it"
