"""Calico's BGP resources become ours, which our agents can read; what they cannot say is told, and opens nothing."""

import json
from typing import Any

import pytest

from agent.migrate.calico import migrate
from agent.migrate.calico_bgp_table import BGP_CONFIGURATION, BGP_NODE, BGP_PEER, BGP_RULE
from agent.migrate.report import Migration
from agent.watch.decode.bgp_configuration import BGP_CONFIGURATION as OUR_CONFIGURATION
from agent.watch.decode.bgp_filter import BGP_FILTER
from agent.watch.decode.bgp_peer import BGP_PEER as OUR_PEER
from agent.watch.decode.decoder import Decoder
from tests.agent.migrate.inputs import calico, found, missing, node, settings

POOL = calico("IPPool", "pods", {"cidr": "10.244.0.0/16", "natOutgoing": True})
NODE = node("10.244.1.0/24")
KINDS = {"BGPPeer": OUR_PEER, "BGPFilter": BGP_FILTER, "BGPConfiguration": OUR_CONFIGURATION}
ALL4 = {"cidr": "0.0.0.0/0", "maxLength": 32}
EVERYBODY = ["Pods", "Services", "Aggregates", "Peers"]


def made(*items: Any) -> Migration:
    return migrate(found(NODE, POOL, *items))


def specs(given: Migration) -> dict[str, dict[str, Any]]:
    """Each object's, by kind and name; every one is such that our agents find nothing wrong with it."""
    for item in given.objects:
        read = Decoder("n1").decode(KINDS[item["kind"]], json.dumps(item).encode())
        assert read.problems == (), item
    return {f"{item['kind']} {item['metadata']['name']}": item["spec"] for item in given.objects}


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        pytest.param(
            {"peerIP": "192.0.2.1", "asNumber": 64600},
            {"address": "192.0.2.1", "asn": 64600, "multihop": 64, "import": {"prefixes": [ALL4]}},
            id="a router anywhere, of which everything is taken",
        ),
        pytest.param(
            {"peerIP": "[2001:db8::1]:1179", "asNumber": "1.10", "ttlSecurity": 1},
            {
                "address": "2001:db8::1",
                "port": 1179,
                "asn": 65546,
                "ttlSecurity": True,
                "import": {"prefixes": [{"cidr": "::/0", "maxLength": 128}]},
            },
            id="one hop away, an AS number in two halves, a port",
        ),
        pytest.param(
            {"peerIP": "192.0.2.1", "ttlSecurity": 3},
            {
                "address": "192.0.2.1",
                "asn": 64512,
                "multihop": 3,
                "ttlSecurity": True,
                "import": {"prefixes": [ALL4]},
            },
            id="some hops away, of the same AS",
        ),
        pytest.param(
            {
                "peerIP": "192.0.2.1:1179",
                "node": "n1",
                "keepOriginalNextHop": True,
                "localASNumber": 64700,
                "password": {"secretKeyRef": {"name": "bgp", "key": "tor"}},
                "keepaliveTime": "20s",
                "maxRestartTime": "5m",
                "numAllowedLocalASNumbers": 99,
                "sourceAddress": "UseNodeIP",
            },
            {
                "address": "192.0.2.1",
                "port": 1179,
                "asn": 64512,
                "nodeSelector": {"matchLabels": {"kubernetes.io/hostname": "n1"}},
                "nextHopSelf": False,
                "localASN": 64700,
                "passwordKey": "tor",
                "keepaliveTime": 20,
                "gracefulRestartTime": 300,
                "allowLocalAS": 10,
                "holdTime": 240,
                "multihop": 64,
                "import": {"prefixes": [ALL4]},
            },
            id="of one node, with a password",
        ),
        pytest.param(
            {"peerIP": "192.0.2.1", "nodeSelector": "rack == 'r1' && has(edge)", "filters": ["site"]},
            {
                "address": "192.0.2.1",
                "asn": 64512,
                "nodeSelector": {
                    "matchLabels": {"rack": "r1"},
                    "matchExpressions": [{"key": "edge", "operator": "Exists"}],
                },
                "filters": ["site"],
                "import": {"prefixes": [ALL4]},
            },
            id="of some nodes, of the same AS, with a filter",
        ),
    ],
)
def test_a_peer(spec: dict[str, Any], wanted: dict[str, Any]) -> None:
    given = made(calico("BGPPeer", "tor", spec))
    assert specs(given) == {"BGPPeer tor": {"sourceAddress": "InternalIP", **wanted}}
    assert given.is_whole
    assert settings(given)["router"] == "on"


