"""The annotations by which a Service says how clients outside reach its endpoints on other nodes.

kube-router's one is understood as what it does: its DSR, by IPIP, is dsr here. Where both are there, ours goes before.
"""

from collections.abc import Mapping

from agent.options.choices import Forwarding
from agent.watch.decode.reader import Reader

FORWARDING = "sluiceway.io/forwarding"
THEIR_DSR = "kube-router.io/service.dsr"
THEIR_TUNNEL = "tunnel"  # the one value there is
_SHOWN = 64  # characters of a wrong word


def forwarding(read: Reader, annotations: Mapping[str, str]) -> Forwarding | None:
    """What the Service says; None: as the node does it."""
    named = annotations.get(FORWARDING)
    if named is not None:
        if named in tuple(Forwarding):
            return Forwarding(named)
        known = ", ".join(Forwarding)
        read.refuse(_where(FORWARDING), f"{named[:_SHOWN]!r} is none of {known}; the nodes' own holds")
        return None
    named = annotations.get(THEIR_DSR)
    if named is None:
        return None
    if named != THEIR_TUNNEL:
        read.refuse(_where(THEIR_DSR), f"{named[:_SHOWN]!r} is not {THEIR_TUNNEL}; the nodes' own holds")
        return None
    return Forwarding.DSR


def _where(annotation: str) -> str:
    return f"metadata.annotations['{annotation}']"
