"""Whose an iptables chain is."""

import pytest

from agent.kernel.kube_proxy.names import IP_SETS, is_chain


@pytest.mark.parametrize(
    ("table", "chain"),
    [
        ("nat", "KUBE-SERVICES"),
        ("filter", "KUBE-SERVICES"),
        ("nat", "KUBE-MARK-MASQ"),
        ("filter", "KUBE-PROXY-FIREWALL"),
        ("mangle", "KUBE-PROXY-CANARY"),
        ("nat", "KUBE-SVC-ERIFXISQEP7F7OF4"),
        ("nat", "KUBE-SVL-ERIFXISQEP7F7OF4"),
        ("nat", "KUBE-EXT-ERIFXISQEP7F7OF4"),
        ("nat", "KUBE-FW-ERIFXISQEP7F7OF4"),
        ("nat", "KUBE-SEP-ERIFXISQEP7F7OF4"),
        ("nat", "KUBE-XLB-ERIFXISQEP7F7OF4"),
        ("nat", "KUBE-LOAD-BALANCER"),
        ("filter", "KUBE-IPVS-FILTER"),
        ("nat", "KUBE-FIREWALL"),
    ],
)
def test_kube_proxys(table: str, chain: str) -> None:
    assert is_chain(table, chain)


@pytest.mark.parametrize(
    ("table", "chain"),
    [
        pytest.param("filter", "KUBE-FIREWALL", id="kubelet's, against what comes as from loopback"),
        pytest.param("mangle", "KUBE-IPTABLES-HINT", id="kubelet's, which tells of which iptables is in use"),
        pytest.param("nat", "KUBE-KUBELET-CANARY", id="kubelet's, which tells that somebody emptied the tables"),
        pytest.param("nat", "KUBE-MARK-DROP", id="an older kubelet's"),
        pytest.param("filter", "KUBE-ROUTER-FORWARD", id="kube-router's"),
        pytest.param("filter", "KUBE-POD-FW-ERIFXISQEP7F7OF4", id="kube-router's of a pod"),
        pytest.param("filter", "KUBE-NWPLCY-ERIFXISQEP7F7OF4", id="kube-router's of a policy"),
        pytest.param("nat", "KUBE-SVC-MINE", id="somebody's that has no hash"),
        pytest.param("nat", "KUBE-SERVICES-MINE", id="somebody's that begins alike"),
        pytest.param("nat", "DOCKER", id="Docker's"),
        pytest.param("nat", "PREROUTING", id="the kernel's"),
    ],
)
def test_others(table: str, chain: str) -> None:
    assert not is_chain(table, chain)


def test_sets_are_of_two_families_and_have_names_that_the_kernel_takes() -> None:
    assert {"KUBE-CLUSTER-IP", "KUBE-6-CLUSTER-IP"} <= IP_SETS
    assert max(map(len, IP_SETS)) == 31, "the longest are cut"
