"""The duties in every combination, as the command line takes them; docs/duties.md has the table for people."""

from itertools import product

import pytest

from agent.errors import ConfigError
from agent.options.choices import PodNetwork, ServiceProxy
from agent.options.origins import load
from tests.agent.options.test_origins import MOUNTS

ASKED = ["run", "--kubeconfig", "/k"]
# (network, policy, Services, load balancers' addresses), of which each is the agent's or not
ALL = list(product((True, False), repeat=4))
WITHOUT_BACKENDS = "policy sees no backend that kube-proxy chooses"  # another's network, policy ours, no Services


def flags(*, network: bool, policy: bool, services: bool, pools: bool) -> list[str]:
    """The command line of a combination."""
    words = {True: "on", False: "off"}
    return [
        f"--network={'own' if network else 'chained'}",
        f"--network-policy={words[policy]}",
        f"--service-proxy={words[services]}",
        f"--loadbalancer-pools={words[pools]}",
    ]


@pytest.mark.parametrize(("network", "policy", "services", "pools"), ALL)
def test_every_combination_is_taken_as_it_is_or_refused(
    network: bool,  # noqa: FBT001
    policy: bool,  # noqa: FBT001
    services: bool,  # noqa: FBT001
    pools: bool,  # noqa: FBT001
) -> None:
    argv = [*ASKED, *flags(network=network, policy=policy, services=services, pools=pools)]
    if policy and not network and not services:
        with pytest.raises(ConfigError, match=WITHOUT_BACKENDS):
            load(argv, {}, MOUNTS)
        return
    _, options, _ = load(argv, {}, MOUNTS)
    found = (
        options.network is PodNetwork.OWN,
        options.network_policy,
        options.served is ServiceProxy.ON,
        options.loadbalancer_pools,
    )
    assert found == (network, policy, services, pools)
    assert options.has_socket_hooks is services


@pytest.mark.parametrize(
    ("more", "refused"),
    [
        pytest.param(["--network=chained"], "", id="over another's network pods alone are served"),
        pytest.param(["--network=chained", "--service-proxy=pods"], "", id="as when it is said"),
        pytest.param(["--service-proxy=pods"], "that is for --network chained", id="of our network all are"),
        pytest.param(["--replace-kube-proxy=on"], "", id="what kube-proxy left may go where all are served"),
        pytest.param(["--service-proxy=off", "--replace-kube-proxy=on"], "kube-proxy serves", id="not where it serves"),
        pytest.param(["--network=chained", "--l2-announce=on"], "take it out", id="nor is announced what it serves"),
    ],
)
def test_what_goes_with_a_duty(more: list[str], refused: str) -> None:
    if refused:
        with pytest.raises(ConfigError, match=refused):
            load([*ASKED, *more], {}, MOUNTS)
    else:
        load([*ASKED, *more], {}, MOUNTS)
