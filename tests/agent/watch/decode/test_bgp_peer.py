"""BGPPeers as administrators write them; a mistake names its field, and never makes one accept more."""

import json
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from agent.model.accepted import Accepted, Standing
from agent.model.bgp import AddPath, Bfd, BgpPeer, PeerExport, PrefixRange
from agent.model.community import community, named_community
from agent.watch.decode.bgp_configuration import BGP_CONFIGURATION
from agent.watch.decode.bgp_filter import BGP_FILTER
from agent.watch.decode.bgp_peer import BGP_PEER
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kind import Decoded, Kind

LEAST = {"address": "192.0.2.1", "asn": 64600}


def decoded(**spec: object) -> Decoded:
    content = {"metadata": {"name": "tor"}, "spec": {**LEAST, **spec}}
    return Decoder("n1").decode(BGP_PEER, json.dumps(content).encode())


def test_the_least_that_makes_one() -> None:
    found = decoded()
    assert found.problems == ()
    assert found.value == BgpPeer("tor", ip_address("192.0.2.1"), 64600)


def test_whose_entries_its_status_has_is_kept() -> None:
    content = {"metadata": {"name": "tor"}, "spec": LEAST, "status": {"nodes": {"n2": {"state": "Active"}, "n1": {}}}}
    found = Decoder("n1").decode(BGP_PEER, json.dumps(content).encode()).value
    assert isinstance(found, BgpPeer)
    assert found.standing.nodes == {"n1", "n2"}


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        pytest.param(BGP_PEER, LEAST, {**LEAST, "port": 0}, id="a BGPPeer"),
        pytest.param(BGP_FILTER, {}, {"import": [{"action": "no"}]}, id="a BGPFilter"),
        pytest.param(BGP_CONFIGURATION, {}, {"aggregates": ["x"]}, id="a BGPConfiguration"),
    ],
)
def test_what_its_status_says_of_it_is_kept_beside_what_is_wrong(kind: Kind, good: object, bad: object) -> None:
    condition = {"type": "Accepted", "status": "True", "reason": "Valid", "message": "m", "observedGeneration": 2}
    others = [{"type": "Other"}, {**condition, "lastTransitionTime": "t"}]
    content = {"metadata": {"name": "x", "generation": 3}, "spec": good, "status": {"conditions": others}}
    said = Accepted(is_so=True, reason="Valid", message="m", generation=2, since="t")
    found: Any = Decoder("n1").decode(kind, json.dumps(content).encode()).value
    assert found.standing == Standing(3, (), said)
    broken: Any = Decoder("n1").decode(kind, json.dumps({"metadata": {"name": "x"}, "spec": bad}).encode())
    assert broken.value.standing == Standing(0, tuple(f"{one.field}: {one.text}" for one in broken.problems))
    assert broken.problems


def test_all_that_can_be_said() -> None:
    found = decoded(
        port=1179, sourceAddress="192.0.2.11", localASN=64700, passwordKey="tor", multihop=2, ttlSecurity=True,
        holdTime=30, keepaliveTime=10, gracefulRestart=False, bothFamilies=True, nextHopSelf=False,
        gracefulRestartTime=60, allowLocalAS=2, longLivedStaleTime=3600, addPath="Receive", filters=["lab", "site"],
        bfd={"transmitInterval": 50, "receiveInterval": 60, "multiplier": 5, "graceful": True},
        **{"import": {
            "prefixes": [{"cidr": "198.51.100.0/24"}, {"cidr": "0.0.0.0/0"}, {"cidr": "10.0.0.0/8", "maxLength": 16}],
            "limit": 9,
        }},
        export={
            "communities": ["65000:1", "rack"], "med": 1, "localPreference": 2, "prepend": [3], "podCIDRs": False,
            "services": False,
        },
    )  # fmt: skip
    assert found.problems == ()
    assert found.value == BgpPeer(
        "tor",
        ip_address("192.0.2.1"),
        64600,
        port=1179,
        source=ip_address("192.0.2.11"),
        local_asn=64700,
        password_key="tor",  # noqa: S106
        multihop=2,
        ttl_security=True,
        hold_s=30,
        keepalive_s=10,
        graceful_restart=False,
        bfd=Bfd(50, 60, 5, is_graceful=True),
        both_families=True,
        next_hop_self=False,
        imports=(
            PrefixRange(ip_network("198.51.100.0/24"), 24, 32),
            PrefixRange(ip_network("0.0.0.0/0"), 0, 0),
            PrefixRange(ip_network("10.0.0.0/8"), 8, 16),
        ),
        import_limit=9,
        export=PeerExport((community("65000:1"), named_community("rack")), 1, 2, (3,), pods=False, services=False),
        filters=("lab", "site"),
        stale_s=3600,
        restart_time_s=60,
        local_as_most=2,
        add_path=AddPath.RECEIVE,
    )


