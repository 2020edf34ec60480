"""BGPFilters and BGPConfigurations as administrators write them; a filter with a mistake is of no use to anybody."""

import json
from ipaddress import ip_network

import pytest

from agent.model.bgp import Bfd, PrefixRange
from agent.model.bgp_configuration import Advertisement, BgpConfiguration
from agent.model.bgp_filter import OWN, BgpFilter, Change, FilterRule, Origin
from agent.model.community import NO_MARKS, Marks, community, named_community
from agent.model.policy import Operator, Requirement, Selector
from agent.model.service import Service
from agent.watch.decode.bgp_configuration import BGP_CONFIGURATION
from agent.watch.decode.bgp_filter import BGP_FILTER
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kind import Decoded, Kind
from agent.watch.decode.service import SERVICE

RANGE = {"cidr": "198.51.100.0/24"}


def decoded(kind: Kind, spec: object, **metadata: object) -> Decoded:
    content = {"metadata": {"name": "lab", **metadata}, "spec": spec}
    return Decoder("n1").decode(kind, json.dumps(content).encode())


def test_a_filter_with_all_that_can_be_said() -> None:
    found = decoded(
        BGP_FILTER,
        {
            "import": [
                {
                    "action": "Accept",
                    "prefixes": [RANGE, {"cidr": "10.0.0.0/8", "minLength": 16, "maxLength": 24}],
                    "communities": ["65000:1", "rack"],
                    "asPathBegins": [64600],
                    "exceptPrefixes": [{"cidr": "10.1.0.0/16"}],
                    "interface": "eth*",
                    "peerType": "eBGP",
                    "set": {"addCommunities": ["65000:2"], "removeCommunities": ["1:2:3"], "localPreference": 7},
                },
                {"action": "Reject"},
            ],
            "export": [
                {"action": "Accept", "sources": ["Peers"], "set": {"med": 0, "prepend": [64512, 64512]}},
                {"action": "Reject", "prefixes": [RANGE]},
            ],
        },
    )
    assert found.problems == ()
    network = ip_network("198.51.100.0/24")
    assert found.value == BgpFilter(
        "lab",
        imports=(
            FilterRule(
                accepts=True,
                prefixes=(PrefixRange(network, 24, 32), PrefixRange(ip_network("10.0.0.0/8"), 16, 24)),
                communities=(community("65000:1"), named_community("rack")),
                excepted=(PrefixRange(ip_network("10.1.0.0/16"), 16, 32),),
                interface="eth*",
                of_internal=False,
                as_path=(64600,),
                change=Change((community("65000:2"),), (community("1:2:3"),), local_preference=7),
            ),
            FilterRule(accepts=False),
        ),
        exports=(
            FilterRule(accepts=True, origins=(Origin.PEERS,), change=Change(med=0, prepends=(64512, 64512))),
            FilterRule(accepts=False, prefixes=(PrefixRange(network, 24, 32),), origins=OWN),
        ),
    )


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param({"import": [{"action": "accept"}]}, "spec.import[0].action", id="no action"),
        pytest.param({"import": [{"action": "Accept"}]}, "spec.import[0].prefixes", id="all there is"),
        pytest.param(
            {"export": [{"action": "Reject", "interface": 'eth0" then accept'}]},
            "spec.export[0].interface",
            id="no device's name",
        ),
        pytest.param({"export": [{"action": "Reject", "peerType": "IBGP"}]}, "spec.export[0].peerType", id="no kind"),
        pytest.param(
            {"export": [{"action": "Reject", "exceptPrefixes": [{"cidr": "10.0.0.0/40"}]}]},
            "spec.export[0].exceptPrefixes[0].cidr",
            id="no prefix that is excepted",
        ),
        pytest.param(
            {"import": [{"action": "Accept", "prefixes": [RANGE], "sources": ["Pods"]}]},
            "spec.import[0].sources",
            id="whose it is, of what is taken",
        ),
        pytest.param({"export": [{"action": "Accept", "sources": ["Nodes"]}]}, "spec.export[0].sources[0]", id="whose"),
        pytest.param(
            {"export": [{"action": "Reject", "prefixes": [{"cidr": "10.0.0.0/40"}]}]},
            "spec.export[0].prefixes[0].cidr",
            id="no prefix",
        ),
        pytest.param(
            {"export": [{"action": "Accept", "communities": ["1:70000"]}]},
            "spec.export[0].communities[0]",
            id="no community",
        ),
        pytest.param(
            {"export": [{"action": "Accept", "set": {"prepend": [0]}}]}, "spec.export[0].set.prepend", id="no AS number"
        ),
        pytest.param(
            {"export": [{"action": "Accept", "asPathBegins": [0]}]}, "spec.export[0].asPathBegins[0]", id="no path"
        ),
    ],
)
def test_a_mistake_makes_a_filter_unusable(spec: dict[str, object], field: str) -> None:
    found = decoded(BGP_FILTER, spec)
    assert [problem.field for problem in found.problems] == [field]
    assert isinstance(found.value, BgpFilter)
    assert not found.value.is_usable


