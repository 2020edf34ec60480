"""Host ports of pods from before us: the chains that the portmap plugin wrote for each of them by iptables.

Its DEL takes them away, and nobody asks it for one any more: the runtime knows our configuration alone. Chains of
iptables-nft go here; those of iptables-legacy are told (why: kube_proxy/legacy.py).

Source: containernetworking/plugins, plugins/meta/portmap/portmap_iptables.go and pkg/utils.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from agent.kernel.kube_proxy import legacy
from agent.log import logger
from agent.netlink.nftables import ABSENT, NFPROTO_IPV4, NFPROTO_IPV6, Chain, NfTables, Table

log = logger(__name__)

_ENTRY: Final = "CNI-HOSTPORT-DNAT"  # leads to each container's
_TABLE: Final = "nat"
_MOST_OCTETS: Final = 28  # of a chain's name
_LEGACY: Final = (
    "chain {name} of iptables-legacy is there: iptables-legacy-save -t nat | grep -v {name} | "
    "iptables-legacy-restore -T nat, and the same of ip6tables-legacy"
)

Container = tuple[str, str]  # the name of the configuration that made its interface, and its id


def chain_name(network: str, container_id: str) -> str:
    """The chain of a container, whose interface a configuration of the name *network* made."""
    return f"CNI-DN-{hashlib.sha512(f'{network}{container_id}'.encode()).hexdigest()}"[:_MOST_OCTETS]


def remove(containers: Iterable[Container]) -> Mapping[Container, str]:
    """Have no rule of containers' host ports; of which there still is one, or may be, and why, and how it goes.

    What cannot be read may be there: whoever gets the address of such a container gets its host ports too.
    """
    names = {each: chain_name(*each) for each in containers}
    if not names:
        return {}
    left = {**_remove_nft(names.values()), **_find_legacy(names.values())}
    return {each: left[name] for each, name in names.items() if name in left}


def _remove_nft(names: Collection[str]) -> Mapping[str, str]:
    """Have no chain of these names in iptables-nft; why there still is one, or may be, by its name."""
    try:
        found = _found(names)
        return dict(_taken(found)) if found else {}
    except OSError as error:
        return {name: f"chain {name} of iptables cannot be looked for: {error}" for name in names}


def _found(names: Iterable[str]) -> tuple[Chain, ...]:
    """Those that there are; none where the kernel has no nf_tables.

    Raises:
        OSError: they cannot be read.
    """
    try:
        with NfTables() as kernel:
            both = ((Table(family, _TABLE), name) for name in names for family in (NFPROTO_IPV4, NFPROTO_IPV6))
            return tuple(chain for one in both if (chain := kernel.chain(*one)) is not None)
    except OSError as error:
        if error.errno not in ABSENT:
            raise
        log.debug("the kernel has no nf_tables", error=error)
        return ()


def _taken(found: Collection[Chain]) -> Iterator[tuple[str, str]]:
    """Have chains go; the names of those that stay, and why."""
    with NfTables() as kernel:
        try:
            _take(kernel, found)
        except OSError:  # each by itself, so that one holds no other back
            for chain in found:
                try:
                    _take(kernel, (chain,))
                except OSError as error:
                    yield chain.name, f"chain {chain.name} of iptables cannot be removed: {error}"


def _take(kernel: NfTables, chains: Collection[Chain]) -> None:
    """Have chains go, with what leads to them.

    Raises:
        OSError: the kernel refused; some may be gone.
    """
    own = {(chain.table, chain.name) for chain in chains}
    entries = [Chain(table, _ENTRY, has_hook=False) for table in sorted({chain.table for chain in chains})]
    jumps = ((entry, jump) for entry in entries for jump in kernel.jumps(entry))
    kernel.remove_rules([(entry, jump.rule) for entry, jump in jumps if (entry.table, jump.to) in own])
    kernel.remove_chains(chains)
    log.info("host ports of pods from before are gone", chains=sorted({chain.name for chain in chains}))


def _find_legacy(names: Collection[str]) -> Mapping[str, str]:
    """Why chains of these names are in iptables-legacy, or may be, by name."""
    try:
        found = legacy.chains(_TABLE, names)
    except OSError as error:
        return {name: f"chain {name} of iptables-legacy cannot be looked for: {error}" for name in names}
    return {name: _LEGACY.format(name=name) for name in found}