def test_a_peer_that_is_spoken_with_from_whichever_address_leads_there() -> None:
    given = made(calico("BGPPeer", "tor", {"peerIP": "192.0.2.1", "sourceAddress": "None"}))
    assert "sourceAddress" not in specs(given)["BGPPeer tor"]
    assert given.is_whole


@pytest.mark.parametrize(
    "spec",
    [
        {"peerSelector": "has(reflector)"},
        {"peerIP": "192.0.2.1", "localWorkloadSelector": "all()"},
        {"peerIP": "192.0.2.1", "nodeSelector": "rack == 'r1' || rack == 'r2' || has(edge)"},
        {"peerIP": "tor.example", "asNumber": 1},
        {},
    ],
    ids=str,
)
def test_a_peer_of_whom_nobody_knows_who_it_is_is_none(spec: dict[str, Any]) -> None:
    given = made(calico("BGPPeer", "tor", spec))
    assert given.objects == ()
    assert len(missing(given)) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reachableBy", "192.0.2.254"),
        ("ofALaterVersion", 1),
    ],
)
def test_what_a_peer_says_and_we_lack_is_told(name: str, value: object) -> None:
    given = made(calico("BGPPeer", "tor", {"peerIP": "192.0.2.1", "asNumber": 1, name: value}))
    assert [line.partition("=")[0] for line in missing(given)] == [f"spec.{name}"]
    assert list(specs(given)) == ["BGPPeer tor"]


def test_a_configuration_and_the_services_ranges_which_every_peer_is_told_alone() -> None:
    cluster = {
        "asNumber": 64700,
        "nodeToNodeMeshEnabled": False,
        "listenPort": 1179,
        "nodeMeshMaxRestartTime": "2m30s",
        "nodeMeshPassword": {"secretKeyRef": {"name": "bgp", "key": "mesh"}},
        "serviceLoadBalancerIPs": [{"cidr": "203.0.113.0/24"}],
        "serviceClusterIPs": [{"cidr": "10.96.0.0/16"}],
        "communities": [{"name": "Rack_1", "value": "65000:100"}],
        "prefixAdvertisements": [{"cidr": "203.0.113.0/24", "communities": ["Rack_1", "65000:1:2"]}],
    }
    of_node = calico("BGPConfiguration", "node.n1", {"listenPort": 2179})
    tor = calico("BGPPeer", "tor", {"peerIP": "192.0.2.1", "asNumber": 64600, "filters": ["site"]})
    given = made(calico("BGPConfiguration", "default", cluster), of_node, tor)
    found_specs = specs(given)
    assert found_specs["BGPConfiguration default"] == {
        "asn": 64700,
        "nodeMesh": False,
        "listenPort": 1179,
        "gracefulRestartTime": 150,
        "prefixAdvertisements": [{"cidr": "203.0.113.0/24", "communities": ["65000:100", "65000:1:2"]}],
        "advertise": {"loadBalancerIPs": True, "clusterIPs": True},
        "aggregates": ["10.96.0.0/16", "203.0.113.0/24"],
    }
    assert found_specs["BGPConfiguration node.n1"] == {
        "nodeSelector": {"matchLabels": {"kubernetes.io/hostname": "n1"}},
        "listenPort": 2179,
    }
    assert found_specs["BGPFilter calico-service-ranges"] == {
        "export": [
            {
                "action": "Reject",
                "sources": ["Services"],
                "exceptPrefixes": [{"cidr": "10.96.0.0/16"}, {"cidr": "203.0.113.0/24"}],
            }
        ]
    }
    assert found_specs["BGPPeer tor"]["filters"] == ["calico-service-ranges", "site"]
    assert settings(given)["bgp-node-password-key"] == "mesh"
    assert given.is_whole


def test_without_aggregation_load_balancers_addresses_are_told_one_by_one() -> None:
    cluster = {
        "serviceLoadBalancerAggregation": "Disabled",
        "serviceLoadBalancerIPs": [{"cidr": "203.0.113.0/24"}],
        "serviceExternalIPs": [{"cidr": "198.51.100.0/24"}],
    }
    assert specs(made(calico("BGPConfiguration", "default", cluster))) == {
        "BGPConfiguration default": {
            "advertise": {"externalIPs": True, "loadBalancerIPs": True},
            "aggregates": ["198.51.100.0/24"],
        }
    }