def test_a_configuration_with_all_that_can_be_said() -> None:
    found = decoded(
        BGP_CONFIGURATION,
        {
            "nodeSelector": {"matchLabels": {"rack": "r1"}},
            "asn": 64700,
            "listenPort": 1179,
            "nodeMesh": False,
            "meshAcrossASNs": False,
            "holdTime": 30,
            "gracefulRestart": True,
            "gracefulRestartTime": 60,
            "bfd": {"transmitInterval": 50, "receiveInterval": 60, "multiplier": 5, "graceful": True},
            "nextHopSelf": False,
            "import": {"prefixes": [RANGE]},
            "relay": {"prefixes": [RANGE, {"cidr": "0.0.0.0/0"}]},
            "advertise": {"podCIDRs": False, "clusterIPs": True, "externalIPs": True, "loadBalancerIPs": True},
            "communities": [{"name": "rack", "value": "65000:1"}],
            "prefixAdvertisements": [{"cidr": "203.0.113.0/24", "communities": ["rack"], "localPreference": 9}],
            "aggregates": ["203.0.113.0/24", "2001:db8:203::/64"],
            "withdrawWhenCordoned": True,
        },
    )
    assert found.problems == ()
    assert found.value == BgpConfiguration(
        "lab",
        nodes=Selector((Requirement("rack", Operator.IN, frozenset({"r1"})),)),
        asn=64700,
        port=1179,
        peers_nodes=False,
        full_mesh=False,
        hold_s=30,
        restarts=True,
        restart_time_s=60,
        bfd=Bfd(50, 60, 5, is_graceful=True),
        next_hop_self=False,
        imports=(PrefixRange(ip_network("198.51.100.0/24"), 24, 32),),
        relayed=(
            PrefixRange(ip_network("198.51.100.0/24"), 24, 32),
            PrefixRange(ip_network("0.0.0.0/0"), 0, 0),
        ),
        pods=False,
        cluster_ips=True,
        external_ips=True,
        load_balancer=True,
        communities={"rack": community("65000:1")},
        advertisements=(Advertisement(ip_network("203.0.113.0/24"), Marks((named_community("rack"),), 9)),),
        aggregates=(ip_network("203.0.113.0/24"), ip_network("2001:db8:203::/64")),
        leaves_when_cordoned=True,
    )


def test_what_a_configuration_does_not_say_the_options_do() -> None:
    assert decoded(BGP_CONFIGURATION, {}).value == BgpConfiguration("lab")


