"""What agent and programs do with packets is what the oracle says, whatever changes, dies, or finds no room."""

import dataclasses
from collections.abc import Iterator
from random import Random

import pytest

from maps import abi
from maps.apply import read
from maps.errors import MapFull
from tests.bpf.conftest import loaded
from tests.bpf.cpus import FIRST_CPU, on_cpu
from tests.bpf.datapath import Datapath
from tests.policy.cast import (
    WORLD,
    block,
    cluster_policy,
    flow,
    has,
    in_namespaces,
    network_policy,
    pod,
    pods,
    where,
    with_policies,
)
from tests.policy.deaths import Crossing
from tests.policy.facts import Flow, Object, World
from tests.policy.frames import Way
from tests.policy.judged import Judged
from tests.policy.oracle import verdict
from tests.policy.trial import Trial
from tests.policy.worlds import change, flows, world

pytestmark = pytest.mark.kernel

__all__ = ["loaded"]


def with_uids(there: World) -> World:
    """As a cluster has it."""
    told = [{**one, "metadata": {**one["metadata"], "uid": f"uid-{at}"}} for at, one in enumerate(there.pods)]
    return dataclasses.replace(there, pods=told)


def pods_of(selector: Object) -> Object:
    """A peer or subject of a ClusterNetworkPolicy: pods of any namespace."""
    return {"pods": {"namespaceSelector": {}, "podSelector": selector}}


def tcp(port: int) -> Object:
    """A port of a ClusterNetworkPolicy."""
    return {"tcp": {"destinationPort": {"number": port}}}


BLOCK = 5  # histories of a test
BLOCKS = 10
DEATHS = 3  # of one change
ADMIN = "Admin"
ANY: Object = {"namespaces": {}}
AMONG = with_uids(WORLD)


@pytest.fixture(autouse=True)
def _one_cpu() -> Iterator[None]:
    """Copies of flows are a CPU's own."""
    with on_cpu(FIRST_CPU):
        yield


@pytest.mark.parametrize("first", range(0, BLOCK * BLOCKS, BLOCK))
def test_packets_agree_with_the_oracle_through_changes_and_restarts(loaded: Datapath, first: int) -> None:
    trials = [Trial(loaded, seed) for seed in range(first, first + BLOCK)]
    assert [str(wrong) for trial in trials for wrong in trial.wrong()] == []
    assert sum(trial.flows for trial in trials) > 400
    assert sum(trial.again for trial in trials) > 1000


@pytest.mark.parametrize("seed", range(10))
def test_each_write_leaves_every_end_of_a_flow_at_its_old_or_its_new_rules(loaded: Datapath, seed: int) -> None:
    assert [str(leak) for leak in Crossing.drawn(loaded, seed).watched()] == []


@pytest.mark.parametrize("seed", [*range(200, 206), 140, 161])
def test_so_does_each_write_of_several_changes_at_once(loaded: Datapath, seed: int) -> None:
    assert [str(leak) for leak in Crossing.drawn(loaded, seed, changes=4).watched()] == []


@pytest.mark.parametrize("seed", range(12, 16))
def test_an_agent_that_is_killed_leaves_nothing_open_and_is_followed_by_one_that_ends_it(
    loaded: Datapath, seed: int
) -> None:
    crossing = Crossing.drawn(loaded, seed)
    crossing.watched()
    for at in Random(seed).sample(range(crossing.writes + 1), min(DEATHS, crossing.writes + 1)):  # noqa: S311
        assert [str(leak) for leak in crossing.killed(at, every=8)] == []


DENY_B = {"action": "Deny", "from": [pods_of(has(pod="b"))]}
B_ON_TWO = {"action": "Accept", "from": [pods_of(where("pod", "In", "b", "c"))], "protocols": [tcp(2)]}


@pytest.mark.parametrize("text", ["y/b > x/a TCP/80", "y/b6 > x/a6 UDP/80"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            [cluster_policy(ADMIN, 1, ANY, ingress=[DENY_B])],
            [
                cluster_policy(ADMIN, 1, ANY, ingress=[DENY_B]),
                cluster_policy(ADMIN, 2, ANY, ingress=[B_ON_TWO]),
            ],
            id="another policy means the peer, too, and the old rule set does not know its new class",
        ),
        pytest.param(
            [cluster_policy(ADMIN, 1, ANY, ingress=[DENY_B])],
            [cluster_policy(ADMIN, 1, ANY, ingress=[B_ON_TWO, DENY_B])],
            id="a policy that denies a peer gets another rule for it before that one",
        ),
        pytest.param(
            [cluster_policy(ADMIN, 1, ANY, ingress=[DENY_B])],
            [
                cluster_policy(
                    ADMIN,
                    1,
                    ANY,
                    ingress=[
                        {"action": "Deny", "from": [pods_of(where("pod", "In", "b", "c"))]},
                        {"action": "Accept", "from": [pods_of(has(pod="b"))]},
                    ],
                )
            ],
            id="a class that was denied is accepted, and who is denied has another one",
        ),
        pytest.param(
            [
                network_policy("x", ingress=[]),
                cluster_policy(ADMIN, 1, ANY, ingress=[{"action": "Pass", "from": [pods_of(has(pod="b"))]}]),
            ],
            [network_policy("x", ingress=[{}]), cluster_policy(ADMIN, 1, ANY, ingress=[DENY_B])],
            id="who is as everybody else, denied, is not any more when everybody is accepted",
        ),
    ],
)
def test_what_is_denied_before_and_after_is_denied_at_each_write(
    loaded: Datapath, before: list[Object], after: list[Object], text: str
) -> None:
    one, two = with_policies(AMONG, *before), with_policies(AMONG, *after)
    assert not ever_passes(loaded, one, two, text)


