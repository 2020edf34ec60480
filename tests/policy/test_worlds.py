"""Random worlds are such as a real API server accepts, can be drawn again, and reach every kind of verdict."""

import collections
import copy
import ipaddress
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings

from tests.policy.drawing import REAL_PORTS, Options
from tests.policy.drawn_objects import live_addresses
from tests.policy.facts import Flow, Object, World, addresses
from tests.policy.oracle import verdict
from tests.policy.worlds import change, events, flows, governed, histories, inhabited, world

SEEDS = 100
OPTIONS = [
    pytest.param(Options(), id="simulated"),
    pytest.param(Options(unknown=True, loose=True), id="simulated, with what other API servers take"),
    pytest.param(Options(real=True, prefix="run-"), id="real"),
]


def stages(options: Options) -> Iterator[World]:
    """Worlds, each after none and after some changes."""
    for seed in range(SEEDS):
        rng = Random(seed)  # noqa: S311  no secret
        there = world(rng, options)
        yield there
        for _ in range(5):
            there = change(there, rng, options).world
        yield there


@pytest.mark.parametrize("options", OPTIONS)
def test_objects_are_told_apart_by_their_names(options: Options) -> None:
    for there in stages(options):
        for held in (there.pods, there.network_policies, there.cluster_network_policies, there.namespaces):
            names = [(one["metadata"].get("namespace"), one["metadata"]["name"]) for one in held]
            assert len(names) == len(set(names))


@pytest.mark.parametrize("options", OPTIONS)
def test_no_two_pods_hold_an_address(options: Options) -> None:
    for there in stages(options):
        held = [one for pod in there.pods for one in addresses(pod)]
        assert len(held) == len(set(held))


@pytest.mark.parametrize("options", OPTIONS)
def test_network_policies_pass_the_api_s_validation(options: Options) -> None:
    for there in stages(options):
        for policy in there.network_policies:
            spec = policy["spec"]
            for rule, peers in [(rule, "from") for rule in spec.get("ingress", ())] + [
                (rule, "to") for rule in spec.get("egress", ())
            ]:
                assert set(rule) <= {peers, "ports"}
                assert all(set(peer) in ALLOWED_PEERS for peer in rule.get(peers, ()))
                assert all(map(_is_block, (peer["ipBlock"] for peer in rule.get(peers, ()) if "ipBlock" in peer)))
                assert all(map(_is_port, rule.get("ports", ())))


ALLOWED_PEERS = ({"podSelector"}, {"namespaceSelector"}, {"podSelector", "namespaceSelector"}, {"ipBlock"})


def _is_block(block: Object) -> bool:
    """Whether each exception is a part of the CIDR and not all of it."""
    whole = ipaddress.ip_network(block["cidr"], strict=False)
    parts = [ipaddress.ip_network(one) for one in block.get("except", ())]
    return all(one.version == whole.version and whole.prefixlen < one.prefixlen and one[0] in whole for one in parts)


def _is_port(entry: Object) -> bool:
    """Whether a range is one of numbers, in order, and no item is empty."""
    if "endPort" in entry:
        return isinstance(entry["port"], int) and entry["port"] <= entry["endPort"] <= 65535
    return bool(entry)


@pytest.mark.parametrize("options", OPTIONS)
def test_cluster_network_policies_pass_the_api_s_validation(options: Options) -> None:
    for there in stages(options):
        held = [one["spec"] for one in there.cluster_network_policies]
        ranks = [(spec["tier"], spec["priority"]) for spec in held]
        assert len(ranks) == len(set(ranks))
        for spec in held:
            assert len(spec["subject"]) == 1
            for rule, peers in [(rule, "from") for rule in spec.get("ingress", ())] + [
                (rule, "to") for rule in spec.get("egress", ())
            ]:
                kinds = [next(iter(peer)) for peer in rule[peers] if len(peer) == 1]
                assert 1 <= len(kinds) == len(rule[peers])
                named = any("destinationNamedPort" in entry for entry in rule.get("protocols", ()))
                assert not (named and {"networks", "nodes"} & set(kinds))
                assert rule.get("protocols") != []
                assert all(map(_is_network, (cidr for peer in rule[peers] for cidr in peer.get("networks", ()))))


def _is_network(cidr: str) -> bool:
    return str(ipaddress.ip_network(cidr)) == cidr


def test_a_seed_draws_the_same_world_again() -> None:
    first, again = (list(stages(Options())) for _ in range(2))
    assert first == again