def test_a_mesh_alone_asks_for_nothing() -> None:
    given = made(calico("BGPConfiguration", "default", {"nodeToNodeMeshEnabled": True, "asNumber": 64512}))
    assert given.objects == ()
    assert "router" not in settings(given)
    assert given.is_whole


def test_a_communitys_name_that_nobody_gives_is_told() -> None:
    told = {"prefixAdvertisements": [{"cidr": "203.0.113.0/24", "communities": ["lost"]}]}
    assert len(missing(made(calico("BGPConfiguration", "default", told)))) == 1


RANGE = {"cidr": "10.0.0.0/8"}


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        pytest.param({}, {"prefixes": [ALL4]}, id="without a CIDR all of the family"),
        pytest.param(
            RANGE | {"matchOperator": "Equal"},
            {"prefixes": [RANGE | {"minLength": 8, "maxLength": 8}]},
            id="Equal: that prefix alone",
        ),
        pytest.param(
            RANGE | {"matchOperator": "In"}, {"prefixes": [RANGE | {"minLength": 8, "maxLength": 32}]}, id="In"
        ),
        pytest.param(
            {"cidr": "0.0.0.0/0", "matchOperator": "In"},
            {"prefixes": [{"cidr": "0.0.0.0/0", "minLength": 0, "maxLength": 32}]},
            id="In: all there is, and not the default route alone",
        ),
        pytest.param(
            RANGE | {"matchOperator": "In", "prefixLength": {"min": 16, "max": 24}},
            {"prefixes": [RANGE | {"minLength": 16, "maxLength": 24}]},
            id="prefixLength",
        ),
        pytest.param(
            RANGE | {"matchOperator": "NotEqual"},
            {"prefixes": [ALL4], "exceptPrefixes": [RANGE | {"minLength": 8, "maxLength": 8}]},
            id="NotEqual",
        ),
        pytest.param(
            RANGE | {"matchOperator": "NotIn"},
            {"prefixes": [ALL4], "exceptPrefixes": [RANGE | {"minLength": 8, "maxLength": 32}]},
            id="NotIn",
        ),
        pytest.param({"source": "RemotePeers"}, {"prefixes": [ALL4], "sources": ["Peers"]}, id="source"),
        pytest.param({"interface": "*.calico"}, {"prefixes": [ALL4], "interface": "*.calico"}, id="interface"),
        pytest.param({"peerType": "iBGP"}, {"prefixes": [ALL4], "peerType": "iBGP"}, id="peerType"),
        pytest.param(
            {"communities": {"values": ["65000:1"]}}, {"prefixes": [ALL4], "communities": ["65000:1"]}, id="communities"
        ),
        pytest.param(
            {"asPathPrefix": [64600, "1.10"]}, {"prefixes": [ALL4], "asPathBegins": [64600, 65546]}, id="asPathPrefix"
        ),
        pytest.param(
            {
                "operations": [
                    {"addCommunity": {"value": "65000:7"}},
                    {"prependASPath": {"prefix": [64512, 64513]}},
                    {"prependASPath": {"prefix": [64514]}},
                ]
            },
            {"prefixes": [ALL4], "set": {"addCommunities": ["65000:7"], "prepend": [64514, 64512, 64513]}},
            id="operations",
        ),
    ],
)
def test_a_rule(rule: dict[str, Any], wanted: dict[str, Any]) -> None:
    given = made(calico("BGPFilter", "site", {"exportV4": [{"action": "Accept"} | rule]}))
    told = {"action": "Accept", "sources": EVERYBODY} | wanted
    assert specs(given) == {"BGPFilter site": {"export": [told]}}
    assert given.is_whole


