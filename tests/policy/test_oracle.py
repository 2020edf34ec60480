"""The oracle answers as the API's documentation says: every expected value here is worked out by hand.

A number before a sentence is its line in upstream's checklist (suite Netpol). What passes a first packet is asked; that
replies and related ICMP errors pass follows from it in the dataplane.
"""

import dataclasses

import pytest

from tests.policy.cast import (
    BOTH,
    EVERYTHING,
    WORLD,
    block,
    flow,
    has,
    in_namespaces,
    named,
    namespace,
    network_policy,
    pod,
    pods,
    where,
    with_policies,
)
from tests.policy.facts import Flow, Object, address
from tests.policy.oracle import verdict
from tests.policy.table import EGRESS, INGRESS, NEITHER, PASS, from_a, outcome, outcomes, to_a

ISOLATION = [
    pytest.param(
        [],
        {"y/a > x/a TCP/80": PASS, "192.0.2.7 > x/a UDP/9": PASS, "x/a6 > 2001:db8::7 SCTP/7": PASS},
        id="without a policy everything passes",
    ),
    pytest.param(
        [network_policy("x")],
        {
            "y/a > x/a TCP/80": INGRESS,
            "x/b > x/a TCP/80": INGRESS,
            "192.0.2.7 > x/b UDP/53": INGRESS,
            "y/a6 > x/a6 TCP/80": INGRESS,
            "x/a > y/a TCP/80": PASS,
            "y/b > y/a TCP/80": PASS,
        },
        id="85: default-deny-ingress isolates every pod of its namespace, for ingress alone",
    ),
    pytest.param(
        [network_policy("x", types=BOTH)],
        {"y/a > x/a TCP/80": INGRESS, "x/a > y/a TCP/80": EGRESS, "x/a > x/b TCP/81": NEITHER},
        id="86: default-deny-all isolates for both directions",
    ),
    pytest.param(
        [network_policy("x", types=BOTH, ingress=[{}], egress=[{}])],
        {"y/a > x/a SCTP/80": PASS, "x/a > 192.0.2.7 ICMP": PASS, "192.0.2.7 > x/a ICMP": PASS},
        id="87: a rule without peers and ports allows everything, ICMP and SCTP included",
    ),
    pytest.param(
        [network_policy("x"), network_policy("x", has(pod="a"), ingress=[{"from": [in_namespaces(EVERYTHING)]}])],
        {"y/a > x/a TCP/80": PASS, "y/a > x/b TCP/80": INGRESS},
        id="88: ingress is allowed for a target and for no other pod",
    ),
    pytest.param(
        [network_policy("x", types=["Egress"], ingress=[{"from": [pods(has(pod="nobody"))]}])],
        {"y/a > x/a TCP/80": PASS, "x/a > y/a TCP/80": EGRESS},
        id="a policy whose policyTypes leave ingress out does not isolate for it, whatever its ingress rules",
    ),
    pytest.param(
        [network_policy("x", egress=[{"to": [pods(EVERYTHING)]}])],
        {"y/a > x/a TCP/80": INGRESS, "x/a > y/a TCP/80": EGRESS, "x/a > x/b TCP/80": INGRESS},
        id="a policy with egress rules and no policyTypes is about both directions",
    ),
    pytest.param(
        [network_policy("x", egress=[])],
        {"x/a > y/a TCP/80": PASS, "y/a > x/a TCP/80": INGRESS},
        id="a policy with an empty egress section and no policyTypes is about ingress alone",
    ),
    pytest.param(
        [{"kind": "NetworkPolicy", "metadata": {"namespace": "x", "name": "bare"}}],
        {"y/a > x/a TCP/80": INGRESS, "x/a > y/a TCP/80": PASS},
        id="a policy without a spec selects all pods of its namespace for ingress",
    ),
    pytest.param(
        [network_policy("x", types=BOTH, ingress=[{"from": [], "ports": []}], egress=[{"to": [], "ports": []}])],
        {"y/a > x/a ICMP": PASS, "x/a > 192.0.2.7 TCP/1": PASS},
        id="empty lists of peers and ports are as missing ones",
    ),
    pytest.param(
        [network_policy("x", where("pod", "In", "a", "z"))],
        {"y/a > x/a TCP/80": INGRESS, "y/a > x/b TCP/80": PASS},
        id="a policy selects its pods by expression too",
    ),
]

