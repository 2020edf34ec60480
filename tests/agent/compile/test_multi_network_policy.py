"""Which policies are for which interface of a pod, and whose an address is on which network."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from agent.compile.desired import Desired, desired
from agent.compile.pod_policy import recovered_networks
from agent.compile.policy import policies
from agent.compile.policy_ids import PolicyIds, with_networks
from agent.compile.policy_state import Policies
from agent.compile.records import NOTHING
from agent.compile.rule_set import policy_label
from agent.compile.settings import Settings
from agent.compile.subject import subject_name
from agent.model.attachment import Attachment, DeviceInPod
from agent.model.cluster import Cluster
from agent.model.local import Local
from agent.model.name import ObjectName
from agent.model.network import NetworkDefinition, Plugin, PluginList
from agent.model.node import Namespace, Node
from agent.model.policy import (
    CidrPeer,
    ContainerPort,
    Direction,
    NamedPort,
    PeerPod,
    PodPeer,
    Policy,
    Rule,
)
from agent.model.service import Protocol
from maps import abi
from tests.agent.compile.test_policy import LISTED, attachment, labelled, name, pod

SETTINGS = Settings("here", network_policy=True, multi_network_policy=True)
A, B, WIRE = name("a"), name("b"), name("wire")  # two networks apart, and one of veths
TCP = Protocol.TCP
PORTS = (ContainerPort("http", TCP, 8080),)


def definition(of: ObjectName, kind: str) -> NetworkDefinition:
    plugin = Plugin("sluiceway-cni", frozenset(), "{}", kind)
    return NetworkDefinition(of, PluginList(of.name, "1.0.0", (plugin,)))


def further(of: Attachment, number: int, network: ObjectName, ip: str, *, is_vf: bool) -> Attachment:
    link = replace(of.link, host_device=f"swp{number}", ifindex=10 + number)
    if is_vf:
        link = replace(
            of.link, host_device="", ifindex=0, in_pod=DeviceInPod(f"0000:03:02.{number % 8}", (ip_address(ip),))
        )
    return replace(
        of,
        interface=f"net{number}",
        endpoint_id=number,
        slot=number,
        link=link,
        ipv4=IPv4Address(ip),
        is_first=False,
        network=network,
    )


ETH0, OTHER = attachment(1), attachment(2)
ON_A, ON_B = further(ETH0, 3, A, "10.9.0.1", is_vf=True), further(ETH0, 4, B, "10.9.0.1", is_vf=True)
ON_WIRE = further(ETH0, 5, WIRE, "10.0.0.5", is_vf=False)
EVERY = (ETH0, OTHER, ON_A, ON_B, ON_WIRE)


def peer(text: str, ip: str, on: Mapping[ObjectName, str] | None = None, **labels: str) -> PeerPod:
    told = tuple((network, (IPv4Address(one),)) for network, one in (on or {}).items())
    return PeerPod(name(text), tuple(sorted(labels.items())), (IPv4Address(ip),), PORTS, further=told)


SAME = "10.9.0.7"  # an address that three pods have, each on a network of its own
FIRST = peer("first", "10.0.1.1", {A: SAME}, app="first")
SECOND = peer("second", "10.0.1.2", {B: SAME}, app="second")
THIRD = peer("third", SAME, app="third")
WIRED = peer("wired", "10.0.1.4", {WIRE: "10.0.1.40"}, app="wired")
CLUSTER = Cluster(
    nodes={"here": Node("here")},
    pods={one.name: one for one in (pod(ETH0, app="web"), pod(OTHER, app="first"))},
    namespaces={ETH0.pod.namespace if ETH0.pod else "": Namespace("x")},
    networks={one.name: one for one in (definition(A, "sriov"), definition(B, "sriov"), definition(WIRE, "veth"))},
    peers={one.name: one for one in (FIRST, SECOND, THIRD, WIRED)},
    listed=LISTED | {"MultiNetworkPolicy"},
    synced=True,
)


def pods(*networks: ObjectName, **labels: str) -> PodPeer:
    return PodPeer(labelled(**labels), namespace="x", networks=frozenset(networks))


def policy(text: str, *networks: ObjectName, ingress: Iterable[Rule] | None = (), app: str = "web") -> Policy:
    """A MultiNetworkPolicy; without networks a NetworkPolicy."""
    rules = None if ingress is None else tuple(ingress)
    return Policy(name(text), pods(app=app), rules, networks=frozenset(networks) if networks else None)


def governed(*those: Policy, cluster: Cluster = CLUSTER) -> Cluster:
    multi = {one.name: one for one in those if one.networks is not None}
    return replace(cluster, multi_policies=multi, policies={one.name: one for one in those if one.networks is None})


def compiled(
    cluster: Cluster, before: Policies | None = None, *, those: Iterable[Attachment] = EVERY, settle: bool = False
) -> Policies:
    attachments = {one.key: one for one in those}
    return policies(cluster, SETTINGS, frozenset(), attachments, before or Policies(), settle=settle)[0]


def names(now: Policies, one: Attachment) -> list[str]:
    """The policies that an interface has, in either direction."""
    subject = subject_name(one)
    assert subject is not None
    return sorted(policy_label(each) for each in now.subjects[subject].policies)


def passes(now: Policies, one: Attachment, address: str, port: int = 80, way: Direction = Direction.INGRESS) -> bool:
    """Whether an interface's rules let pass what is from an address, or to it, on the interface's network."""
    subject = subject_name(one)
    assert subject is not None
    key = now.subjects[subject].ingress if way is Direction.INGRESS else now.subjects[subject].egress
    if key is None:
        return True
    peers = now.apart[one.network] if one.network and one.is_apart else now.peers
    said = now.readers[now.sets[key].digest].table(peers.of(ip_address(address)))
    ranges = [each for each in said.ports if each.protocol is TCP and each.low <= port <= each.high]
    return ranges[0].outcome.accepts if ranges else said.otherwise.accepts


NP, MULTI = "NetworkPolicy x/own", "MultiNetworkPolicy x/further"


@pytest.mark.parametrize(
    ("those", "expected"),
    [
        pytest.param([policy("own")], [[NP], [], [], [NP]], id="a NetworkPolicy is for the cluster's network"),
        pytest.param([policy("further", A)], [[], [MULTI], [], []], id="a MultiNetworkPolicy for its network alone"),
        pytest.param([policy("further", A, B)], [[], [MULTI], [MULTI], []], id="or for several"),
        pytest.param([policy("further", WIRE)], [[], [], [], [MULTI]], id="also for one of veths"),
        pytest.param(
            [policy("own"), policy("further", WIRE)], [[NP], [], [], [MULTI, NP]], id="there it adds to NetworkPolicies"
        ),
        pytest.param([policy("further", A, app="other")], [[], [], [], []], id="it selects pods by their labels"),
        pytest.param(
            [replace(policy("further", A), subject=PodPeer(namespace="y"))], [[], [], [], []], id="of its namespace"
        ),
        pytest.param(
            [replace(policy("further", A), networks=frozenset())], [[], [], [], []], id="without networks for nobody"
        ),
    ],
)
def test_which_policies_an_interface_has(those: list[Policy], expected: list[list[str]]) -> None:
    now = compiled(governed(*those))
    assert [names(now, one) for one in (ETH0, ON_A, ON_B, ON_WIRE)] == expected
    for one, has in zip((ETH0, ON_A, ON_B, ON_WIRE), expected, strict=True):
        assert (now.pods[one.key].ingress == abi.RULES_NONE) == (not has)


def test_an_address_is_somebody_else_on_each_network() -> None:
    now = compiled(
        governed(
            policy("own", ingress=[Rule(peers=(pods(app="third"),))]),
            policy("on-a", A, ingress=[Rule(peers=(pods(A, app="first"),))]),
            policy("on-b", B, ingress=[Rule(peers=(pods(B, app="first"),))]),
        )
    )
    assert [passes(now, one, SAME) for one in (ETH0, ON_A, ON_B)] == [True, True, False]
    assert not passes(now, ON_A, "10.0.1.1"), "where a pod is on the cluster's network says nothing of another"
    assert not passes(now, ETH0, "10.0.1.1")


def test_a_policy_for_two_networks_means_pods_where_they_are_on_each() -> None:
    everybody = Rule(peers=(pods(A, B),))
    now = compiled(governed(policy("both", A, B, ingress=[everybody])))
    assert [passes(now, one, SAME) for one in (ON_A, ON_B)] == [True, True]
    alone = replace(CLUSTER, peers={FIRST.name: FIRST})
    now = compiled(governed(policy("both", A, B, ingress=[everybody]), cluster=alone))
    assert [passes(now, one, SAME) for one in (ON_A, ON_B)] == [True, False]


def test_a_range_is_the_same_on_each_network() -> None:
    cidr = CidrPeer(ip_network("10.9.0.0/24"), ())
    now = compiled(governed(policy("on-a", A, ingress=[Rule(peers=(cidr,))])))
    assert passes(now, ON_A, SAME)
    assert not passes(now, ON_A, "10.9.1.7")


def test_what_a_pods_owner_says_of_a_further_network_is_no_word_about_the_clusters() -> None:
    rule = Rule(peers=(pods(app="first"), pods(app="wired")))
    now = compiled(governed(policy("own", ingress=[rule])))
    assert passes(now, ETH0, "10.0.1.4")
    assert not passes(now, ETH0, "10.0.1.40"), "an address that the pod's status has not"
    liar = replace(
        CLUSTER, peers={**CLUSTER.peers, THIRD.name: replace(THIRD, further=((WIRE, (ip_address("10.0.1.4"),)),))}
    )
    rule = Rule(peers=(pods(WIRE, app="third"),))
    now = compiled(governed(policy("wired", WIRE, ingress=[rule]), cluster=liar))
    assert not passes(now, ON_WIRE, "10.0.1.4"), "an address that another pod's status has"


def test_a_network_of_veths_is_the_clusters() -> None:
    now = compiled(governed(policy("wired", WIRE, ingress=[Rule(peers=(pods(WIRE),))])))
    assert passes(now, ON_WIRE, "10.0.1.40")
    assert not passes(now, ON_WIRE, "10.0.1.4"), "its first interface is on no further network"
    assert passes(now, ETH0, "10.0.1.4")
    on = replace(ON_WIRE, pod=OTHER.pod, pod_uid=OTHER.pod_uid, container_id="c2", slot=6, ipv4=IPv4Address("10.0.0.6"))
    now = compiled(governed(policy("wired", WIRE, ingress=[Rule(peers=(pods(WIRE),))])), those=(*EVERY, on))
    assert passes(now, ON_WIRE, "10.0.0.6"), "of this node's pods the attachment says it"


def test_vfs_of_this_node_know_one_another() -> None:
    beside = further(OTHER, 6, A, "10.9.0.2", is_vf=True)
    now = compiled(governed(policy("on-a", A, ingress=[Rule(peers=(pods(A, app="first"),))])), those=(*EVERY, beside))
    assert passes(now, ON_A, "10.9.0.2")
    first = replace(beside, network=None, ipv4=IPv4Address("10.8.0.2"))
    now = compiled(governed(policy("own", ingress=[Rule(peers=(pods(app="first"),))])), those=(ETH0, first))
    assert passes(now, ETH0, "10.8.0.2"), "a first interface that is a VF is on the cluster's network"


def test_of_a_pod_here_without_an_attachment_its_status_says_it() -> None:
    """As with DPDK; where it has one, that says it."""
    assert OTHER.pod is not None
    cluster = governed(policy("on-a", A, ingress=[Rule(peers=(pods(A, app="first"),))]))
    told = replace(cluster, peers={OTHER.pod: peer("pod-2", "10.0.0.2", {A: "10.9.0.3"}, app="first")})
    assert passes(compiled(told), ON_A, "10.9.0.3")
    now = compiled(told, those=(*EVERY, further(OTHER, 6, A, "10.9.0.2", is_vf=True)))
    assert [passes(now, ON_A, f"10.9.0.{host}") for host in (2, 3)] == [True, False]


def test_named_ports_are_those_of_pods_on_the_network() -> None:
    rule = Rule(ports=(NamedPort("http", TCP),))
    now = compiled(governed(replace(policy("on-a", A, ingress=None), egress=(rule,))))
    assert passes(now, ON_A, SAME, 8080, Direction.EGRESS)
    assert not passes(now, ON_A, SAME, 80, Direction.EGRESS)
    assert not passes(now, ON_A, "10.0.1.1", 8080, Direction.EGRESS)


def test_the_networks_number_stands_beside_each_address() -> None:
    cluster = governed(policy("both", A, B, ingress=[Rule(peers=(pods(A, B),))]))
    now, update = policies(cluster, SETTINGS, frozenset(), {one.key: one for one in EVERY}, Policies())
    keys = [key for records in update.values() for key in records.of_map("peers")]
    found = sorted((str(one.addr.ipv4_mapped), one.network) for one in map(abi.PeerKey.unpack, keys))
    number = {network: now.ids.networks.known[str(network)] for network in (A, B)}
    assert found == sorted([(SAME, number[A]), (SAME, number[B]), ("10.9.0.1", number[A]), ("10.9.0.1", number[B])])
    assert [now.pods[one.key].network for one in EVERY] == [0, 0, number[A], number[B], 0]
    packed = abi.PodPolicy.unpack(now.pods[ON_B.key].packed()[0])
    assert packed.network == number[B]


def test_numbers_outlive_the_agent_and_a_network_that_goes_leaves_nothing() -> None:
    cluster = governed(policy("both", A, B, ingress=[Rule(peers=(pods(A, B),))]))
    now = compiled(cluster, those=(ON_B,))
    known = recovered_networks({ON_B.key: ON_B}, now.pods)
    again = compiled(cluster, Policies(ids=with_networks(PolicyIds(), known), pods=now.pods))
    assert again.ids.networks.known[str(B)] == now.ids.networks.known[str(B)] != again.ids.networks.known[str(A)]
    left, update = policies(cluster, SETTINGS, frozenset(), {ETH0.key: ETH0, ON_A.key: ON_A}, again)
    gone = {owner.name for owner, records in update.items() if records is NOTHING}
    assert {f"{B} {SAME}", f"{B} 10.9.0.1"} <= gone
    assert [*left.apart] == [A]


def test_a_change_on_one_network_concerns_no_interface_of_another() -> None:
    cluster = governed(
        policy("own", ingress=[Rule(peers=(pods(app="first"),))]),
        policy("on-a", A, ingress=[Rule(peers=(pods(A, app="first"),))]),
        policy("on-b", B, ingress=[Rule(peers=(pods(B, app="first"),))]),
    )
    before = compiled(cluster)
    moved = replace(FIRST, further=((A, (IPv4Address("10.9.0.8"),)),))
    now = compiled(replace(cluster, peers={**cluster.peers, FIRST.name: moved}), before)
    raised = [one.interface for one in EVERY if now.pods[one.key].revision != before.pods[one.key].revision]
    assert raised == [ON_A.interface]
    assert now.apart[B] is before.apart[B]
    assert (passes(now, ON_A, "10.9.0.8"), passes(now, ON_A, SAME)) == (True, False)


def test_before_policies_are_listed_an_interface_passes_nothing() -> None:
    now = compiled(replace(CLUSTER, listed=LISTED))
    assert not now.is_known
    assert {one.ingress for one in now.pods.values()} == {abi.RULES_UNKNOWN}


def test_where_nobody_watches_them_networkpolicies_are_for_all_interfaces() -> None:
    settings = replace(SETTINGS, multi_network_policy=False)
    cluster = replace(governed(policy("own")), local=Local((), EVERY, 1))
    now = desired(cluster, settings, Desired())
    assert {one.network for one in now.attachments.values()} == {None}
    sets = {now.policies.pods[one.key].ingress for one in (ETH0, ON_A, ON_WIRE)}
    assert len(sets) == 1
    assert sets.isdisjoint({abi.RULES_NONE, abi.RULES_UNKNOWN})


def test_a_network_that_is_not_defined_is_a_problem_of_the_policy() -> None:
    cluster = replace(governed(policy("on-a", A, name("missing"))), local=Local((), EVERY, 1))
    now = desired(cluster, SETTINGS, Desired())
    (told,) = now.problems
    assert (told.kind, told.name) == ("MultiNetworkPolicy", name("on-a"))
    assert told.text == "there is no NetworkAttachmentDefinition x/missing"
    there = {**cluster.networks, name("missing"): definition(name("missing"), "sriov")}
    assert desired(replace(cluster, networks=there), SETTINGS, now).problems == ()
