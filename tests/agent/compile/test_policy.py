"""What a change does not concern stays the identical value, and no pod's flows are judged anew for another's sake."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from agent.compile.identity import identity
from agent.compile.policy import policies
from agent.compile.policy_records import CLASSES, NAMES, Update, set_owner
from agent.compile.policy_state import Policies
from agent.compile.records import NOTHING, OwnerKind
from agent.compile.settings import Settings
from agent.model.attachment import Attachment, AttachmentKey, Veth
from agent.model.cluster import Cluster
from agent.model.name import ObjectName
from agent.model.node import Namespace, Node, Pod
from agent.model.policy import (
    CidrPeer,
    ContainerPort,
    NamedPort,
    NodePeer,
    Operator,
    PeerPod,
    PodPeer,
    Policy,
    PortRange,
    Requirement,
    Rule,
    Selector,
    Tier,
    Verdict,
)
from agent.model.service import Protocol
from maps import abi

SETTINGS = Settings("here", network_policy=True)
LISTED = frozenset({"NetworkPolicy", "ClusterNetworkPolicy", "PeerPod"})
TCP = Protocol.TCP
HOME = "x"


def name(text: str) -> ObjectName:
    return ObjectName(HOME, text)


def attachment(number: int) -> Attachment:
    return Attachment(
        container_id=f"c{number}",
        interface="eth0",
        endpoint_id=number,
        slot=number,
        netns="",
        netns_cookie=number,
        mac=f"02:00:00:00:00:{number:02x}",
        link=Veth(f"swp{number}", 10 + number),
        ipv4=IPv4Address(f"10.0.0.{number}"),
        pod=name(f"pod-{number}"),
        pod_uid=f"uid-{number}",
    )


def pod(one: Attachment, **labels: str) -> Pod:
    assert one.pod
    return Pod(one.pod, one.pod_uid, "here", one.addresses, labels=tuple(sorted(labels.items())))


def peer(text: str, ip: str, **labels: str) -> PeerPod:
    return PeerPod(name(text), tuple(sorted(labels.items())), (IPv4Address(ip),))


def labelled(**labels: str) -> Selector:
    return Selector(tuple(Requirement(key, Operator.IN, frozenset({held})) for key, held in sorted(labels.items())))


def pods(**labels: str) -> PodPeer:
    return PodPeer(labelled(**labels), namespace=HOME)


def policy(
    text: str, subject: PodPeer, ingress: tuple[Rule, ...] | None = (), egress: tuple[Rule, ...] | None = None
) -> Policy:
    return Policy(name(text), subject, ingress, egress)


def by_name(*policies: Policy) -> Mapping[ObjectName, Policy]:
    return {one.name: one for one in policies}


ONE, TWO, THREE = attachment(1), attachment(2), attachment(3)
ATTACHED: Mapping[AttachmentKey, Attachment] = {one.key: one for one in (ONE, TWO, THREE)}
FROM_DB = policy("web", pods(app="web"), (Rule(peers=(pods(app="db"),)),))
FROM_UI = policy("api", pods(app="api"), (Rule(peers=(pods(app="ui"),)),))
DB, UI = peer("db", "10.0.1.1", app="db"), peer("ui", "10.0.1.2", app="ui")
CLUSTER = Cluster(
    nodes={"here": Node("here")},
    pods={one.name: one for one in (pod(ONE, app="web"), pod(TWO, app="api"), pod(THREE, app="free"))},
    namespaces={HOME: Namespace(HOME)},
    policies=by_name(FROM_DB, FROM_UI),
    peers={one.name: one for one in (DB, UI)},
    listed=LISTED,
    synced=True,
)


def compiled(
    cluster: Cluster,
    before: Policies | None = None,
    *,
    attachments: Mapping[AttachmentKey, Attachment] = ATTACHED,
    settings: Settings = SETTINGS,
    settle: bool = False,
) -> tuple[Policies, Update]:
    return policies(cluster, settings, frozenset(), attachments, before or Policies(), settle=settle)


def settled(cluster: Cluster, before: Policies | None = None) -> Policies:
    """After all has been written."""
    now, _ = compiled(cluster, before)
    return compiled(cluster, now, settle=True)[0] if not now.is_settled else now


def raised(before: Policies, now: Policies) -> set[str]:
    """The attachments whose flows are judged anew."""
    return {key[0] for key, one in now.pods.items() if before.pods[key].revision != one.revision}


def changed_pod(cluster: Cluster, one: Attachment, **labels: str) -> Cluster:
    assert one.pod
    return replace(cluster, pods={**cluster.pods, one.pod: pod(one, **labels)})


def changed_peer(cluster: Cluster, *now: PeerPod) -> Cluster:
    return replace(cluster, peers={**cluster.peers, **{one.name: one for one in now}})


def governed(*policies: Policy) -> Cluster:
    return replace(CLUSTER, policies=by_name(*policies))


def homed(namespace: Namespace) -> Cluster:
    return replace(CLUSTER, namespaces={HOME: namespace})


BEFORE = settled(CLUSTER)
OF_NOBODY = policy("none", pods(app="nobody"))
OF_ALL = policy("all", PodPeer(namespace=HOME), None, (Rule(),))


def test_pods_have_the_sets_of_the_policies_that_select_them() -> None:
    one, two, three = BEFORE.pods.values()
    assert one.ingress >= abi.RULES_FIRST
    assert two.ingress >= abi.RULES_FIRST
    assert one.ingress != two.ingress
    assert (one.egress, three.ingress, three.egress) == (abi.RULES_NONE, abi.RULES_NONE, abi.RULES_NONE)
    assert [held.revision for held in (one, two, three)] == [identity(each) for each in (ONE, TWO, THREE)]


def test_pods_of_the_same_policies_share_a_set() -> None:
    found = settled(changed_pod(CLUSTER, THREE, app="web"))
    one, _, three = found.pods.values()
    assert one.ingress == three.ingress
    assert len(found.sets) == 2


def test_nothing_new_is_the_identical_value_and_no_record() -> None:
    now, made = compiled(CLUSTER, BEFORE)
    assert now.pods is BEFORE.pods
    assert made == {}
    now, made = compiled(replace(CLUSTER, services={}), now)
    assert now.pods is BEFORE.pods
    assert made == {}


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param(changed_pod(CLUSTER, ONE, app="web", more="1"), set(), id="a label that no rule means: nobody's"),
        pytest.param(changed_pod(CLUSTER, THREE, app="db"), {"c1"}, id="one that another's rules mean: that other's"),
        pytest.param(changed_pod(CLUSTER, THREE, app="web"), {"c3"}, id="a label that selects: its own"),
        pytest.param(changed_pod(CLUSTER, ONE, app="ui"), {"c1", "c2"}, id="both: its own, and the other's"),
        pytest.param(
            changed_peer(CLUSTER, peer("db", "10.0.1.1", app="ui")),
            {"c1", "c2"},
            id="another node's pod: of both rules",
        ),
        pytest.param(changed_peer(CLUSTER, peer("db", "10.0.1.9", app="db")), {"c1"}, id="its address"),
        pytest.param(changed_peer(CLUSTER, peer("new", "10.0.1.9", app="ui")), {"c2"}, id="a new pod of another node"),
        pytest.param(changed_peer(CLUSTER, peer("new", "10.0.1.9", app="free")), set(), id="one that no rule means"),
        pytest.param(governed(policy("web", pods(app="web")), FROM_UI), {"c1"}, id="a policy: those it selects"),
        pytest.param(governed(FROM_UI), {"c1"}, id="a policy that goes: those it selected"),
        pytest.param(governed(FROM_DB, FROM_UI, OF_NOBODY), set(), id="one that selects nobody here"),
        pytest.param(governed(FROM_DB, FROM_UI, OF_ALL), {"c1", "c2", "c3"}, id="one that selects all"),
        pytest.param(homed(Namespace(HOME, audits=True)), {"c1", "c2", "c3"}, id="the namespace's mode"),
        pytest.param(homed(Namespace(HOME, (("team", "red"),))), set(), id="its label that no rule means"),
    ],
)
def test_revisions_rise_where_answers_change(after: Cluster, expected: set[str]) -> None:
    now, _ = compiled(after, BEFORE)
    assert raised(BEFORE, now) == expected
    for key, one in now.pods.items():
        assert (one is BEFORE.pods[key]) or key[0] in expected or one.revision == BEFORE.pods[key].revision
    assert raised(now, settled(after, BEFORE)) <= expected, "what is only tidied up concerns nobody else"


def test_a_peer_s_change_writes_its_own_record_alone() -> None:
    _, made = compiled(changed_peer(CLUSTER, peer("db", "10.0.1.9", app="db")), BEFORE)
    assert {owner.kind for owner in made} == {OwnerKind.PEER}
    assert sorted(owner.name for owner in made) == ["10.0.1.1", "10.0.1.9"]


def test_a_policy_s_change_leaves_the_other_s_rule_set_alone() -> None:
    after = replace(
        CLUSTER,
        policies=by_name(
            replace(FROM_DB, ingress=(Rule(peers=(pods(app="db"),), ports=(PortRange(TCP, 1, 2),)),)), FROM_UI
        ),
    )
    now, made = compiled(after, BEFORE)
    other = next(one for one in now.sets.values() if "x/api" in one.key.policies[0])
    assert set_owner(other) not in made
    assert NAMES not in made
    assert CLASSES not in made


def test_a_set_that_pods_may_still_have_stays_until_all_is_written() -> None:
    after = replace(CLUSTER, policies=by_name(policy("web", pods(app="web")), FROM_UI))
    now, made = compiled(after, BEFORE)
    old = next(one for one in BEFORE.sets.values() if "x/web" in one.key.policies[0])
    assert old.digest in now.retired
    assert made.get(set_owner(old)) is not NOTHING
    done, made = compiled(after, now, settle=True)
    assert not done.retired
    assert made[set_owner(old)] is NOTHING
    assert done.ids.sets.known.keys() == {one.digest for one in done.sets.values()}


def test_numbers_stay_through_a_policy_s_going_and_coming() -> None:
    without = settled(replace(CLUSTER, policies=by_name(FROM_UI)), BEFORE)
    again = settled(CLUSTER, without)
    kept = next(one.digest for one in BEFORE.sets.values() if "x/api" in one.key.policies[0])
    back = next(one.digest for one in BEFORE.sets.values() if "x/web" in one.key.policies[0])
    assert again.ids.sets.known[kept] == without.ids.sets.known[kept] == BEFORE.ids.sets.known[kept]
    assert again.ids.sets.known[back] not in BEFORE.ids.sets.known.values()


# ---- what is not known yet -----------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", sorted(LISTED - {"PeerPod"}))
def test_while_a_kind_is_not_listed_all_stays_and_who_comes_passes_nothing(missing: str) -> None:
    cluster = replace(CLUSTER, listed=LISTED - {missing}, policies={})
    new = attachment(4)
    now, made = compiled(cluster, BEFORE, attachments={**ATTACHED, new.key: new})
    assert made == {}
    assert all(now.pods[key] is one for key, one in BEFORE.pods.items())
    assert (now.pods[new.key].ingress, now.pods[new.key].egress) == (abi.RULES_UNKNOWN, abi.RULES_UNKNOWN)
    assert not compiled(cluster)[0].is_known


def test_pods_of_the_cluster_are_needed_when_rules_mean_them_and_waited_for() -> None:
    now, made = compiled(replace(CLUSTER, listed=LISTED - {"PeerPod"}, peers={}))
    assert (now.needs_peers, now.is_known, made) == (True, False, {})
    assert {one.ingress for one in now.pods.values()} == {abi.RULES_UNKNOWN}


@pytest.mark.parametrize(
    ("rule", "needed"),
    [
        pytest.param(Rule(), False, id="everybody"),
        pytest.param(Rule(peers=(CidrPeer(IPv4Network("10.0.0.0/8")),)), False, id="a range"),
        pytest.param(Rule(peers=(NodePeer(),)), False, id="nodes"),
        pytest.param(Rule(peers=(pods(app="db"),)), True, id="pods"),
        pytest.param(Rule(ports=(NamedPort("web"),)), True, id="named ports of peers"),
        pytest.param(Rule(ports=(PortRange(TCP, 80, 80),)), False, id="numbered ports"),
    ],
)
def test_the_cluster_s_pods_are_watched_only_where_a_rule_needs_them(rule: Rule, needed: bool) -> None:  # noqa: FBT001
    web = ContainerPort("web", TCP, 80)
    cluster = replace(
        CLUSTER,
        policies=by_name(policy("all", PodPeer(namespace=HOME), None, (rule,))),
        peers={DB.name: replace(DB, ports=(web,))},
    )
    assert settled(cluster).needs_peers == needed


def test_nor_for_a_policy_that_selects_nobody_of_this_node() -> None:
    nobody = policy("none", pods(app="nobody"), (Rule(peers=(pods(app="db"),)),))
    found = settled(replace(CLUSTER, policies=by_name(nobody)))
    assert (found.needs_peers, dict(found.sets)) == (False, {})


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param(None, abi.RULES_UNKNOWN, id="not in the API yet"),
        pytest.param(replace(pod(ONE, app="web"), uid="another"), abi.RULES_UNKNOWN, id="another pod's, of its name"),
        pytest.param(
            replace(pod(ONE, app="free"), uid="another", static_uid=ONE.pod_uid),
            abi.RULES_NONE,
            id="a mirror",
        ),
        pytest.param(replace(pod(ONE, app="free"), uid=""), abi.RULES_NONE, id="without a uid: its own"),
        pytest.param(pod(ONE, app="free"), abi.RULES_NONE, id="its own, which no policy selects"),
    ],
)
def test_a_pod_is_judged_once_its_own_object_is_known(told: Pod | None, expected: int) -> None:
    held = {told.name: told} if told else {}
    found, _ = compiled(replace(CLUSTER, pods=held), attachments={ONE.key: ONE})
    assert found.pods[ONE.key].ingress == expected


def test_an_attachment_without_a_pod_has_no_rules() -> None:
    bare = replace(ONE, pod=None, pod_uid="")
    found, _ = compiled(CLUSTER, attachments={bare.key: bare})
    assert (found.pods[bare.key].ingress, found.pods[bare.key].egress) == (abi.RULES_NONE, abi.RULES_NONE)


def test_another_interface_of_the_same_key_inherits_nothing() -> None:
    other = replace(ONE, mac="02:00:00:00:00:77")
    now, _ = compiled(replace(CLUSTER, listed=frozenset()), BEFORE, attachments={**ATTACHED, other.key: other})
    assert now.pods[other.key].ingress == abi.RULES_UNKNOWN
    assert now.pods[other.key].revision == identity(other)


def test_without_policy_nobody_has_rules() -> None:
    found, made = compiled(CLUSTER, settings=replace(SETTINGS, network_policy=False))
    assert {(one.ingress, one.egress) for one in found.pods.values()} == {(abi.RULES_NONE, abi.RULES_NONE)}
    assert (made, found.is_known) == ({}, True)


# ---- what is written -----------------------------------------------------------------------------------------


def rules_of(update: Update) -> dict[tuple[int, int], abi.Rule]:
    """All rules, by set and class, in the order in which they are written."""
    found = {}
    for records in update.values():
        for key, value in records.of_map("rules").items():
            at = abi.RuleKey.unpack(key)
            found[at.rules, at.peer_class] = abi.Rule.unpack(value)
    return found


def test_everybody_s_rule_is_written_after_those_of_classes() -> None:
    """One that was as everybody until now has its own first."""
    _, made = compiled(CLUSTER)
    for number in {number for number, _ in rules_of(made)}:
        classes = [peer_class for of, peer_class in rules_of(made) if of == number]
        assert classes[-1] == 0
        assert classes.count(0) == 1


def test_a_class_that_is_told_what_everybody_is_has_no_rule() -> None:
    deny = Policy(
        ObjectName("", "deny"),
        PodPeer(),
        (Rule(Verdict.DENY, (pods(app="db"),)),),
        tier=Tier.ADMIN,
    )
    found, made = compiled(replace(CLUSTER, policies={}, cluster_policies={"deny": deny}))
    (number,) = {number for number, _ in rules_of(made)}
    db = found.class_of(found.peers.of(IPv4Address("10.0.1.1")))
    assert {at: rule.verdict for at, rule in rules_of(made).items()} == {
        (number, db): abi.PolicyVerdict.POLICY_DENY,
        (number, 0): abi.PolicyVerdict.POLICY_ACCEPT,
    }
    assert found.peers.of(IPv4Address("10.0.1.2")) == frozenset(), "an address that no atom means is in no class"


def test_what_an_earlier_agent_left_is_said_again() -> None:
    """Else nobody owns it, and it is removed. What pods may was another's to say: it is asked anew, once."""
    now, made = compiled(CLUSTER, Policies(ids=BEFORE.ids, pods=BEFORE.pods))
    assert {NAMES, CLASSES, *map(set_owner, BEFORE.sets.values())} <= made.keys()
    assert now.ids == BEFORE.ids
    assert {key: replace(one, revision=0) for key, one in now.pods.items()} == {
        key: replace(one, revision=0) for key, one in BEFORE.pods.items()
    }