def test_rules_of_both_families_and_directions_keep_their_order() -> None:
    spec = {
        "importV4": [{"action": "Reject", "source": "RemotePeers"}],
        "importV6": [{"action": "Accept", "cidr": "2001:db8::/32", "matchOperator": "In"}, {"action": "Reject"}],
    }
    all6 = {"cidr": "::/0", "maxLength": 128}
    assert specs(made(calico("BGPFilter", "site", spec))) == {
        "BGPFilter site": {
            "import": [
                {"action": "Reject", "prefixes": [ALL4]},
                {"action": "Accept", "prefixes": [{"cidr": "2001:db8::/32", "minLength": 32, "maxLength": 128}]},
                {"action": "Reject", "prefixes": [all6]},
            ]
        }
    }


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"exportV4": [{"action": "Reject", "priority": 512}]}, id="priority"),
        pytest.param({"exportV4": [{"action": "Reject", "ofALaterVersion": 1}]}, id="a field of a later version"),
        pytest.param({"exportV5": [{"action": "Reject"}]}, id="a list of a later version"),
        pytest.param({"exportV4": [{"action": "Reject", "cidr": "10.0.0.0/40", "matchOperator": "In"}]}, id="no CIDR"),
        pytest.param({"exportV4": [{"action": "Reject"}] * 65}, id="more rules than one of ours may have"),
    ],
)
def test_a_filter_with_a_rule_that_cannot_be_said_is_left_out_so_that_its_peers_have_no_session(
    spec: dict[str, Any],
) -> None:
    given = made(calico("BGPFilter", "site", spec))
    assert given.objects == ()
    assert len(missing(given)) == 1
    assert "no session" in missing(given)[0]


def test_a_filter_without_a_rule_changes_nothing_and_costs_its_peers_no_session() -> None:
    given = made(
        calico("BGPFilter", "none", {}),
        calico("BGPFilter", "half", {"exportV4": []}),
        calico("BGPFilter", "one", {"exportV4": [{"action": "Reject"}]}),
        calico("BGPPeer", "tor", {"peerIP": "192.0.2.1", "asNumber": 64600, "filters": ["none", "one", "half"]}),
    )
    found_specs = specs(given)
    assert [*found_specs] == ["BGPFilter one", "BGPPeer tor"]
    assert found_specs["BGPPeer tor"]["filters"] == ["one"]


def test_a_priority_that_is_set_is_told_and_the_rule_is_there_without() -> None:
    rule = {"action": "Accept", "operations": [{"setPriority": {"value": 512}}]}
    given = made(calico("BGPFilter", "site", {"importV4": [rule]}))
    assert specs(given) == {"BGPFilter site": {"import": [{"action": "Accept", "prefixes": [ALL4]}]}}
    assert [line.partition(":")[0] for line in missing(given)] == ["spec.importV4[0].operations[0].setPriority"]


@pytest.mark.parametrize("row", BGP_NODE, ids=lambda row: row.name)
def test_an_annotation_of_a_node_is_told(row: Any) -> None:
    given = migrate(found(node("10.244.1.0/24", **{row.name: "1"}), POOL))
    assert len(missing(given)) == 1


@pytest.mark.parametrize("api", ["crd.projectcalico.org/v1", "projectcalico.org/v3"])
def test_both_groups_of_the_api_are_read(api: str) -> None:
    peer = calico("BGPPeer", "tor", {"peerIP": "192.0.2.1", "asNumber": 1}) | {"apiVersion": api}
    assert list(specs(made(peer))) == ["BGPPeer tor"]


TYPED: dict[str, Any] = {
    "listenPort": 1,
    "ttlSecurity": 1,
    "filters": ["1"],
    "communities": [{"name": "a", "value": "1:1"}],
    "prefixAdvertisements": [{"cidr": "192.0.2.0/24"}],
} | {f"service{name}IPs": [{"cidr": "192.0.2.0/24"}] for name in ("Cluster", "External", "LoadBalancer")}


@pytest.mark.parametrize(
    ("kind", "rows", "base"),
    [("BGPConfiguration", BGP_CONFIGURATION, {}), ("BGPPeer", BGP_PEER, {"peerIP": "192.0.2.1", "asNumber": 1})],
)
def test_every_field_is_told(kind: str, rows: Any, base: dict[str, Any]) -> None:
    for row in rows:
        told = made(calico(kind, "default", {row.name: TYPED.get(row.name, "1")} | base)).findings
        assert any(one.field.startswith(f"spec.{row.name}=") for one in told), row.name


TYPED_OF_RULE: dict[str, Any] = {"prefixLength": {}, "communities": {}, "asPathPrefix": [], "operations": []}


def test_every_field_of_a_rule_is_known() -> None:
    for row in BGP_RULE:
        given = made(
            calico(
                "BGPFilter",
                "x",
                {"importV4": [{row.name: TYPED_OF_RULE.get(row.name, ""), "action": "Accept"}]},
            )
        )
        assert not any("is known here" in line for line in missing(given)), row.name
