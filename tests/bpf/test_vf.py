"""A VF in a pod: policy and conntrack as at a veth's end on the node, by who has an address on the VF's own network."""

import pytest

from maps import abi
from maps.abi import DropReason
from tests.bpf.datapath import NODE, NODE6, OTHER, POD, POD6, REMOTE, REMOTE6, checksums_hold, datagram, frame, syn
from tests.bpf.packets import answer
from tests.bpf.policed import routes
from tests.bpf.rules import ACCEPT, ALL, DENY, EVERYBODY, NOTHING, said
from tests.bpf.vf import BOTH, EGRESS, INGRESS, PEER, PEER_MAC, SLOT, VF_MAC, PodVf, passes, programs, vf

__all__ = ["programs", "routes", "vf"]

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

TCP_80 = said(DENY, (6, 80, 80, ACCEPT))


@BOTH
def test_a_pod_without_policy_speaks_and_is_spoken_to(vf: PodVf, own: str, peer: str, vip: str) -> None:
    del own, vip
    there = vf.sends(peer, syn())
    assert passes(there)
    assert checksums_hold(there.packet)
    assert passes(vf.run("vf_ingress", answer(there.packet, PEER_MAC)))
    assert passes(vf.is_sent(peer, datagram()))


@BOTH
def test_what_policy_denies_neither_comes_nor_goes(vf: PodVf, own: str, peer: str, vip: str) -> None:
    del own, vip
    held = vf.policed(ingress={EVERYBODY: TCP_80}, egress=NOTHING)
    held.forget_drops()
    assert vf.is_sent(peer, syn(dport=81)).reason is INGRESS
    assert vf.is_sent(peer, datagram(dport=80)).reason is INGRESS
    assert vf.sends(peer, syn()).reason is EGRESS
    came = vf.is_sent(peer, syn(dport=80))
    assert passes(came)
    assert passes(vf.run("vf_egress", answer(came.packet, VF_MAC))), "what answers needs no rule"
    assert [(one.reason, one.sender, one.receiver) for one in held.drops()] == [
        (INGRESS, 0, SLOT),
        (INGRESS, 0, SLOT),
        (EGRESS, SLOT, 0),
    ]


@BOTH
def test_a_flow_is_judged_anew_when_policy_changes(vf: PodVf, own: str, peer: str, vip: str) -> None:
    del own, vip
    assert passes(vf.is_sent(peer, datagram(4000, 53)))
    vf.policed(ingress=NOTHING)
    assert vf.is_sent(peer, datagram(4000, 53)).reason is INGRESS


def test_a_pod_of_whom_nothing_is_known_is_cut_off(vf: PodVf) -> None:
    vf.node.tables["pod_policies"].update(
        [(SLOT, abi.PodPolicy(abi.RULES_UNKNOWN, abi.RULES_UNKNOWN, abi.PodPolicyFlag(0), 0))]
    )
    assert vf.sends(PEER, syn()).reason is DropReason.DROP_POLICY_UNKNOWN
    assert vf.is_sent(PEER, syn()).reason is DropReason.DROP_POLICY_UNKNOWN


def test_what_is_audited_passes_and_is_counted(vf: PodVf) -> None:
    held = vf.policed(ingress=NOTHING, audited=True)
    held.forget_drops()
    assert passes(vf.is_sent(PEER, syn()))
    (event,) = held.drops()
    assert (event.reason, event.flags) == (INGRESS, abi.DropFlag.DROP_AUDITED)


@pytest.mark.parametrize("src", [pytest.param(NODE, id="IPv4"), pytest.param(NODE6, id="IPv6")])
def test_the_nodes_address_opens_nothing_on_the_wire(vf: PodVf, src: str) -> None:
    vf.policed(ingress=NOTHING)
    assert vf.is_sent(src, syn()).reason is INGRESS


def test_pods_of_this_node_are_known_by_their_labels_and_judged_at_their_own_devices(vf: PodVf) -> None:
    held = vf.policed(ingress={EVERYBODY: said(DENY), 7: said(ACCEPT)})
    held.pod(POD, egress=NOTHING, peer_class=7)
    held.pod(OTHER, peer_class=8)
    assert passes(vf.is_sent(POD, syn())), "its egress was judged where it left"
    assert vf.is_sent(OTHER, syn()).reason is INGRESS


@pytest.mark.parametrize("other", [pytest.param(REMOTE, id="IPv4"), pytest.param(REMOTE6, id="IPv6")])
def test_pods_of_other_nodes_are_known_by_their_addresses(vf: PodVf, other: str) -> None:
    held = vf.policed(egress={EVERYBODY: said(DENY), 9: said(ACCEPT)})
    assert vf.sends(other, syn()).reason is EGRESS
    held.peer(other, 9)
    assert passes(vf.sends(other, syn()))


def test_a_groups_packets_are_the_pods(vf: PodVf) -> None:
    group = frame(PEER, "224.0.0.251", datagram(dport=5353), mac=PEER_MAC, to="01:00:5e:00:00:fb")
    assert passes(vf.run("vf_ingress", group))
    vf.policed(ingress={EVERYBODY: said(DENY, (17, 5353, 5353, ACCEPT))})
    assert passes(vf.run("vf_ingress", group))
    vf.policed(ingress=NOTHING, egress=NOTHING)
    assert vf.run("vf_ingress", group).reason is INGRESS
    assert vf.sends("224.0.0.251", datagram(dport=5353)).reason is EGRESS


def test_a_policy_for_all_lets_all_through(vf: PodVf) -> None:
    vf.policed(ingress=ALL, egress=ALL)
    assert passes(vf.sends(PEER, syn()))
    assert passes(vf.is_sent(PEER, syn()))


# ---- networks -----------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("network", "meant"),
    [
        pytest.param(0, 5, id="the cluster's"),
        pytest.param(7, 6, id="a network"),
        pytest.param(8, 9, id="another"),
        pytest.param(9, 4, id="where nobody is known it is its range"),
    ],
)
def test_an_address_is_somebody_else_on_each_network(
    vf: PodVf, own: str, peer: str, vip: str, network: int, meant: int
) -> None:
    del own, vip
    for one, other, passed in ((ACCEPT, DENY, True), (DENY, ACCEPT, False)):
        rules = {EVERYBODY: said(other), **{of: said(one if of == meant else other) for of in (4, 5, 6, 9)}}
        held = vf.policed(ingress=rules, egress=rules, network=network)
        for number, of in ((0, 5), (7, 6), (8, 9)):
            held.peer(peer, of, number)
        held.range("10.9.0.0/24" if peer is PEER else "fd09::/64", 4)
        assert passes(vf.is_sent(peer, datagram(sport=1000 + passed))) == passed
        assert passes(vf.sends(peer, datagram(sport=2000 + passed))) == passed


@BOTH
def test_a_pod_of_the_node_is_nobody_on_another_network(vf: PodVf, own: str, peer: str, vip: str) -> None:
    """The cluster's network has a pod at the same address, behind a device of this node's."""
    del own, vip
    pod = POD if peer is PEER else POD6
    rules = {EVERYBODY: said(DENY), 5: said(ACCEPT)}
    held = vf.policed()
    held.pod(POD, peer_class=5)
    try:
        for network, passed in ((0, True), (7, False)):
            vf.policed(ingress=rules, network=network)
            assert passes(vf.is_sent(pod, datagram(sport=3000 + network))) == passed
    finally:
        held.pod(POD)
