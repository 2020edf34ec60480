"""What VFs are to be while their pods live: told by CHECK, and set again."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.model.vf import VfKind, VfSettings, VfSpec
from tests.agent.pods.vf.test_vfs import DPDK, NETDEV, SETTINGS, request
from tests.agent.pods.vf.vf_card import ADDRESS, VfNode


@pytest.fixture
def node(tmp_path: Path) -> VfNode:
    return VfNode(tmp_path)


@pytest.mark.parametrize("spec", [NETDEV, DPDK], ids=["netdev", "dpdk"])
def test_what_the_pf_forgets_of_a_pods_vf_is_told_and_set_again(node: VfNode, spec: VfSpec) -> None:
    """As after a reset of the card, or an operator's hand."""
    agent = node.agent()
    record = agent.add(request(spec))
    given = node.card.vfs[ADDRESS].settings
    agent.collect()
    assert not tuple(agent.check(record))
    other = replace(given, vlan=0, vlan_qos=0, spoofchk=True, min_tx_rate=50, max_tx_rate=0)
    node.card.vfs[ADDRESS] = replace(node.card.vfs[ADDRESS], settings=other)
    assert tuple(agent.check(record)) == (
        "vlan is not 100 (vlanQoS 3, vlanProto 802.1q) any more",
        "max_tx_rate is not 200 (min_tx_rate 50) any more",
        "spoofchk is not off any more",
    )
    agent = node.agent()
    agent.collect()
    assert node.card.vfs[ADDRESS].settings == replace(given, min_tx_rate=50)
    assert not tuple(agent.check(record))


def test_a_vf_that_cannot_be_as_its_pod_was_given_it_is_a_problem_until_it_is(node: VfNode) -> None:
    agent = node.agent()
    agent.add(request(VfSpec(VfKind.NETDEV, VfSettings())))
    vf = node.card.vfs.pop(ADDRESS)
    agent.collect()
    (problem,) = agent.problems("n1", {})
    assert problem.text == f"net1 of default/c1 is not as it was given: there is no PCI function {ADDRESS} on this node"
    node.card.vfs[ADDRESS] = vf
    agent.collect()
    assert not tuple(agent.problems("n1", {}))


def test_an_address_that_a_trusted_vf_chooses_is_its_own(node: VfNode) -> None:
    agent = node.agent()
    record = agent.add(request())
    chosen = replace(node.card.vfs[ADDRESS].settings, mac="02:00:00:00:00:77")
    node.card.vfs[ADDRESS] = replace(node.card.vfs[ADDRESS], settings=chosen)
    agent.collect()
    assert (node.card.vfs[ADDRESS].settings, tuple(agent.check(record))) == (chosen, ())


def test_check_tells_what_is_not_as_it_was(node: VfNode) -> None:
    agent = node.agent()
    record = agent.add(request())
    assert tuple(agent.check(record)) == ()
    node.card.devices[ADDRESS] = replace(node.card.devices[ADDRESS], name="mine")
    node.ipam.held.clear()
    assert tuple(agent.check(record)) == ("net1 is called mine", "ipam: gone")


def test_what_a_device_has_lost_in_its_pod_is_told_by_check_and_set_again(node: VfNode) -> None:
    agent = node.agent()
    record = agent.add(request())
    node.card.gone[ADDRESS] = ("has not the route to 10.8.0.0/16",)
    assert list(agent.check(record)) == ["net1 has not the route to 10.8.0.0/16"]
    agent.collect()
    assert (list(agent.check(record)), list(agent.problems("n1", {}))) == ([], [])


def test_a_device_that_is_not_in_its_pod_any_more_is_a_problem(node: VfNode) -> None:
    agent = node.agent()
    agent.add(request())
    node.card.where[ADDRESS] = "/run/netns/another"
    agent.collect()
    (told,) = agent.problems("n1", {})
    assert (told.field, told.text) == (
        f"VF {ADDRESS}",
        f"net1, the VF {ADDRESS}, is not in the pod any more; delete the Pod",
    )


@pytest.mark.parametrize("has_addresses", [True, False])
@pytest.mark.parametrize("trust", [True, False])
def test_what_a_pod_has_set_of_its_vf_itself_is_told_and_stays(
    node: VfNode, *, has_addresses: bool, trust: bool
) -> None:
    """A VF that the card trusts has the MAC that it likes, where no programs hold it to its own."""
    if not has_addresses:
        node.ipam.gives = {}
    agent = node.agent()
    record = agent.add(request(VfSpec(VfKind.NETDEV, replace(SETTINGS, trust=trust))))
    mine = replace(node.card.devices[ADDRESS], mac="02:00:00:00:00:99", mtu=1200)
    node.card.devices[ADDRESS] = mine
    macs = [] if trust and not has_addresses else [f"net1 has the MAC 02:00:00:00:00:99, not {record.mac}"]
    for _ in range(2):
        assert list(agent.check(record)) == [*macs, "net1 has the MTU 1200, not 1500"]
        agent.collect()
    assert (node.card.devices[ADDRESS], list(agent.problems("n1", {}))) == (mine, [])
