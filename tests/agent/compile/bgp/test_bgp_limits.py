"""BIRD takes the greatest number that is taken of each field: for one beyond its own it refuses all."""

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from agent.compile.bgp.settings import BgpSettings
from agent.model.bgp import Bfd, PeerExport, within
from agent.model.bgp_configuration import Advertisement, BgpConfiguration
from agent.model.bgp_filter import OWN, BgpFilter, Change, FilterRule
from agent.model.community import Marks, community
from agent.options.values import LAST_HOLD_S, LAST_INTERVAL_MS, LAST_RESTART_S, MAX_HOPS, MAX_MULTIPLIER, MAX_PORT
from agent.watch.decode.bgp_fields import MAX_PREPENDS
from agent.watch.decode.bgp_peer import LAST_STALE_S, MOST_LOCAL_AS
from tests.agent.compile.bgp.bgp_world import PEER, PLAIN, bird_refuses, made, node, world
from tests.agent.compile.objects import HERE, cluster, endpoint, piece, service

MOST = (1 << 32) - 1
LAST_ASN = MOST - 1
COMMUNITIES = tuple(
    map(
        community,
        (
            "65535:65535", "4294967295", "4294967295:4294967295:4294967295",
            "rt:65535:4294967295", "ro:4294967295:65535", "rt:0:0",
        ),
    )
)  # fmt: skip
CHANGE = Change(COMMUNITIES, COMMUNITIES, MOST, MOST, (LAST_ASN,) * MAX_PREPENDS)
MARKS = Marks(COMMUNITIES, MOST)
SITE = BgpFilter(
    "site",
    imports=(FilterRule(accepts=True, prefixes=(within(ip_network("192.0.2.0/24")),), change=CHANGE),),
    exports=(FilterRule(accepts=True, communities=COMMUNITIES, as_path=(MOST,), origins=OWN, change=CHANGE),),
)
EVERYWHERE = BgpConfiguration("default", advertisements=(Advertisement(ip_network("10.0.0.0/8"), MARKS),))
FAR = replace(
    PEER,
    port=MAX_PORT,
    local_asn=LAST_ASN,
    multihop=MAX_HOPS,
    ttl_security=True,
    hold_s=LAST_HOLD_S,
    keepalive_s=LAST_HOLD_S // 2,  # of more BIRD only says that it should be less
    stale_s=LAST_STALE_S,
    restart_time_s=LAST_RESTART_S,
    local_as_most=MOST_LOCAL_AS,
    bfd=Bfd(LAST_INTERVAL_MS, LAST_INTERVAL_MS, MAX_MULTIPLIER),
    import_limit=1 << 24,
    export=PeerExport(COMMUNITIES, MOST, MOST, CHANGE.prepends),
    filters=("site",),
)
SETTINGS: BgpSettings = replace(
    PLAIN, port=MAX_PORT, cluster_ips=True, restart_s=LAST_RESTART_S, restart_time_s=LAST_RESTART_S
)


@pytest.mark.parametrize(
    "asn", [pytest.param(64600, id="a peer of another AS"), pytest.param(LAST_ASN, id="one of the same")]
)
def test_bird_takes_the_greatest_number_of_each_field(asn: int, tmp_path: Path) -> None:
    given = cluster(service("web", marks=MARKS), piece("web", endpoint("10.244.11.1", HERE)))
    here = node(HERE, 11, path__prepend_as=str(LAST_ASN), path__prepend_repeat__n="255")
    found = made(
        world(
            here,
            peers=(replace(FAR, asn=asn),),
            bgp_filters={"site": SITE},
            bgp_configurations={"default": EVERYWHERE},
            services=given.services,
            slices=given.slices,
        ),
        SETTINGS,
    )
    assert found.problems == ()
    assert found.router is not None
    assert [str(one) for one in found.router.services] == ["10.96.0.1/32"]
    assert bird_refuses(found.router, tmp_path) == ""