def test_a_change_leaves_the_world_before_it_alone_and_its_events_lead_to_the_one_after() -> None:
    seen: collections.Counter[str] = collections.Counter()
    for seed in range(SEEDS):
        rng = Random(seed)  # noqa: S311  no secret
        before = world(rng)
        for _ in range(10):
            kept = copy.deepcopy(before)
            made = change(before, rng)
            assert before == kept
            assert _by_name(_followed(before, made.world)) == _by_name(made.world)
            seen[made.what] += 1
            before = made.world
    assert len(seen) == 15
    assert "nothing" not in seen


def _followed(before: World, after: World) -> World:
    """The world that who heard the events knows; an address must be free before it is used again."""
    known = {_key(one): one for held in _all(before) for one in held}
    for event in events(before, after):
        known.pop(_key(event.object), None)
        if event.type != "DELETED":
            known[_key(event.object)] = event.object
        held = [entry["ip"] for one in known.values() if _is_pod(one) for entry in live_addresses(one)]
        assert len(held) == len(set(held))
    kinds = ("Namespace", "Pod", "Node", "NetworkPolicy", "ClusterNetworkPolicy")
    return World(*([one for one in known.values() if one["kind"] == kind] for kind in kinds))


def _is_pod(one: Object) -> bool:
    return bool(one["kind"] == "Pod") and not one["spec"].get("hostNetwork")


def _all(there: World) -> tuple[tuple[Object, ...], ...]:
    return (
        tuple(there.namespaces),
        tuple(there.pods),
        tuple(there.nodes),
        tuple(there.network_policies),
        tuple(there.cluster_network_policies),
    )


def _key(one: Object) -> tuple[str, ...]:
    return one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]


def _by_name(there: World) -> list[list[Object]]:
    return [sorted(held, key=_key) for held in _all(there)]


def test_flows_reach_every_kind_of_verdict() -> None:
    reasons: collections.Counter[tuple[str, bool]] = collections.Counter()
    asked = 0
    for seed in range(SEEDS):
        rng = Random(seed)  # noqa: S311  no secret
        there = world(rng, Options(unknown=True))
        for one in flows(there, rng, 50):
            judged = verdict(there, one)
            reasons.update((_kind(ruling.reason), ruling.allowed) for ruling in (judged.egress, judged.ingress))
            asked += 1
    rare = {kind: count for kind, count in reasons.items() if count * 100 < asked}
    assert not rare
    assert len(reasons) == 11


def _kind(reason: str) -> str:
    words = reason.split()
    return " ".join((words[0], words[-1])) if "ClusterNetworkPolicy" in words else " ".join(words[:2])[:13]


def test_a_real_world_leaves_addresses_to_the_cluster_and_keeps_to_its_namespaces() -> None:
    options = Options(real=True, prefix="run-")
    for there in stages(options):
        assert not any("status" in one for one in (*there.pods, *there.nodes))
        assert all(one["metadata"]["name"].startswith("run-") for one in there.namespaces)
        for one in there.namespaces:
            assert one["metadata"]["labels"]["policy-test"] == "run"
        for policy in there.cluster_network_policies:
            subject = policy["spec"]["subject"]
            selected = subject.get("namespaces") or subject["pods"]["namespaceSelector"]
            assert selected["matchLabels"]["policy-test"] == "run"


def test_a_real_world_s_flows_are_what_servers_listen_for() -> None:
    simulated = world(Random(1))  # noqa: S311  no secret
    drawn = flows(simulated, Random(1), 500, Options(real=True))  # noqa: S311  no secret
    ours = {one for pod in simulated.pods for one in addresses(pod)}
    assert {one.protocol for one in drawn} == {"TCP", "UDP"}
    assert {one.port for one in drawn if one.port in REAL_PORTS} == set(REAL_PORTS)
    assert all(one.source in ours or one.destination in ours for one in drawn)


def test_without_policies_every_flow_passes() -> None:
    options = Options(network_policies=0, cluster_policies=0)
    for seed in range(20):
        rng = Random(seed)  # noqa: S311  no secret
        there = governed(inhabited(rng), rng, options)
        assert all(verdict(there, one).allowed for one in flows(there, rng, 50))


@settings(max_examples=25, deadline=None)
@given(histories(changes=2, count=10))
def test_hypothesis_draws_histories(drawn: list[tuple[World, list[Flow]]]) -> None:
    assert len(drawn) == 3
    for there, asked in drawn:
        for one in asked:
            assert verdict(there, one).allowed in {True, False}
