"""What Prometheus is told of network policy, from what was compiled and what the programs counted."""

from dataclasses import replace

from agent.compile.desired import Desired
from agent.serve.metrics import Metrics, Sources
from agent.serve.policy_metrics import PolicyUse, policy_use
from maps import abi
from maps.memory import MemoryTable
from tests.dpctl import node as cast

WEB = "NetworkPolicy shop/web"


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"sluiceway_{name}", labels)


def scraped(wanted: Desired, **counted: abi.PolicyCounter) -> tuple[Metrics, PolicyUse]:
    """What a scrape finds; *counted* is of shop/web's directions."""
    counters = MemoryTable(abi.POLICY_COUNTERS)
    for direction, counter in counted.items():
        number = wanted.policies.ids.policies.known[WEB]
        place = abi.Direction[f"DIRECTION_{direction.upper()}"]
        counters.update([(number * abi.Direction.DIRECTIONS + place, counter)])
    metrics, use = Metrics(), policy_use(counters, wanted)
    metrics.read_from(Sources(policy=lambda: use))
    return metrics, use


def test_verdicts_are_by_policy_and_by_the_directions_that_it_has() -> None:
    metrics, use = scraped(cast.compiled(), ingress=abi.PolicyCounter(7, 5, 3), egress=abi.PolicyCounter(9, 9, 9))
    where = {"policy": WEB, "direction": "ingress"}
    assert sample(metrics, "policy_accepted_flows_total", **where) == 7
    assert sample(metrics, "policy_denied_packets_total", **where) == 5
    assert sample(metrics, "policy_audited_packets_total", **where) == 3
    assert sample(metrics, "policy_accepted_flows_total", policy=WEB, direction="egress") is None
    assert {one.policy for one in use.counts} == {
        WEB,
        "NetworkPolicy shop/client",
        "NetworkPolicy quiet/db",
        "ClusterNetworkPolicy bastion",
    }


def test_what_there_is_to_judge_by_is_counted() -> None:
    wanted = cast.compiled()
    metrics, _ = scraped(wanted)
    assert sample(metrics, "policies") == 4
    assert sample(metrics, "policy_rule_sets") == 3
    assert sample(metrics, "policy_subjects") == 3
    assert sample(metrics, "policy_unknown_pods") == 1, "shop/new is in no list yet"
    assert sample(metrics, "policy_peer_classes") == len(wanted.policies.ids.classes.known)
    assert sample(metrics, "policy_peer_ranges") == 2
    assert (sample(metrics, "policy_peers") or 0) >= 2, "the far pod and the edge node"
    assert sample(metrics, "policy_waiting") == 0


def test_rules_that_wait_for_a_list_say_so() -> None:
    wanted = cast.compiled(replace(cast.cluster(), listed=cast.KINDS - {"PeerPod"}))
    assert scraped(wanted)[1].is_waiting
    later = cast.compiled(cast.cluster(), wanted)
    assert not scraped(later)[1].is_waiting


def test_without_policies_there_is_nothing_but_zeros() -> None:
    metrics, use = scraped(cast.compiled(replace(cast.cluster(), policies={}, cluster_policies={})))
    assert use.counts == ()
    assert sample(metrics, "policies") == 0


def test_how_long_a_change_took_is_observed() -> None:
    metrics = Metrics()
    metrics.observe_policy(0.04)
    assert sample(metrics, "policy_propagation_seconds_bucket", le="0.05") == 1
    assert sample(metrics, "policy_propagation_seconds_bucket", le="0.035") == 0
