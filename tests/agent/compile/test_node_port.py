"""At which of a node's addresses its node ports are."""

from ipaddress import ip_address

import pytest

from agent.compile.node_port import listening_addresses, loopback_flags, node_port_addresses
from agent.model.node import Node
from agent.options.values import node_port_addresses as read
from maps.abi import NodeFlag
from tests.agent.compile.objects import HERE

OWN = frozenset(map(ip_address, ("192.0.2.1", "192.0.2.9", "172.17.0.1", "2001:db8::1", "fd00::1", "fe80::1")))
NODE = Node(HERE, tuple(map(ip_address, ("2001:db8::1", "192.0.2.9", "192.0.2.1", "fd00::1"))))
FOUR, SIX = NodeFlag.NODE_NO_LOOPBACK_PORTS4, NodeFlag.NODE_NO_LOOPBACK_PORTS6
ALL6 = {"2001:db8::1", "fd00::1", "fe80::1"}


@pytest.mark.parametrize(
    ("given", "expected", "no_loopback"),
    [
        pytest.param("", set(map(str, OWN)), NodeFlag(0), id="41 by default at all, and at loopback"),
        pytest.param("primary", {"192.0.2.9", "2001:db8::1"}, FOUR | SIX, id="41 primary is the first of each family"),
        pytest.param("192.0.2.0/24,fd00::/8", {"192.0.2.1", "192.0.2.9", "fd00::1"}, FOUR | SIX, id="41 within ranges"),
        pytest.param("192.0.2.1/32", {"192.0.2.1", *ALL6}, FOUR, id="41 a family without ranges has all"),
        pytest.param("192.0.2.1/32,127.0.0.0/8", {"192.0.2.1", *ALL6}, NodeFlag(0), id="41 loopback where it is named"),
        pytest.param("0.0.0.0/0,::1/128", {"192.0.2.1", "192.0.2.9", "172.17.0.1"}, NodeFlag(0), id="41 or in a range"),
        pytest.param("203.0.113.0/24,2001:db8:1::/48", set(), FOUR | SIX, id="41 nowhere"),
    ],
)
def test_node_ports_are_where_they_are_wanted(given: str, expected: set[str], no_loopback: NodeFlag) -> None:
    assert node_port_addresses(OWN, NODE, read(given)) == set(map(ip_address, expected))
    assert loopback_flags(read(given)) == no_loopback


def test_an_internal_ip_that_the_node_has_not_is_none_of_its_own() -> None:
    assert node_port_addresses(OWN, Node(HERE, (ip_address("198.51.100.1"),)), "primary") == set()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param("", ["0.0.0.0", "::"], id="54 by default at all, by a socket for each family"),
        pytest.param("primary", ["192.0.2.9", "2001:db8::1"], id="41 at the primary address of each"),
        pytest.param(
            "192.0.2.0/24", ["192.0.2.1", "192.0.2.9", "::"], id="41 within a range, a family without has all"
        ),
        pytest.param("127.0.0.0/8,fd00::/8", ["127.0.0.1", "fd00::1"], id="41 at loopback where it is named"),
        pytest.param("192.0.2.1/32,127.0.0.0/8,::1/128", ["127.0.0.1", "192.0.2.1", "::1"], id="41 at both loopbacks"),
        pytest.param("192.0.2.1/32,0.0.0.0/0,fe80::/10", ["0.0.0.0"], id="41 a range of all is no limit"),
        pytest.param("203.0.113.0/24,2001:db8:1::/48", [], id="41 nowhere"),
    ],
)
def test_health_check_node_ports_are_where_node_ports_are(given: str, expected: list[str]) -> None:
    assert [str(address) for address in listening_addresses(OWN, NODE, read(given))] == expected