WHO = [
    pytest.param(
        [network_policy("x", has(pod="a")), network_policy("x", has(pod="b"), types=["Egress"])],
        {"y/a > x/a TCP/80": INGRESS, "x/a > y/a TCP/80": PASS, "x/b > y/a TCP/80": EGRESS, "y/a > x/b TCP/80": PASS},
        id="114: ingress and egress are independent of each other",
    ),
    pytest.param(
        [
            network_policy(
                "x",
                has(pod="a"),
                types=BOTH,
                ingress=[{"from": [pods(has(pod="b"))]}],
                egress=[{"to": [in_namespaces(has(env="prod"))]}],
            )
        ],
        {
            "x/b > x/a TCP/80": PASS,
            "x/a > x/b TCP/80": EGRESS,
            "x/a > z/a TCP/80": PASS,
            "z/a > x/a TCP/80": INGRESS,
        },
        id="115: one policy for ingress and egress together",
    ),
    pytest.param(
        [network_policy("x", has(pod="a"))],
        {"x/a > y/a TCP/80": PASS, "y/a > x/a TCP/80": INGRESS},
        id="124: who may answer may not for that begin",
    ),
    pytest.param(
        [network_policy("x", types=BOTH)],
        {"x/a > x/a TCP/80": PASS, "x/a6 > x/a6 UDP/1": PASS, "x/a > x/a ICMP": PASS},
        id="122: a pod always reaches itself",
    ),
    pytest.param(
        [network_policy("x", types=BOTH)],
        {
            "n1 > x/a TCP/80": PASS,
            "n16 > x/a6 ICMP": PASS,
            "198.51.100.1 > x/a UDP/9": PASS,
            "n2 > x/a TCP/80": INGRESS,
        },
        id="123: a pod's own node always reaches it by any of its addresses, another node does not",
    ),
    pytest.param(
        [network_policy("x", types=BOTH)],
        {"x/a > n1 TCP/80": EGRESS, "x/a > n1 ICMP": EGRESS},
        id="123: a pod's egress to its own node is judged",
    ),
    pytest.param(
        [network_policy("x", types=BOTH)],
        {"x/host > y/b TCP/80": PASS, "y/b > x/host TCP/80": PASS, "x/host > n2 TCP/80": PASS},
        id="125: a pod on the host's network is no policy's subject",
    ),
    pytest.param(
        [network_policy("y", ingress=[{"from": [in_namespaces(EVERYTHING)]}])],
        {"x/host > y/b TCP/80": INGRESS, "x/host > y/a TCP/80": PASS},
        id="125: a pod on the host's network is no selector's peer: it counts as its node",
    ),
    pytest.param(
        [network_policy("y", ingress=[{"from": [block("10.0.0.1/32")]}])],
        {"x/host > y/b TCP/80": PASS, "n1 > y/b TCP/80": PASS},
        id="125: a pod on the host's network is matched by its node's address",
    ),
    pytest.param(
        [network_policy("y", types=["Egress"], egress=[{"to": [in_namespaces(EVERYTHING)]}])],
        {"y/b > x/host TCP/80": EGRESS, "y/b > x/a TCP/80": PASS},
        id="125: egress to a pod on the host's network is egress to its node",
    ),
    pytest.param(
        [network_policy("x")],
        {"y/a > x/done TCP/80": PASS, "x/done > y/a TCP/80": PASS},
        id="a pod that ended is no subject",
    ),
    pytest.param(
        [to_a(**{"from": [pods(EVERYTHING)]}), network_policy("y", ingress=[{"from": [block("10.1.0.9/32")]}])],
        {"x/done > x/a TCP/80": INGRESS, "x/done > y/a TCP/80": PASS},
        id="a pod that ended is no selector's peer; its address counts as any other",
    ),
    pytest.param(
        [from_a(ports=[{"port": "web"}])],
        {"x/a > x/done TCP/80": EGRESS},
        id="a pod that ended has no named ports",
    ),
]


@pytest.mark.parametrize(("policies", "flows"), [*ISOLATION, *WHO])
def test_who_is_isolated(policies: list[Object], flows: dict[str, str]) -> None:
    assert outcomes(with_policies(WORLD, *policies), flows) == flows


