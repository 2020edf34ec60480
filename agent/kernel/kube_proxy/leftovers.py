"""All that kube-proxy has on the node, in whichever mode it wrote it: looked for, and taken away."""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.kernel.kube_proxy import ipvs, legacy, rules
from agent.kernel.kube_proxy.rules import Removal
from agent.log import logger
from agent.netlink.nftables import NfTables

log = logger(__name__)

_NONE = Removal()


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What there is of kube-proxy's in a network namespace."""

    rules: Removal = _NONE
    has_ipvs: bool = False
    legacy: tuple[str, ...] = ()  # tables of iptables-legacy

    def kinds(self) -> Iterator[str]:
        """The kinds of things, as people call them."""
        yield from rules.described(self.rules)
        if self.legacy:
            yield "iptables-legacy chains"
        if self.has_ipvs:
            yield "IPVS device"


def look() -> Leftovers:
    """What there is in the calling thread's network namespace; of what cannot be read, nothing."""
    try:
        with NfTables() as kernel:
            found = rules.look(kernel)
    except OSError as error:
        log.debug("nftables cannot be read", error=error)
        found = _NONE
    return Leftovers(found, ipvs.is_there(), tuple(legacy.tables()))


def remove(node_ports: tuple[int, int]) -> Removal:
    """Take away what can go; the rules that there were, and what was kept of them.

    *node_ports* tells which of IPVS's virtual servers on the node's own addresses are kube-proxy's.

    Raises:
        OSError: the kernel refused; what is left is found by the next.
    """
    with NfTables() as kernel:
        removed = rules.remove(kernel)
    if ipvs.is_there():
        ipvs.remove(node_ports)
    return removed
