"""kube-proxy's rules in nf_tables: the tables of its nftables mode, and the chains that iptables-nft wrote for it.

First the jumps from the kernel's hooks go, in one transaction: from then on kube-proxy's rules meet no packet. Then
the chains go that nothing leads to, some hundreds at once. A removal that is cut short is gone on with by the next.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from agent.kernel.kube_proxy import names
from agent.netlink.nftables import NFPROTO_IPV4, NFPROTO_IPV6, Chain, Jump, NfTables, Table

FAMILIES = frozenset({NFPROTO_IPV4, NFPROTO_IPV6})
IPTABLES = frozenset({"nat", "filter", "mangle"})  # tables that kube-proxy has chains in


@dataclass(frozen=True, slots=True)
class Removal:
    """What is to go of kube-proxy's, in this order."""

    tables: tuple[Table, ...] = ()
    jumps: tuple[tuple[Chain, int], ...] = ()  # rules by their handles, in chains that stay
    chains: tuple[Chain, ...] = ()
    kept: tuple[tuple[Chain, Chain], ...] = ()  # chains to which another's own chain leads, and that one

    def __bool__(self) -> bool:
        return bool(self.tables or self.chains)


def found(tables: Iterable[Table], chains: Iterable[Chain]) -> Removal:
    """What kube-proxy has, whoever else uses it; jumps are not looked for."""
    return Removal(
        tuple(sorted(t for t in tables if t.family in FAMILIES and t.name == names.TABLE)),
        chains=tuple(sorted(chain for chain in chains if _is_own(chain))),
    )


def removal(own: Removal, chains: Iterable[Chain], jumps: Callable[[Chain], Iterable[Jump]]) -> Removal:
    """What of *own*, which :func:`found` told, is to go.

    A chain stays to which somebody's own chain leads, and so do those to which it leads in turn. *jumps* tells the
    jumps of a chain; it is asked of those that are not kube-proxy's, and of those that stay.
    """
    mine: Mapping[tuple[Table, str], Chain] = {(chain.table, chain.name): chain for chain in own.chains}
    touched = {chain.table for chain in own.chains}
    hooked: list[tuple[Chain, int]] = []
    used: dict[Chain, Chain] = {}  # and by whose
    for chain in sorted(chain for chain in chains if chain.table in touched and not _is_own(chain)):
        for jump in jumps(chain):
            if (to := mine.get((chain.table, jump.to))) is None:
                continue
            if chain.has_hook:
                hooked.append((chain, jump.rule))
            else:
                used.setdefault(to, chain)
    waiting = list(used)
    while waiting:
        chain = waiting.pop()
        for jump in jumps(chain):
            to = mine.get((chain.table, jump.to))
            if to is not None and to not in used:
                used[to] = used[chain]
                waiting.append(to)
    return Removal(
        own.tables, tuple(hooked), tuple(c for c in own.chains if c not in used), tuple(sorted(used.items()))
    )


def look(kernel: NfTables) -> Removal:
    """What kube-proxy has in this network namespace.

    Raises:
        OSError: it cannot be read.
    """
    return found(kernel.tables(), kernel.chains())


def remove(kernel: NfTables) -> Removal:
    """Take away what kube-proxy has there; what there was.

    Raises:
        OSError: the kernel refused; what stands before it in a :class:`Removal` is gone.
    """
    chains = tuple(kernel.chains())
    own = found(kernel.tables(), chains)
    if not own:
        return own
    planned = removal(own, chains, kernel.jumps)
    for table in planned.tables:
        kernel.remove_table(table)
    kernel.remove_rules(planned.jumps)
    kernel.remove_chains(planned.chains)
    return planned


def described(own: Removal) -> Iterator[str]:
    """The kinds of things that there are, as people call them."""
    if own.tables:
        yield "nftables table"
    if own.chains:
        yield "iptables chains"


def _is_own(chain: Chain) -> bool:
    table = chain.table
    is_iptables = table.family in FAMILIES and table.name in IPTABLES
    return is_iptables and not chain.has_hook and names.is_chain(table.name, chain.name)