@pytest.mark.parametrize(
    ("spec", "field", "left"),
    [
        pytest.param({"asn": 0}, "spec.asn", {"asn": None}, id="no AS number"),
        pytest.param({"asn": 65535}, "spec.asn", {"asn": None}, id="an AS number that is reserved (RFC 7300)"),
        pytest.param({"listenPort": 70000}, "spec.listenPort", {"port": None}, id="no port"),
        pytest.param(
            {"nodeSelector": {"matchLabels": 1}},
            "spec.nodeSelector.matchLabels",
            {"is_usable": False},
            id="no selector",
        ),
        pytest.param(
            {"communities": [{"name": "no-export", "value": "1:1"}]}, "spec.communities[0].name", {}, id="a known name"
        ),
        pytest.param(
            {"communities": [{"name": "rack", "value": "rack"}]}, "spec.communities[0].value", {}, id="no community"
        ),
        pytest.param(
            {"prefixAdvertisements": [{"cidr": "203.0.113.0/24", "communities": ["1:70000"]}]},
            "spec.prefixAdvertisements[0].communities[0]",
            {"advertisements": (Advertisement(ip_network("203.0.113.0/24"), Marks(is_known=False)),)},
            id="a range's, which is not told of then",
        ),
        pytest.param({"aggregates": ["0.0.0.0/0"]}, "spec.aggregates[0]", {"aggregates": ()}, id="all there is"),
        pytest.param(
            {"aggregates": ["203.0.113.0/24", "203.0.113.0/25"]},
            "spec.aggregates[1]",
            {"aggregates": (ip_network("203.0.113.0/24"),)},
            id="one within another",
        ),
    ],
)
def test_a_mistake_in_a_configuration_costs_what_it_is_in(
    spec: dict[str, object], field: str, left: dict[str, object]
) -> None:
    found = decoded(BGP_CONFIGURATION, spec)
    assert [problem.field for problem in found.problems] == [field]
    assert isinstance(found.value, BgpConfiguration)
    assert {name: getattr(found.value, name) for name in left} == left


@pytest.mark.parametrize(
    ("annotations", "marks", "fields"),
    [
        pytest.param({}, NO_MARKS, [], id="none"),
        pytest.param(
            {"communities": "65000:1, rack", "local-preference": "300"},
            Marks((community("65000:1"), named_community("rack")), 300),
            [],
            id="both",
        ),
        pytest.param(
            {"communities": "1:1,1:70000"},
            Marks((community("1:1"),), is_known=False),
            ["metadata.annotations['sluiceway.io/bgp-communities'][1]"],
            id="no community",
        ),
        pytest.param(
            {"local-preference": "-1"},
            Marks(is_known=False),
            ["metadata.annotations['sluiceway.io/bgp-local-preference']"],
            id="no number",
        ),
        pytest.param(
            {"local-preference": "1" * 5000},
            Marks(is_known=False),
            ["metadata.annotations['sluiceway.io/bgp-local-preference']"],
            id="more digits than Python reads",
        ),
        pytest.param(
            {"communities": f"{'1' * 5000},1:2"},
            Marks((community("1:2"),), is_known=False),
            ["metadata.annotations['sluiceway.io/bgp-communities'][0]"],
            id="a community of as many",
        ),
        pytest.param(
            {"communities": "rt:4200000000:70000, ro:4200000000:65535, rt:65535:70000"},
            Marks((community("ro:4200000000:65535"), community("rt:65535:70000")), is_known=False),
            ["metadata.annotations['sluiceway.io/bgp-communities'][0]"],
            id="an extended community with room for one of its numbers",
        ),
        pytest.param(
            {"communities": "٦:1"},
            Marks(is_known=False),
            ["metadata.annotations['sluiceway.io/bgp-communities'][0]"],
            id="digits that BIRD does not read",
        ),
        pytest.param(
            {"communities": ",".join(f"1:{number}" for number in range(65))},
            Marks(is_known=False),
            ["metadata.annotations['sluiceway.io/bgp-communities']"],
            id="more communities than a message takes",
        ),
    ],
)
def test_what_a_services_routes_carry(annotations: dict[str, str], marks: Marks, fields: list[str]) -> None:
    given = {f"sluiceway.io/bgp-{key}": value for key, value in annotations.items()}
    found = decoded(
        SERVICE, {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}, namespace="default", annotations=given
    )
    assert [problem.field for problem in found.problems] == fields
    assert all(len(problem.text) < 400 for problem in found.problems)
    assert isinstance(found.value, Service)
    assert found.value.marks == marks
