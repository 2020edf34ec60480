"""Addresses as objects carry them and as the maps hold them."""

from ipaddress import IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.address import (
    Address,
    Family,
    family,
    is_peers,
    is_reachable,
    link_local,
    mapped,
    parse_address,
    parse_network,
    unmapped,
)


def is_plain(address: Address) -> bool:
    return address.version == 4 or IPv6Address(address).ipv4_mapped is None


unmapped_addresses = st.ip_addresses().filter(is_plain)


@given(unmapped_addresses)
def test_the_maps_form_goes_there_and_back(address: Address) -> None:
    assert unmapped(mapped(address)) == address
    assert isinstance(mapped(address), IPv6Address)


@given(unmapped_addresses)
def test_what_is_written_is_read(address: Address) -> None:
    assert parse_address(str(address)) == address


@given(st.ip_addresses(v=4), st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_zeros_that_lead_an_octet_mean_nothing(address: Address, zeros: list[int]) -> None:
    octets = str(address).split(".")
    text = ".".join("0" * count + octet for count, octet in zip(zeros, octets, strict=True))
    assert parse_address(text) == address


@given(unmapped_addresses)
def test_reachable_is_what_ipaddress_says(address: Address) -> None:
    special = address.is_unspecified or address.is_loopback or address.is_link_local or address.is_multicast
    assert is_reachable(address) is not (special or str(address) == "255.255.255.255")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param("0.0.0.0", False, id="the unspecified address"),
        pytest.param("127.255.255.255", False, id="the last loopback address"),
        pytest.param("128.0.0.0", True, id="the address behind it"),
        pytest.param("169.254.0.1", False, id="a link-local address"),
        pytest.param("169.255.0.1", True, id="its neighbour"),
        pytest.param("223.255.255.255", True, id="the last unicast address"),
        pytest.param("239.1.1.1", False, id="a multicast address"),
        pytest.param("240.0.0.1", True, id="one of 240.0.0.0/4, of which some clouds give pods theirs"),
        pytest.param("255.255.255.255", False, id="the broadcast, under which a Service would take a link's DHCP"),
        pytest.param("::", False, id="the unspecified IPv6 address"),
        pytest.param("::1", False, id="the IPv6 loopback address"),
        pytest.param("febf::1", False, id="the end of fe80::/10"),
        pytest.param("fec0::1", True, id="the address behind that"),
        pytest.param("ff02::1", False, id="an IPv6 multicast address"),
        pytest.param("fd00::1", True, id="a unique local address"),
    ],
)
def test_reachable(text: str, answer: bool) -> None:  # noqa: FBT001
    assert is_reachable(ip_address(text)) is answer
    assert is_peers(ip_address(text)) is (answer or text == "169.254.0.1"), "BGP has peers at IPv4's link-local ones"


@pytest.mark.parametrize(
    ("text", "network"),
    [
        pytest.param("10.244.1.0/24", "10.244.1.0/24", id="a network"),
        pytest.param("010.244.001.000/24", "10.244.1.0/24", id="zeros that lead are decimal"),
        pytest.param("10.244.1.7/24", "10.244.1.0/24", id="host bits are cut off"),
        pytest.param("fd00:0010::/64", "fd00:10::/64", id="IPv6 keeps its own way of zeros"),
        pytest.param("10.0.0.1", "10.0.0.1/32", id="an address is a network of one"),
    ],
)
def test_networks(text: str, network: str) -> None:
    assert parse_network(text) == ip_network(network)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("::ffff:10.0.0.1", "write 10.0.0.1", id="an IPv4-mapped address"),
        pytest.param("fe80::1%eth0", "zone", id="an address with a zone"),
        pytest.param("10.0.0", "10.0.0", id="three octets"),
        pytest.param("10.0.0.256", "256", id="an octet too large"),
        pytest.param("", "empty", id="nothing"),
    ],
)
def test_what_is_no_address(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_address(text)


def test_a_network_within_mapped_addresses_is_refused() -> None:
    with pytest.raises(ValueError, match="IPv4 network"):
        parse_network("::ffff:10.0.0.0/104")


def test_a_network_with_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        parse_network("fe80::1%eth0/64")


def test_families() -> None:
    assert family(ip_address("10.0.0.1")) is Family.IPV4
    assert family(ip_network("fd00::/64")) is Family.IPV6


@pytest.mark.parametrize(
    ("mac", "address"),
    [
        pytest.param("34:56:78:9a:bc:de", "fe80::3656:78ff:fe9a:bcde", id="the bit of universal addresses is inverted"),
        pytest.param("ee:ee:ee:ee:ee:ee", "fe80::ecee:eeff:feee:eeee", id="so is that of local ones"),
    ],
)
def test_a_link_local_address_follows_from_a_mac(mac: str, address: str) -> None:
    assert link_local(bytes.fromhex(mac.replace(":", ""))) == IPv6Address(address)
