"""Addresses come from the Node's pod CIDRs, and come back as late as possible."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ipam.pool import Addresses, Ipam, NoAddress
from agent.model.address import Address, Network


def ipam(*cidrs: str) -> Ipam:
    networks = tuple(ip_network(cidr) for cidr in cidrs)
    return Ipam(lambda: networks)


def all_of(source: Ipam) -> list[str]:
    found = []
    while True:
        try:
            found.append(str(source.reserve().ipv4))
        except NoAddress:
            return found


@pytest.mark.parametrize(
    ("cidr", "addresses"),
    [
        pytest.param("10.0.0.0/29", [f"10.0.0.{n}" for n in (2, 3, 4, 5, 6)], id="no network, gateway or broadcast"),
        pytest.param("10.0.0.0/30", ["10.0.0.2"], id="a /30 has one"),
        pytest.param("10.0.0.0/31", ["10.0.0.0", "10.0.0.1"], id="a /31 gives both"),
        pytest.param("10.0.0.7/32", ["10.0.0.7"], id="a /32 gives itself"),
    ],
)
def test_which_addresses_a_cidr_gives(cidr: str, addresses: list[str]) -> None:
    assert all_of(ipam(cidr)) == addresses


def test_a_dual_stack_node_gives_both_families_or_none() -> None:
    source = ipam("10.0.0.0/30", "fd00::/64")
    assert source.reserve() == Addresses(IPv4Address("10.0.0.2"), IPv6Address("fd00::2"))
    with pytest.raises(NoAddress, match=r"10\.0\.0\.0/30 is used up"):
        source.reserve()
    source.release([IPv4Address("10.0.0.2")])
    assert source.reserve().ipv6 == IPv6Address("fd00::3"), "the failed attempt kept none"


def test_an_address_that_was_freed_comes_back_after_all_others() -> None:
    source = ipam("10.0.0.0/29")
    first, second = source.reserve(), source.reserve()
    source.release([second.ipv4])
    source.release([first.ipv4])
    assert all_of(source) == ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.3", "10.0.0.2"]


def test_after_a_restart_the_walk_goes_on_behind_the_last_address() -> None:
    source = ipam("10.0.0.0/29")
    source.adopt([IPv4Address("10.0.0.5"), IPv4Address("10.0.0.3")])
    assert all_of(source) == ["10.0.0.4", "10.0.0.6", "10.0.0.2"]


def test_a_node_without_pod_cidr_says_so() -> None:
    source = ipam()
    assert "no podCIDR" in source.trouble()
    with pytest.raises(NoAddress, match="no podCIDR"):
        source.reserve()


def test_trouble_is_told_before_a_pod_meets_it() -> None:
    source = ipam("10.0.0.0/30", "fd00::/64")
    assert source.trouble() == ""
    source.reserve()
    assert "10.0.0.0/30 is used up" in source.trouble()


def test_a_new_cidr_is_used_and_the_old_ones_addresses_stay_given() -> None:
    cidrs: list[Network] = [ip_network("10.0.0.0/30")]
    source = Ipam(lambda: tuple(cidrs))
    old = source.reserve().ipv4
    cidrs[:] = [ip_network("10.0.0.0/29")]
    assert old not in {ip_address(text) for text in all_of(source)}


@given(st.lists(st.integers(min_value=-1, max_value=9), max_size=200))
def test_no_address_has_two_owners_whatever_comes_and_goes(steps: list[int]) -> None:
    source = ipam("10.0.0.0/28")
    live: list[Address] = []
    for step in steps:
        if step >= 0 and live:
            source.release([live.pop(step % len(live))])
            continue
        try:
            address = source.reserve().ipv4
        except NoAddress:
            assert len(live) == 13
            continue
        assert address is not None
        assert address not in live
        live.append(address)
    assert source.free() == ((ip_network("10.0.0.0/28"), len(live), 13 - len(live)),)