def test_126_a_pod_that_is_not_yet_running_is_isolated_as_soon_as_it_has_an_address() -> None:
    starting = pod("x/new", "n1", "10.1.0.7", phase="Pending")
    world = with_policies(dataclasses.replace(WORLD, pods=[*WORLD.pods, starting]), network_policy("x", types=BOTH))
    flows = {"y/a > x/new TCP/80": INGRESS, "x/new > y/a TCP/80": EGRESS}
    assert outcomes(world, flows) == flows


def test_a_sidecar_s_named_port_counts_and_an_init_container_s_does_not() -> None:
    served = pod("z/side", "n1", "10.1.0.7")
    served["spec"]["initContainers"] = [
        {"name": "sidecar", "restartPolicy": "Always", "ports": [named("proxy", 15)]},
        {"name": "setup", "ports": [named("setup", 16)]},
    ]
    rules: Object = {"ports": [{"port": "proxy"}, {"port": "setup"}]}
    world = dataclasses.replace(WORLD, pods=[*WORLD.pods, served])
    flows = {"y/a > z/side TCP/15": PASS, "y/a > z/side TCP/16": INGRESS}
    assert outcomes(with_policies(world, network_policy("z", ingress=[rules])), flows) == flows


def test_a_pod_whose_namespace_is_unknown_is_selected_by_no_namespace_selector() -> None:
    world = dataclasses.replace(WORLD, namespaces=[namespace("x")])
    flows = {"y/a > x/a TCP/80": INGRESS, "x/b > x/a TCP/80": PASS}
    assert outcomes(with_policies(world, to_a(**{"from": [in_namespaces(EVERYTHING)]})), flows) == flows


def test_a_node_judges_the_ends_that_are_its_own_pods() -> None:
    world = with_policies(WORLD, network_policy("x", types=BOTH), network_policy("z", types=BOTH))
    asked = flow(world, "x/a > z/a TCP/80")
    assert [outcome(verdict(world, asked, here=here)) for here in ("n1", "n2", "n3")] == [EGRESS, INGRESS, PASS]
    assert verdict(world, asked, here="n1").ingress.reason == "this end is a pod of another node"


def test_a_source_that_is_the_own_node_is_told_by_the_flow_alone() -> None:
    world = with_policies(WORLD, network_policy("x"))
    gateway, target = address("10.1.0.254"), address("10.1.0.1")
    assert verdict(world, Flow(gateway, target, "TCP", 80, own_node=True)).allowed
    assert not verdict(world, Flow(gateway, target, "TCP", 80)).allowed


def test_reasons_name_the_policy_and_the_rule() -> None:
    world = with_policies(WORLD, network_policy("x", ingress=[{"ports": [{"port": 1}]}, {"ports": [{"port": 80}]}]))
    allowed, denied = (verdict(world, flow(world, f"y/a > x/a TCP/{port}")).ingress.reason for port in (80, 81))
    assert allowed == "NetworkPolicy x/policy spec.ingress[1] allows"
    assert denied == "no ingress rule of NetworkPolicy x/policy allows"
    assert verdict(WORLD, flow(WORLD, "y/a > x/a TCP/80")).ingress.reason == "no policy decides on ingress of x/a"


@pytest.mark.parametrize(
    ("source", "protocol", "port"),
    [
        pytest.param("192.0.2.7", "GRE", None, id="a protocol that policies do not know"),
        pytest.param("192.0.2.7", "TCP", None, id="TCP without a port"),
        pytest.param("192.0.2.7", "ICMP", 8, id="ICMP with a port"),
        pytest.param("2001:db8::7", "TCP", 80, id="two families"),
    ],
)
def test_a_flow_that_cannot_be_is_refused(source: str, protocol: str, port: int | None) -> None:
    with pytest.raises(ValueError, match=r"protocol|port|families"):
        Flow(address(source), address("10.1.0.1"), protocol, port)


def test_an_operator_that_the_api_does_not_have_is_refused() -> None:
    world = with_policies(WORLD, network_policy("x", where("pod", "Like", "a")))
    with pytest.raises(ValueError, match="no operator Like"):
        verdict(world, flow(world, "y/a > x/a TCP/80"))
