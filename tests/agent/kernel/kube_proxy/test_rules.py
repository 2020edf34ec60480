"""What goes of kube-proxy's chains, and in which order, by who leads to them."""

import pytest

from agent.kernel.kube_proxy.rules import Removal, found, removal
from agent.netlink.nftables import NFPROTO_IPV4, NFPROTO_IPV6, Chain, Jump, Table

NAT, NAT6, INET = Table(NFPROTO_IPV4, "nat"), Table(NFPROTO_IPV6, "nat"), Table(1, "nat")
OUTPUT = Chain(NAT, "OUTPUT", has_hook=True)
SERVICES, SERVICE = Chain(NAT, "KUBE-SERVICES", has_hook=False), Chain(NAT, "KUBE-SVC-ERIFXISQEP7F7OF4", has_hook=False)
MARK = Chain(NAT, "KUBE-MARK-MASQ", has_hook=False)
THEIRS = Chain(NAT, "CNI-HOSTPORT-SETMARK", has_hook=False)
JUMPS = {
    OUTPUT: (Jump(3, "KUBE-SERVICES"), Jump(4, "DOCKER")),
    SERVICES: (Jump(1, SERVICE.name),),
    SERVICE: (Jump(1, MARK.name),),
}


def planned(*chains: Chain, **jumps: str) -> Removal:
    """By the chains, and by what others' jump to."""
    led = {**JUMPS, THEIRS: tuple(Jump(9, to) for to in jumps.values())}
    return removal(found((), chains), chains, lambda chain: led.get(chain, ()))


def test_jumps_from_the_kernels_hooks_go_before_the_chains() -> None:
    plan = planned(OUTPUT, SERVICES, SERVICE, MARK, THEIRS)
    assert plan.jumps == ((OUTPUT, 3),)
    assert plan.chains == (MARK, SERVICES, SERVICE)
    assert plan.kept == ()


@pytest.mark.parametrize(
    ("to", "kept", "gone"),
    [
        pytest.param(MARK, {MARK}, {SERVICES, SERVICE}, id="a chain that another's own one leads to"),
        pytest.param(SERVICE, {SERVICE, MARK}, {SERVICES}, id="and those that it leads to"),
        pytest.param(SERVICES, {SERVICES, SERVICE, MARK}, set(), id="in turn"),
    ],
)
def test_what_others_use_stays(to: Chain, kept: set[Chain], gone: set[Chain]) -> None:
    plan = planned(OUTPUT, SERVICES, SERVICE, MARK, THEIRS, to=to.name)
    assert dict(plan.kept) == dict.fromkeys(kept, THEIRS)
    assert {*plan.chains} == gone
    assert plan.jumps == ((OUTPUT, 3),), "the kernel's hooks lead to none of it"


def test_a_name_is_kube_proxys_in_iptables_own_tables_alone() -> None:
    chains = [Chain(table, "KUBE-SERVICES", has_hook=False) for table in (NAT, NAT6, INET, Table(2, "mine"))]
    assert {chain.table for chain in found((), chains).chains} == {NAT, NAT6}


def test_the_nftables_mode_has_a_table_of_each_family() -> None:
    tables = [Table(family, "kube-proxy") for family in (1, NFPROTO_IPV4, NFPROTO_IPV6)]
    assert found((*tables, Table(NFPROTO_IPV4, "kube-proxy-mine")), ()).tables == (tables[1], tables[2])


def test_where_kube_proxy_was_not_no_rule_is_looked_at() -> None:
    def refuse(chain: Chain) -> tuple[Jump, ...]:
        raise AssertionError(chain)

    assert not removal(found((), (OUTPUT, THEIRS)), (OUTPUT, THEIRS), refuse)
