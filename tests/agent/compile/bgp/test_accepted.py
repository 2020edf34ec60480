"""What of BGP's resources is accepted, and why not: by what they and each other say."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from agent.compile.bgp.accepted import MOST_MISTAKES, MOST_PEERS, Verdict, verdicts
from agent.model.accepted import Accepted, Standing
from agent.model.bgp import BgpPeer, PeerExport
from agent.model.bgp_configuration import Advertisement, BgpConfiguration
from agent.model.bgp_filter import BgpFilter, Change, FilterRule
from agent.model.cluster import Cluster
from agent.model.community import Marks, community, named_community
from tests.agent.compile.bgp.bgp_world import PEER

RACK = (named_community("rack"),)
NAMING = BgpConfiguration("default", communities={"rack": community("65000:1")})
RULE = FilterRule(accepts=False)
WRONG = Standing(4, ("spec.asn: is missing",))


def found(*ones: Any) -> dict[str, Verdict]:
    """By name."""
    cluster = Cluster(
        bgp_peers={one.name: one for one in ones if isinstance(one, BgpPeer)},
        bgp_filters={one.name: one for one in ones if isinstance(one, BgpFilter)},
        bgp_configurations={one.name: one for one in ones if isinstance(one, BgpConfiguration)},
    )
    return {resource.name: verdict for resource, verdict in verdicts(cluster)}


@pytest.mark.parametrize(
    ("given", "reason", "said"),
    [
        pytest.param((PEER,), "Valid", "", id="a peer"),
        pytest.param(
            (replace(PEER, address=None, standing=WRONG),), "Invalid", "spec.asn: is missing", id="no AS number"
        ),
        pytest.param(
            (replace(PEER, standing=WRONG),),
            "PartlyInvalid",
            "spec.asn: is missing; the rest holds",
            id="a field that costs itself alone",
        ),
        pytest.param(
            (replace(PEER, filters=("lost",)),),
            "FilterNotUsable",
            "spec.filters[0]: there is no BGPFilter 'lost'; the peer is left out until then",
            id="a filter that is not there",
        ),
        pytest.param(
            (replace(PEER, filters=("good", "bad")), BgpFilter("good"), BgpFilter("bad", is_usable=False)),
            "FilterNotUsable",
            "spec.filters[1]: a rule cannot be read of BGPFilter 'bad'; the peer is left out until then",
            id="a filter with a mistake",
        ),
        pytest.param(
            (replace(PEER, export=PeerExport(communities=(community("1:1"), *RACK))),),
            "UnknownCommunity",
            "spec.export.communities[1]: no BGPConfiguration names a community 'rack'; the peer is left out until then",
            id="a community that nobody names",
        ),
        pytest.param(
            (replace(PEER, export=PeerExport(communities=RACK)), NAMING), "Valid", "", id="one that somebody does"
        ),
        pytest.param(
            (replace(PEER, export=PeerExport(communities=RACK)), replace(NAMING, is_usable=False)),
            "UnknownCommunity",
            "'rack'",
            id="one that a BGPConfiguration names that holds for nobody",
        ),
    ],
)
def test_a_peer(given: tuple[Any, ...], reason: str, said: str) -> None:
    verdict = found(*given)["tor"]
    assert (verdict.reason, verdict.is_so) == (reason, reason == "Valid")
    assert said in verdict.message
    assert verdict.generation == given[0].standing.generation


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        pytest.param({"imports": (RULE, replace(RULE, communities=RACK))}, "spec.import[1].communities[0]", id="met"),
        pytest.param(
            {"exports": (replace(RULE, change=Change(RACK)),)}, "spec.export[0].set.addCommunities[0]", id="added"
        ),
        pytest.param(
            {"exports": (replace(RULE, change=Change(removed=RACK)),)},
            "spec.export[0].set.removeCommunities[0]",
            id="removed",
        ),
    ],
)
def test_a_filter_with_a_community_that_nobody_names(rules: dict[str, Any], field: str) -> None:
    one = BgpFilter("site", **rules)
    assert found(one)["site"].message.startswith(f"{field}: no BGPConfiguration names")
    assert found(one, NAMING)["site"].is_so


def test_a_configuration_for_nobody_knows_which_nodes_and_one_whose_rest_holds() -> None:
    wrong = BgpConfiguration("default", standing=WRONG)
    assert found(wrong)["default"].reason == "PartlyInvalid"
    assert found(replace(wrong, is_usable=False))["default"].reason == "Invalid"
    marks = Advertisement(ip_network("203.0.113.0/24"), Marks(RACK))
    unknown = found(BgpConfiguration("default", advertisements=(marks,)))["default"]
    assert unknown.reason == "UnknownCommunity"
    assert unknown.message.startswith("spec.prefixAdvertisements[0].communities[0]: ")


def test_a_message_names_the_first_of_many_mistakes_and_a_filter_the_first_of_many_peers() -> None:
    wrong = Standing(1, tuple(f"spec.import[{index}].action: '' is neither" for index in range(64)))
    site = BgpFilter("site", is_usable=False, standing=wrong)
    peers = [replace(PEER, name=f"p{index:03}", filters=("site", "site")) for index in range(MOST_PEERS + 5)]
    verdict = found(site, *reversed(peers))["site"]
    assert verdict.message.count("is neither") == MOST_MISTAKES
    assert verdict.message.endswith(f"and {64 - MOST_MISTAKES} more")
    assert verdict.peers == tuple(one.name for one in peers[:MOST_PEERS])


def test_what_stands_is_told_by_all_of_it_but_the_time() -> None:
    verdict = Verdict(2, is_so=True, reason="Valid", message="every field can be used", peers=("tor",))
    said = Accepted(is_so=True, reason="Valid", message="every field can be used", generation=2, since="1970")
    site = BgpFilter("site", standing=Standing(2, accepted=said, peers=("tor",)))
    assert verdict.stands(site)
    for other in (replace(said, generation=1), replace(said, is_so=False), replace(said, message=""), None):
        assert not verdict.stands(replace(site, standing=replace(site.standing, accepted=other)))
    assert not verdict.stands(replace(site, standing=replace(site.standing, peers=())))