def ever_passes(loaded: Datapath, one: World, two: World, text: str) -> bool:
    """Whether a flow that both worlds deny passes between two writes of the change."""
    node, asked = Judged(loaded, "n1"), flow(one, text)
    assert not verdict(one, asked, here="n1").allowed
    assert not verdict(two, asked, here="n1").allowed
    node.apply(one)
    passed: list[bool] = []
    node.on_write = lambda: passed.append(node.passes(asked, node.port()))
    node.sync(two)
    node.on_write = None
    assert len(passed) > 1
    return any(passed)


def test_no_pod_that_is_told_more_apart_passes_while_others_are_not(loaded: Datapath) -> None:
    """Several of a kind, since which of a node's pods is written first is not said."""
    some = [pod(f"x/{name}", "n1", f"10.1.0.{at}", kind=name[0]) for at, name in enumerate(NAMES, 30)]
    there = with_uids(dataclasses.replace(WORLD, pods=some))
    deny = cluster_policy(ADMIN, 1, ANY, ingress=[{"action": "Deny", "from": [pods_of(has(kind="a"))]}])
    more = {"action": "Accept", "from": [pods_of(where("kind", "In", "a", "z"))], "protocols": [tcp(2)]}
    subject = pods_of(has(kind="b"))
    node = Judged(loaded, "n1")
    node.apply(with_policies(there, deny))
    asked = [flow(there, f"x/{one} > x/{two} TCP/80") for one in NAMES[::2] for two in NAMES[1::2]]
    passed: list[Flow] = []
    node.on_write = lambda: passed.extend(one for one in asked if node.passes(one, node.port()))
    node.sync(with_policies(there, deny, cluster_policy(ADMIN, 2, subject, ingress=[more])))
    assert passed == []


@pytest.mark.parametrize("home", ["n1", "n2"], ids=["of this node", "of another"])
def test_a_flow_that_is_judged_anew_while_its_peer_becomes_nobodys_does_not_stay(loaded: Datapath, home: str) -> None:
    """What maps hold of a peer is cleared last, and revisions are raised before."""
    client = pod("x/z", home, "10.1.0.77" if home == "n1" else "10.2.0.77", kind="a")
    told = dataclasses.replace(WORLD, pods=[*WORLD.pods, client])
    policy = network_policy("x", ingress=[{"from": [{"podSelector": has(kind="a")}]}])
    one = with_policies(with_uids(told), policy)
    others = [each for each in one.pods if each["metadata"]["name"] != "z"]
    (asking,) = (each for each in one.pods if each["metadata"]["name"] == "z")
    plain = {**asking, "metadata": {**asking["metadata"], "labels": {"kind": "b"}}}
    two = dataclasses.replace(one, pods=[*others, plain])
    asked = flow(one, "x/z > x/a UDP/80")
    node = Judged(loaded, "n1")
    node.apply(one)
    begun = Way(asked, node.port(), opens=True)
    assert node.carries(begun)
    passed: list[bool] = []
    node.on_write = lambda: passed.append(node.carries(begun))
    node.sync(two)
    node.on_write = None
    assert not verdict(two, asked, here="n1").allowed
    assert passed[0]
    assert not node.carries(begun)


NAMES = [f"{kind}{number}" for number in range(5) for kind in "ab"]


def test_a_namespace_s_label_that_moves_both_ends_opens_nothing_between_them(loaded: Datapath) -> None:
    teams = [has(team=name) for name in ("red", "blue")]
    both = [
        cluster_policy(ADMIN, at, {"namespaces": one}, ingress=[{"action": "Deny", "from": [{"namespaces": one}]}])
        for at, one in enumerate(teams)
    ]
    more = dataclasses.replace(WORLD, pods=[*WORLD.pods, pod("x/c", "n2", "10.2.0.9")])
    one = with_policies(with_uids(more), *both)
    red, *others = one.namespaces
    blue = {**red, "metadata": {**red["metadata"], "labels": {"team": "blue"}}}
    two = dataclasses.replace(one, namespaces=[blue, *others])
    assert not ever_passes(loaded, one, two, "x/c > x/a TCP/80")


