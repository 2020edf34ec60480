"""Host ports of pods from before us: the chains that the portmap plugin wrote for each of them by iptables.

Its DEL takes them away, and nobody asks it for one any more: the runtime knows our configuration alone. Chains of
iptables-nft go here; those of iptables-legacy are told (why: kube_proxy/legacy.py).

Source: containernetworking/plugins, plugins/meta/portmap/portmap_iptables.go and pkg/utils.
"""

import hashlib
from typing import Final

from agent.kernel.kube_proxy import legacy
from agent.log import logger
from agent.netlink.nftables import NFPROTO_IPV4, NFPROTO_IPV6, Chain, NfTables

log = logger(__name__)

_ENTRY: Final = "CNI-HOSTPORT-DNAT"  # leads to each container's
_TABLE: Final = "nat"
_MOST_OCTETS: Final = 28  # of a chain's name


def chain_name(network: str, container_id: str) -> str:
    """The chain of a container, whose interface a configuration of the name *network* made."""
    return f"CNI-DN-{hashlib.sha512(f'{network}{container_id}'.encode()).hexdigest()}"[:_MOST_OCTETS]


def remove(network: str, container_id: str) -> str:
    """Have no rule of a container's host ports; why there still is one, and how it goes, or nothing."""
    name = chain_name(network, container_id)
    try:
        with NfTables() as kernel:
            _remove(kernel, name)
    except OSError as error:
        return f"chain {name} of iptables cannot be removed: {error}"
    if [*legacy.tables(name)]:
        return (
            f"chain {name} of iptables-legacy is there: iptables-legacy-save -t nat | grep -v {name} | "
            "iptables-legacy-restore -T nat, and the same of ip6tables-legacy"
        )
    return ""


def _remove(kernel: NfTables, name: str) -> None:
    try:
        chains = [chain for chain in kernel.chains() if _is_iptables(chain)]
    except OSError as error:
        log.debug("nftables cannot be read", error=error)
        return
    own = [chain for chain in chains if chain.name == name]
    if not own:
        return
    tables = {chain.table for chain in own}
    entries = [chain for chain in chains if chain.name == _ENTRY and chain.table in tables]
    kernel.remove_rules((entry, jump.rule) for entry in entries for jump in kernel.jumps(entry) if jump.to == name)
    kernel.remove_chains(own)
    log.info("host ports of a pod from before are gone", chain=name)


def _is_iptables(chain: Chain) -> bool:
    return chain.table.name == _TABLE and chain.table.family in {NFPROTO_IPV4, NFPROTO_IPV6}