def test_ipv4_link_local_addresses_are_routers_and_nodes_too_at_clouds_and_on_tunnels() -> None:
    found = decoded(address="169.254.255.1", sourceAddress="169.254.255.9", multihop=2)
    assert found.problems == ()
    assert isinstance(found.value, BgpPeer)
    assert (found.value.address, found.value.source) == (ip_address("169.254.255.1"), ip_address("169.254.255.9"))


def test_the_nodes_internal_ip_may_be_asked_for_as_the_source() -> None:
    found = decoded(sourceAddress="InternalIP")
    assert found.problems == ()
    assert found.value == BgpPeer("tor", ip_address("192.0.2.1"), 64600, from_internal=True)


def test_an_interface_takes_the_place_of_an_address_and_carries_both_families() -> None:
    found = decoded(address="", interface="eth1.7")
    assert found.problems == ()
    assert found.value == BgpPeer("tor", None, 64600, interface="eth1.7", both_families=True, extended_next_hop=True)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param({"interface": "eth1"}, "spec.address", id="both an address and an interface"),
        pytest.param({"address": "", "interface": 'e"'}, "spec.interface", id="no device's name"),
        pytest.param({"address": "", "interface": "eth1", "multihop": 2}, "spec.multihop", id="hops on one link"),
        pytest.param({"asn": 0}, "spec.asn", id="no AS number"),
        pytest.param({"asn": 1 << 32}, "spec.asn", id="no AS number can be so large"),
        pytest.param({"asn": 23456}, "spec.asn", id="AS_TRANS, which stands for others (RFC 6793)"),
        pytest.param({"asn": 65535}, "spec.asn", id="an AS number that is reserved (RFC 7300)"),
        pytest.param({"localASN": (1 << 32) - 1}, "spec.localASN", id="the other one that is"),
        pytest.param({"address": ""}, "spec.address", id="no address"),
        pytest.param({"address": "224.0.0.1"}, "spec.address", id="nobody's address"),
        pytest.param({"address": "fe80::1"}, "spec.address", id="IPv6's link-local one, of which interface?"),
        pytest.param({"sourceAddress": "2001:db8::1"}, "spec.sourceAddress", id="of the other family"),
        pytest.param({"nodeSelector": {"matchLabels": 1}}, "spec.nodeSelector.matchLabels", id="no selector"),
        pytest.param({"addPath": "all"}, "spec.addPath", id="no direction"),
        pytest.param({"extendedNextHop": True}, "spec.extendedNextHop", id="IPv6 next hops over IPv4"),
        pytest.param({"holdTime": 2}, "spec.holdTime", id="shorter than BGP has it"),
        pytest.param({"export": {"communities": ["1:70000"]}}, "spec.export.communities[0]", id="no community"),
    ],
)
def test_what_decides_whom_it_is_or_hears_costs_the_peer(spec: dict[str, object], field: str) -> None:
    found = decoded(**spec)
    assert [problem.field for problem in found.problems] == [field]
    assert isinstance(found.value, BgpPeer)
    assert (found.value.address, found.value.interface) == (None, "")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param({"import": {"prefixes": [{"cidr": "10.0.0.0/33"}]}}, "spec.import.prefixes[0].cidr", id="none"),
        pytest.param(
            {"import": {"prefixes": [{"cidr": "10.0.0.0/8", "minLength": 7}]}}, "spec.import.prefixes[0]", id="wider"
        ),
    ],
)
def test_a_mistake_in_what_is_taken_takes_less(spec: dict[str, object], field: str) -> None:
    found = decoded(**spec)
    assert [problem.field for problem in found.problems] == [field]
    assert isinstance(found.value, BgpPeer)
    assert found.value.imports == ()


def test_a_key_that_leads_out_of_its_folder_is_none() -> None:
    found = decoded(passwordKey="../shadow")
    assert [problem.field for problem in found.problems] == ["spec.passwordKey"]
    assert isinstance(found.value, BgpPeer)
    assert found.value.address is None
