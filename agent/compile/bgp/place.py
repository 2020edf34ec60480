"""Where a router is as a node sees it, and from which of its addresses the node speaks with it, and sends."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from agent.compile.bgp.router import FAMILIES, Session, Source
from agent.model.address import Address, Network, is_in_any
from agent.model.node import Node

Subnets = tuple[Network, ...]  # of the node


def speaks_from(address: Address, own: Address | None, subnets: Subnets) -> Address | None:
    """From where the node speaks with who is there, where nobody says it; *own* is its InternalIP of that family.

    None: from its address on the peer's subnet, which BIRD finds. A router on a link of its own knows the node by that.
    """
    near = _near(address, subnets)
    return None if own is not None and near and not is_in_any(own, near) else own


def placed(session: Session, own: Mapping[int, Address], subnets: Subnets) -> Session:
    """With whether the peer is on a subnet of the node's, which speaks from its address there."""
    if session.local is None and session.multihop and session.bfd:  # for which BIRD wants an address
        return replace(session, local=own.get(session.address.version))
    if not session.is_internal or session.multihop or session.interface:
        return session
    near = _near(session.address, subnets)
    return replace(session, is_direct=bool(near) and (session.local is None or is_in_any(session.local, near)))


def sources(node: Node, here: frozenset[Address], subnets: Subnets) -> Iterator[Source]:
    """As whom the node sends by routes that peers told: others know it by its InternalIP, where one of *here* is that.

    The kernel would choose by the device, and of several addresses there one that may move on. An InternalIP on no
    subnet, as on the loopback device, is the node's to everybody.
    """
    for version in FAMILIES:
        own = next((ip for ip in node.internal_ips if ip.version == version), None)
        if own is not None and own in here:
            yield Source(own, not any(one.prefixlen < one.max_prefixlen for one in _near(own, subnets)))


def _near(address: Address, subnets: Subnets) -> Subnets:
    """Those that it is on."""
    return tuple(one for one in subnets if is_in_any(address, (one,)))
