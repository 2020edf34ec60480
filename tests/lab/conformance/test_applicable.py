"""Every upstream test is run, or left out for one stated reason."""

import re

import pytest

from lab.conformance import applicable, results, runs
from lab.conformance.applicable import EXCLUSIONS, MODES, Exclusion
from lab.site import ROUTED, Options

PORTS = "[sig-network] Services should prevent NodePort collisions"
GRANULAR = "[sig-network] Networking Granular Checks: Services should function for pod-Service: udp"
SECOND = "[sig-network] [Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family should function"
POLICY = "[sig-network] Netpol between server and client should x [Feature:NetworkPolicy]"
BALANCED = "[sig-network] LoadBalancers [Feature:LoadBalancer] should be able to change the type"
ZONES = "[sig-network] Traffic Distribution should route traffic correctly when using PreferClose"


def subject(name: str) -> str | None:
    """What the exclusion that leaves *name* out is about."""
    left_out = applicable.select([name]).left_out
    return next((exclusion.subject for exclusion, names in left_out.items() if names), None)


def test_the_list_of_e2e_test_is_read_by_its_names() -> None:
    output = (
        "The following spec names can be used with 'ginkgo run --focus/skip':\n"
        f"    k8s.io/kubernetes@v1.36.3/test/e2e/network/service.go:1: {PORTS}\n"
        f"    k8s.io/kubernetes@v1.36.3/test/e2e/network/networking.go:22: {GRANULAR} \n"
        "    k8s.io/kubernetes@v1.36.3/test/e2e/node/pods.go:3: [sig-node] Pods should be updated\n"
        f"    k8s.io/kubernetes@v1.36.3/test/e2e/network/service.go:1: {PORTS}\n"
    )
    assert applicable.listed(output) == (GRANULAR, PORTS)


@pytest.mark.parametrize(
    ("name", "about"),
    [
        pytest.param("Netpol between server and client should x [Feature:NetworkPolicy]", None, id="policy is tried"),
        pytest.param("Netpol should not mistake SCTP for TCP [Feature:NetworkPolicy]", None, id="SCTP in a rule alone"),
        pytest.param(
            "Netpol [Feature:SCTPConnectivity] x [Feature:NetworkPolicy]", "SCTP", id="policy of SCTP's flows"
        ),
        pytest.param("LoadBalancers [Feature:LoadBalancer] should x", None, id="load balancers are tried"),
        pytest.param("Granular Checks: x: sctp [Feature:SCTPConnectivity]", "SCTP", id="SCTP as a feature"),
        pytest.param("Services should allow creating a basic SCTP service", None, id="SCTP in the name alone"),
        pytest.param("Networking should provide Internet connection for containers", "Internet", id="Internet"),
        pytest.param("DNS configMap nameserver should forward PTR records lookup", "Internet", id="a public name"),
        pytest.param("DNS should provide DNS for the cluster [Provider:GCE]", "cloud", id="a cloud's names"),
        pytest.param("KubeProxy should set TCP CLOSE_WAIT timeout", "kube-proxy", id="kube-proxy's own timeouts"),
        pytest.param("Services should work after restarting kube-proxy", "kube-proxy", id="kube-proxy restarted"),
        pytest.param("[Feature:PerformanceDNS] [Serial] Should answer", "performance", id="a measurement"),
        pytest.param("Netpol API should support creating NetworkPolicy API operations", None, id="an API is tried"),
        pytest.param("Services should serve on Type LoadBalancer", None, id="a load balancer's type alone is tried"),
        pytest.param("DNS configMap nameserver should x [Slow] [Serial]", None, id="slow and serial ones are tried"),
    ],
)
def test_left_out_is(name: str, about: str | None) -> None:
    assert subject(f"[sig-network] {name}") == about


def test_a_test_without_a_reason_is_run_and_none_is_lost() -> None:
    names = (PORTS, GRANULAR, SECOND, POLICY, "[sig-network] X [Provider:GCE]")
    chosen = applicable.select(names)
    assert chosen.applicable == names[:4]
    assert chosen.total == len(names)


def test_what_a_line_left_out_is_run_when_the_line_is_gone() -> None:
    without = [exclusion for exclusion in EXCLUSIONS if exclusion.subject != "cloud"]
    name = "[sig-network] X should x [Provider:GCE]"
    assert applicable.select([name], without).applicable == (name,)


def test_an_exclusion_that_matches_nothing_still_counts_as_one() -> None:
    nothing = Exclusion("nothing", "no such test", "none")
    assert applicable.select([PORTS], [nothing]).left_out == {nothing: ()}


@pytest.mark.parametrize(
    "listed", [runs.CONFORMANCE, runs.GRANULAR, runs.SECONDARY, runs.POLICY, runs.LOAD_BALANCER, runs.BGP]
)
def test_no_required_test_is_left_out(listed: str) -> None:
    required = results.required(listed)
    assert applicable.select(required).applicable == required


def test_each_mode_runs_every_test_once_and_the_second_family_by_itself() -> None:
    passes = applicable.passes((PORTS, GRANULAR, SECOND, ZONES, BALANCED))
    for socket_lb in MODES.values():
        of_mode = [(each.names, each.nodes) for each in passes if each.run.socket_lb is socket_lb]
        assert of_mode == [((BALANCED,), 3), ((PORTS, GRANULAR), 3), ((SECOND,), 3), ((ZONES,), 6)]
    assert len({each.name for each in passes}) == len(passes)


def test_network_policy_is_tried_by_a_tunnel_as_well() -> None:
    of_policy = [each for each in applicable.passes((PORTS, POLICY)) if POLICY in each.names]
    assert [(each.run.encapsulation, each.names) for each in of_policy] == [
        *(("native", (PORTS, POLICY)) for _ in MODES),
        ("vxlan", (POLICY,)),
    ]


def test_load_balancers_are_tried_where_nodes_are_on_one_subnet_and_our_allocator_gives_addresses() -> None:
    found = {each.names: each for each in applicable.passes((PORTS, BALANCED))}
    assert found[BALANCED,].run.options(Options()).load_balancer == ROUTED
    assert (found[BALANCED,].machines, found[PORTS,].machines) == ((3, 1), (3, 2))
    assert found[PORTS,].run.options(Options(load_balancer=ROUTED)).load_balancer == ""


def test_what_takes_a_quarter_of_an_hour_is_run_in_one_mode() -> None:
    rolling = f"{BALANCED} without connectivity disruption during rolling update"
    found = [each.run.socket_lb for each in applicable.passes((BALANCED, rolling)) if rolling in each.names]
    assert found == [True]


def test_passes_that_want_the_same_machines_follow_each_other() -> None:
    machines = [each.machines for each in applicable.passes((PORTS, ZONES, BALANCED))]
    assert machines == sorted(machines)


def test_a_pass_without_tests_is_not_made() -> None:
    assert [each.name for each in applicable.passes((PORTS,))] == list(MODES)


def test_the_focus_of_a_test_is_not_that_of_a_longer_name() -> None:
    pattern = results.focus([PORTS])
    assert re.search(pattern, f"Kubernetes e2e suite {PORTS}")
    assert not re.search(pattern, f"{PORTS} and more")