@pytest.mark.parametrize("home", ["n1", "n2"], ids=["a client of this node", "of another"])
def test_rules_that_one_pod_leaves_and_another_keeps_are_the_new_ones_in_the_end(loaded: Datapath, home: str) -> None:
    """Until all is written the client is who it was for the rule set; then flows that had begun are judged anew."""
    deny_red = {"action": "Deny", "from": [pods_of(has(role="red"))]}
    reds = cluster_policy(ADMIN, 1, pods_of(has(role="red")), ingress=[deny_red])
    where_c = "10.1.0.77" if home == "n1" else "10.2.0.77"
    one, two = (
        with_policies(
            with_uids(
                dataclasses.replace(
                    WORLD,
                    pods=[
                        pod("x/c", home, where_c, role=client),
                        pod("x/d", "n1", "10.1.0.78", role=leaves),
                        pod("x/e", "n1", "10.1.0.79", role="red"),
                    ],
                )
            ),
            reds,
        )
        for client, leaves in (("blue", "red"), ("red", "blue"))
    )
    node, asked = Judged(loaded, "n1"), flow(one, "x/c > x/e TCP/80")
    node.apply(one)
    begun = Way(asked, node.port(), opens=True)
    assert node.carries(begun)
    node.apply(two)
    assert not verdict(two, asked, here="n1").allowed
    assert not node.carries(Way(asked, begun.sport))
    assert not node.passes(asked, node.port())


def test_what_numbers_stand_for_outlives_the_agent(loaded: Datapath) -> None:
    """Else a number is given another meaning, and events and counters of policies have no names."""
    there = with_policies(
        AMONG,
        network_policy("x", ingress=[{"from": [block("192.0.2.0/24")]}]),
        cluster_policy(ADMIN, 1, ANY, ingress=[DENY_B]),
    )
    node = Judged(loaded, "n1")
    node.apply(there)
    held = {name: read(loaded.tables[name]) for name in ("policies", "peer_classes", "rule_sets", "rules", "peers")}
    assert all(held.values())
    for _ in range(2):
        node.restart()
        node.sync(there)
        assert {name: read(loaded.tables[name]) for name in held} == held


def test_a_pod_whose_rules_changed_while_no_agent_ran_goes_on_until_peers_are_written(loaded: Datapath) -> None:
    told = [
        with_policies(AMONG, network_policy("x", ingress=[{"from": [peer], "ports": [{"port": 80}]} for peer in peers]))
        for peers in ([pods(has(pod="b"))], [pods(has(pod="b")), in_namespaces(has(team="blue"))])
    ]
    node, asked = Judged(loaded, "n1"), flow(AMONG, "x/b > x/a TCP/80")
    node.apply(told[0])
    node.restart()
    passed: list[bool] = []
    node.on_write = lambda: passed.append(node.passes(asked, node.port()))
    node.sync(told[1])
    node.on_write = None
    waits = passed.count(False)
    assert passed[: passed.index(False)].count(True) > len(told), "rules are written first"
    assert passed[passed.index(False) :][:waits] == [False] * waits, "and then at once who is which peer"
    assert node.passes(asked, node.port())


def test_a_class_number_is_said_before_and_after_any_rule_means_it() -> None:
    """A new agent takes those that are said for all that there are."""
    order = abi.MAPS["peer_classes"].order, abi.MAPS["rules"].order
    assert order[0] < order[1]


@pytest.mark.parametrize(
    ("sizes", "flags"),
    [
        pytest.param({"rules": 40}, {"--max-rules"}, id="rules"),
        pytest.param({"peers": 5, "peer_ranges": 4}, {"--max-peers", "--max-prefixes"}, id="peers and ranges"),
    ],
)
def test_what_finds_no_room_is_refused_by_name_and_opens_nothing(sizes: dict[str, int], flags: set[str]) -> None:
    datapath, refused = Datapath.load(sizes), set[str]()
    leaks: list[str] = []
    for seed in range(SMALL):
        rng = Random(seed)  # noqa: S311  no secret
        there = world(rng)
        node = Judged(datapath, there.nodes[seed % len(there.nodes)]["metadata"]["name"])
        for step in range(3):
            there = change(there, rng).world if step else there
            refused |= refusals(node, there, flags)
            may = {one: verdict(there, one, here=node.name).allowed for one in flows(there, rng, 40) if node.asks(one)}
            leaks += [f"seed {seed}, step {step}: {one}" for one in may if node.passes(one, node.port()) > may[one]]
    datapath.close()
    assert leaks == []
    assert refused == flags


SMALL = 8  # worlds for small maps


def refusals(node: Judged, there: World, flags: set[str]) -> set[str]:
    """Bring the node to a world that may not fit; the options that what it says then names."""
    try:
        node.apply(there)
    except MapFull as full:
        return {flag for flag in flags if flag in str(full)}
    return set()
