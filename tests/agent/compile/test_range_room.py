"""Where policies name more ranges than there is room for, who names the most loses them, and nobody else."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_address

import pytest

from agent.compile.desired import Desired, desired
from agent.compile.policy_records import RANGES
from agent.compile.records import OwnerKind
from agent.compile.settings import Settings
from agent.model.cluster import Cluster
from agent.model.local import Local
from agent.model.name import ObjectName
from agent.model.node import Namespace, Node, Pod
from agent.model.policy import CidrPeer, PodPeer, Policy, Rule, Tier, Verdict
from maps import abi
from tests.agent.compile.objects import FRESH
from tests.agent.compile.test_policy import LISTED, attachment

ROOM = 12
SETTINGS = Settings("here", network_policy=True, range_room=ROOM)
NAMESPACES = ("quiet", "loud", "third")


ATTACHED = tuple(
    replace(attachment(number), pod=ObjectName(namespace, "pod")) for number, namespace in enumerate(NAMESPACES, 1)
)


def ranges(second: int, count: int) -> tuple[CidrPeer, ...]:
    return tuple(CidrPeer(IPv4Network(f"172.{second}.{at}.0/24")) for at in range(count))


def policy(namespace: str, text: str, peers: Iterable[CidrPeer]) -> Policy:
    rules = (Rule(peers=tuple(peers)),)
    return Policy(ObjectName(namespace, text), PodPeer(namespace=namespace), rules)


def denying(*peers: CidrPeer) -> Policy:
    return Policy(ObjectName("", "guard"), PodPeer(), None, (Rule(Verdict.DENY, peers),), Tier.ADMIN)


QUIET = policy("quiet", "few", ranges(16, 4))
LOUD = policy("loud", "many", ranges(17, 40))
ALSO = policy("loud", "some", ranges(18, 5))


def cluster(*policies: Policy, guard: Policy | None = None) -> Cluster:
    return Cluster(
        nodes={"here": Node("here", (ip_address("192.0.2.1"),))},
        pods={one.pod: Pod(one.pod, one.pod_uid, "here", one.addresses) for one in ATTACHED if one.pod},
        namespaces={text: Namespace(text) for text in NAMESPACES},
        policies={one.name: one for one in policies},
        cluster_policies={"guard": guard} if guard else {},
        listed=LISTED,
        local=Local(attachments=ATTACHED, netns_cookie=1),
        synced=True,
    )


def known(found: Desired) -> set[str]:
    """The second octets of the ranges that some rule means somebody by."""
    peers = found.policies.peers
    return {str(second) for second in range(16, 20) if peers.of(IPv4Address(f"172.{second}.1.9"))}


def written(found: Desired) -> int:
    return len(found.owners[RANGES].of_map("peer_ranges"))


@pytest.mark.parametrize(
    ("policies", "expected", "told"),
    [
        pytest.param((QUIET,), {"16"}, set(), id="what fits is known"),
        pytest.param((QUIET, ALSO), {"16", "18"}, set(), id="of several namespaces too"),
        pytest.param((QUIET, LOUD), {"16"}, {"loud/many"}, id="who names too many has none"),
        pytest.param((LOUD, QUIET), {"16"}, {"loud/many"}, id="whoever was there first"),
        pytest.param((QUIET, LOUD, ALSO), {"16", "18"}, {"loud/many"}, id="the largest of the namespace's goes first"),
        pytest.param(
            (policy("loud", "all", [CidrPeer(IPv4Network("0.0.0.0/0"), tuple(p.cidr for p in ranges(17, 40)))]), QUIET),
            {"16"},
            {"loud/all"},
            id="one range with many exceptions opens nothing",
        ),
        pytest.param(
            (QUIET, replace(LOUD, ingress=(Rule(peers=(*ranges(17, 40), *ranges(16, 4))),))),
            {"16"},
            {"loud/many"},
            id="what another names as well is that one's",
        ),
    ],
)
def test_who_names_the_most_ranges_loses_them(policies: tuple[Policy, ...], expected: set[str], told: set[str]) -> None:
    found = desired(cluster(*policies), SETTINGS, FRESH)
    assert known(found) == expected
    assert {str(one.name) for one in found.problems} == told
    assert written(found) <= ROOM
    assert found.policies.has_room


def test_pods_of_others_are_judged_as_they_were_whatever_one_namespace_names() -> None:
    """What denies needs all that it names; without room for that it would be void, and pass nothing."""
    guard = denying(*ranges(19, 2))
    before = desired(cluster(QUIET, guard=guard), SETTINGS, FRESH)
    after = desired(cluster(QUIET, LOUD, guard=guard), SETTINGS, before)
    assert known(after) == {"16", "19"}
    for one in ATTACHED:
        made = after.policies.pods[one.key]
        assert abi.RULES_UNKNOWN not in {made.ingress, made.egress}
    key = ATTACHED[0].key
    assert after.policies.pods[key] == before.policies.pods[key]


def test_ranges_come_back_when_there_is_room() -> None:
    small = policy("loud", "many", ranges(17, 3))
    crowded = desired(cluster(QUIET, LOUD), SETTINGS, FRESH)
    now = desired(cluster(QUIET, small), SETTINGS, crowded)
    now = desired(cluster(QUIET, small), SETTINGS, now, settle=True)
    assert (known(now), now.problems) == ({"16", "17"}, ())
    again = desired(cluster(QUIET, LOUD), SETTINGS, now)
    assert known(again) == {"16", "17"}, "what pods may still have the rules of stays until all is written"
    again = desired(cluster(QUIET, LOUD), SETTINGS, again, settle=True)
    assert known(again) == {"16"}
    assert [str(one.name) for one in again.problems] == ["loud/many"]


@pytest.mark.parametrize("both_ways", [False, True], ids=["one way", "both ways"])
def test_ranges_have_room_among_rules_too_for_each_rule_set_that_names_them(both_ways: bool) -> None:  # noqa: FBT001
    """Who names a range twice, in rules of both directions, takes two entries of the map of rules."""
    settings = replace(SETTINGS, range_room=100, rule_room=40)
    loud = policy("loud", "many", ranges(17, 30))
    if both_ways:
        loud = replace(loud, egress=loud.ingress)
    found = desired(cluster(QUIET, loud), settings, FRESH)
    assert known(found) == ({"16"} if both_ways else {"16", "17"})
    rules = [
        len(records.of_map("rules")) for owner, records in found.owners.items() if owner.kind is OwnerKind.RULE_SET
    ]
    assert sum(rules) <= 40 + len(rules), "and one of everybody for each set"


def test_without_room_for_what_denies_nothing_that_denies_is_believed() -> None:
    found = desired(cluster(QUIET, guard=denying(*ranges(19, ROOM + 1))), SETTINGS, FRESH)
    assert not found.policies.has_room
    assert {found.policies.pods[one.key].egress for one in ATTACHED} == {abi.RULES_UNKNOWN}
