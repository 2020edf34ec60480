"""What an address is as a peer: by the ranges around it, and by its pod's labels and named ports."""

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.compile.atom import NOBODY, Atoms, Group, PodIndex, PortPeer, Ranges, signature_digest
from agent.model.policy import CidrPeer, ContainerPort, Operator, PodPeer, Requirement, Selector
from agent.model.service import Protocol


def cidr(text: str, *excepts: str) -> CidrPeer:
    return CidrPeer(ip_network(text), tuple(map(ip_network, excepts)))


WIDE, NARROW, ALL = cidr("10.0.0.0/8", "10.1.0.0/16"), cidr("10.1.2.0/24", "10.1.2.3/32"), cidr("0.0.0.0/0")
AGAIN, SIX = cidr("10.0.0.0/8"), cidr("2001:db8::/32", "2001:db8:1::/48")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param("192.0.2.1", {ALL}, id="in all of them that is around everything"),
        pytest.param("10.2.0.1", {ALL, WIDE, AGAIN}, id="in a range, by each rule that names it"),
        pytest.param("10.1.0.1", {ALL, AGAIN}, id="excepted by one rule, not by the other that names the same range"),
        pytest.param("10.1.2.1", {ALL, AGAIN, NARROW}, id="in a range within what another rule excepts"),
        pytest.param("10.1.2.3", {ALL, AGAIN}, id="a single address excepted"),
        pytest.param("2001:db8::1", {SIX}, id="IPv6: in no range of IPv4, whatever that is around"),
        pytest.param("2001:db8:1::1", set(), id="IPv6: excepted"),
        pytest.param("2001:db9::1", set(), id="IPv6: outside"),
    ],
)
def test_ranges_within_ranges(address: str, expected: set[CidrPeer]) -> None:
    ranges = Ranges(Atoms().of([WIDE, NARROW, ALL, AGAIN, SIX]).by_meaning.values())
    assert {atom.meaning for atom in ranges.of(ip_address(address))} == expected


def test_no_ranges_are_nobody() -> None:
    assert Ranges(()).of(IPv4Address("10.0.0.1")) is NOBODY


def within(bits: int, least: int = 24) -> st.SearchStrategy[IPv4Network]:
    """Ranges of 10.0.0.0/24 that are no wider than *bits*, around the first of its addresses, more or less."""
    return st.integers(max(bits, least), 32).flatmap(
        lambda length: st.integers(0, (1 << length - 24) - 1).map(
            lambda part: IPv4Network((0x0A000000 | part << 32 - length, length))
        )
    )


networks = st.just(IPv4Network("0.0.0.0/0")) | within(24)
blocks = networks.flatmap(
    lambda whole: st.lists(within(whole.prefixlen).filter(whole.supernet_of), max_size=3).map(
        lambda excepts: CidrPeer(whole, tuple(excepts))
    )
)


@given(st.lists(blocks, max_size=8), st.integers(0, 255))
def test_an_address_is_meant_by_whose_range_has_it_and_no_exception_does(named: list[CidrPeer], last: int) -> None:
    address = ip_address(0x0A000000 | last)
    atoms = Atoms().of(named)
    expected = {one for one in named if address in one.cidr and not any(address in network for network in one.excepts)}
    assert {atom.meaning for atom in Ranges(atoms.by_meaning.values()).of(address)} == expected


KEYS, VALUES, HOMES = ("app", "tier"), ("web", "db"), ("x", "y")
labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES)).map(lambda held: tuple(sorted(held.items())))
requirements = st.builds(
    Requirement,
    st.sampled_from(KEYS),
    st.sampled_from(Operator),
    st.frozensets(st.sampled_from(VALUES), min_size=1, max_size=2),
)
selectors = st.builds(Selector, st.lists(requirements, max_size=2).map(tuple))
pod_peers = st.builds(PodPeer, selectors, selectors, st.sampled_from(("", *HOMES)))
ports = st.builds(ContainerPort, st.sampled_from(("web", "dns")), st.sampled_from(Protocol), st.sampled_from((53, 80)))
groups = st.builds(Group, st.sampled_from(HOMES), labels, st.lists(ports, max_size=2, unique=True).map(tuple))


@given(
    st.lists(pod_peers | st.builds(PortPeer, ports), max_size=8),
    st.fixed_dictionaries(dict.fromkeys(HOMES, labels.map(dict))),
    groups,
)
def test_the_index_finds_whom_selectors_select(
    meant: list[PodPeer | PortPeer], namespaces: dict[str, dict[str, str]], group: Group
) -> None:
    found = PodIndex(Atoms().of(meant).by_meaning.values(), namespaces).signature(group)
    assert {atom.meaning for atom in found} == {one for one in meant if is_meant(one, group, namespaces)}


def is_meant(peer: PodPeer | PortPeer, group: Group, namespaces: dict[str, dict[str, str]]) -> bool:
    """The same, asked one by one."""
    if isinstance(peer, PortPeer):
        return peer.port in group.ports
    home = peer.namespace in {"", group.namespace}
    by_namespace = bool(peer.namespace) or peer.namespaces.selects(namespaces[group.namespace])
    return home and by_namespace and peer.pods.selects(dict(group.labels))


def test_a_book_keeps_the_atoms_that_stay() -> None:
    one = Atoms().of([WIDE, ALL])
    two = one.of([ALL, SIX])
    assert two.by_meaning[ALL] is one.by_meaning[ALL]
    assert WIDE not in two.by_meaning
    assert two.of([SIX, ALL]) is two


@given(st.lists(blocks | pod_peers, max_size=6, unique=True))
def test_digests_tell_meanings_apart_and_do_not_depend_on_the_book(meant: list[CidrPeer | PodPeer]) -> None:
    atoms, others = Atoms().of(meant), Atoms().of(reversed(meant))
    assert {one: atom.digest for one, atom in atoms.by_meaning.items()} == {
        one: atom.digest for one, atom in others.by_meaning.items()
    }
    signatures = frozenset(atoms.by_meaning.values()), frozenset(others.by_meaning.values())
    assert signature_digest(signatures[0]) == signature_digest(signatures[1])
