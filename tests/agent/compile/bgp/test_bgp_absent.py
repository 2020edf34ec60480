"""Who is to be a peer and has no session, whatever it lacks; and nobody, before it is known who is at interfaces."""

from dataclasses import replace
from ipaddress import IPv6Address, ip_address

import pytest

from agent.compile.bgp.bgp import bgp
from agent.compile.bgp.settings import BgpSettings, OptionPeer
from agent.model.bgp import Neighbours, Passwords
from agent.model.cluster import Cluster
from tests.agent.compile.bgp.bgp_world import AT_ETH1, HERE_1, PEER, PLAIN, made, node, sessions, world
from tests.agent.compile.objects import HERE

KEYED = replace(PEER, password_key="lost")  # noqa: S106
OPTIONS = replace(PLAIN, peers=(OptionPeer(ip_address("192.0.2.1"), 64600),))
TOR = {"BGPPeer tor": "192.0.2.1"}


@pytest.mark.parametrize(
    ("given", "settings", "absent"),
    [
        pytest.param(world(HERE_1, peers=(KEYED,)), PLAIN, TOR, id="no password"),
        pytest.param(
            world(HERE_1, peers=(replace(PEER, filters=("lost",)),)),
            PLAIN,
            {"BGPPeer tor": "192.0.2.1"},
            id="no filter",
        ),
        pytest.param(world(HERE_1, peers=(AT_ETH1,)), PLAIN, {"BGPPeer left": ""}, id="nobody at the interface"),
        pytest.param(
            world(HERE_1, peers=(replace(PEER, address=None),)),
            PLAIN,
            {"BGPPeer tor": ""},
            id="one that is not readable",
        ),
        pytest.param(
            world(HERE_1, node("n2", 12, families="4")),
            replace(PLAIN, node_password_key="lost"),  # noqa: S106
            {"Node n2": "192.0.2.12"},
            id="no password for nodes",
        ),
        pytest.param(
            world(HERE_1, passwords=Passwords(is_list_lost=True)),
            OPTIONS,
            {"--peer-router-ips[0]": "192.0.2.1"},
            id="no passwords for routers of the options",
        ),
        pytest.param(
            world(node(HERE, 11, families="4", peer_ips="2001:db8::9", peer_asns="64600")),
            PLAIN,
            {"annotation 2001:db8::9": "2001:db8::9"},
            id="of a family that the node lacks",
        ),
        pytest.param(
            world(node(HERE, 11, peers="[{remoteip: 192.0.2.9, remoteasn: none}, 7, {remoteasn: 64600}]")),
            PLAIN,
            {"annotation 192.0.2.9": "192.0.2.9", "annotation peers[1]": "", "annotation peers[2]": ""},
            id="those of an annotation that are not readable",
        ),
        pytest.param(
            world(node(HERE, 11, peers="remoteip: 192.0.2.9")),
            PLAIN,
            {"annotation peers": ""},
            id="an annotation that is no list",
        ),
        pytest.param(
            world(node(HERE, 11, peers=f"[{','.join('1' * 257)}]")),
            PLAIN,
            {"annotation peers": ""},
            id="an annotation of too many",
        ),
        pytest.param(
            world(node(HERE, 11, peer_ips="192.0.2.8,192.0.2.9", peer_asns="64600,64601", peer_ports="179,none")),
            PLAIN,
            {"annotation 192.0.2.9": "192.0.2.9"},
            id="one of peer.ips whose port is no number",
        ),
        pytest.param(
            world(node(HERE, 11, peer_ips="192.0.2.8,192.0.2.9", peer_asns="64600")),
            PLAIN,
            {"annotation peer.ips": ""},
            id="peer.ips without an AS number for each",
        ),
        pytest.param(
            world(node(HERE, 11, peer_ips=f"192.0.2.9{',' * 257}", peer_asns=f"1{',' * 257}")),
            PLAIN,
            {"annotation peer.ips": ""},
            id="too many peer.ips",
        ),
        pytest.param(
            world(node(HERE, 11, peer_ips="192.0.2.8", peer_asns="64600", peer_passwords="eA==,eA==")),
            PLAIN,
            {"annotation peer.ips": ""},
            id="peer.ips with passwords of nobody knows whom",
        ),
        pytest.param(
            world(node(HERE, 11, peer_ips="192.0.2.11", peer_asns="none")), PLAIN, {}, id="itself, not readable"
        ),
        pytest.param(world(HERE_1, peers=(PEER, replace(PEER, name="zor"))), PLAIN, {}, id="another's session stands"),
        pytest.param(world(HERE_1, peers=(replace(PEER, address=ip_address("192.0.2.11")),)), PLAIN, {}, id="itself"),
    ],
)
def test_who_is_to_be_a_peer_and_has_no_session_is_known(
    given: Cluster, settings: BgpSettings, absent: dict[str, str]
) -> None:
    router = made(given, settings).router
    assert router is not None
    assert dict(router.absent) == absent


def test_before_it_is_known_who_is_at_interfaces_nothing_is_wanted_of_bird() -> None:
    given = world(HERE_1, peers=(AT_ETH1, PEER), bgp_neighbours=Neighbours(is_known=False))
    first = made(given)
    assert (first.router, first.problems) == (None, ())
    at = Neighbours({"eth1": frozenset({IPv6Address("fe80::1")})})
    assert [*sessions(bgp(replace(given, bgp_neighbours=at), PLAIN, None, HERE, first)).values()] == [
        "BGPPeer left",
        "BGPPeer tor",
    ]
