"""What is done to a VF: wanted minus actual, attribute by attribute, and never more than is asked for."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.compile.vf import (
    Change,
    SetLinkState,
    SetMac,
    SetRate,
    SetSpoofCheck,
    SetTrust,
    SetVlan,
    changes,
    done,
    refusal,
    spec_for,
)
from agent.model.netdev import Netdev
from agent.model.nic import Nic
from agent.model.vf import NO_MAC, IommuGroup, LinkState, Vf, VfKind, VfSettings, VfSpec, VlanProtocol

C_TAG, S_TAG = VlanProtocol.C_TAG, VlanProtocol.S_TAG
PLAIN = VfSettings(
    0, 0, C_TAG, NO_MAC, spoofchk=True, trust=False, link_state=LinkState.AUTO, min_tx_rate=0, max_tx_rate=0
)
TAGGED = replace(PLAIN, vlan=100, vlan_qos=3, vlan_proto=S_TAG)
MAC, MADE = "02:00:00:00:00:0a", "02:00:00:00:00:0f"
NETDEV = Netdev("ens1v0", 10, "02:00:00:00:00:01", 1500)
VF = Vf("0000:03:02.0", "0000:03:00.0", "ens1", "ice", 1500, 0, "iavf", "", PLAIN, NETDEV, IommuGroup("7"))
NIC = Nic(NETDEV, VF.address)


@pytest.mark.parametrize(
    ("wanted", "actual", "expected"),
    [
        pytest.param(VfSettings(), TAGGED, (), id="what nobody asks for is left alone, a VLAN too"),
        pytest.param(TAGGED, TAGGED, (), id="what is so already is not set again"),
        pytest.param(VfSettings(vlan=100), PLAIN, (SetVlan(100, 0, C_TAG),), id="a VLAN"),
        pytest.param(VfSettings(vlan=0), TAGGED, (SetVlan(0, 0, C_TAG),), id="untagged, and no priority is kept"),
        pytest.param(
            VfSettings(vlan=5), TAGGED, (SetVlan(5, 3, S_TAG),), id="priority and protocol stay with another VLAN"
        ),
        pytest.param(VfSettings(vlan=100, vlan_qos=1), TAGGED, (SetVlan(100, 1, S_TAG),), id="a priority alone"),
        pytest.param(
            VfSettings(max_tx_rate=9), replace(PLAIN, min_tx_rate=2), (SetRate(2, 9),), id="the other rate stays"
        ),
        pytest.param(
            VfSettings(min_tx_rate=1), PLAIN, (SetRate(1, 0, "min_tx_rate"),), id="the key that was asked for is named"
        ),
        pytest.param(
            VfSettings(mac=MAC, spoofchk=False, trust=True, link_state=LinkState.ENABLE),
            PLAIN,
            (SetMac(MAC), SetSpoofCheck(on=False), SetTrust(on=True), SetLinkState(LinkState.ENABLE)),
            id="each attribute is a change of its own",
        ),
        pytest.param(
            VfSettings(spoofchk=True), replace(PLAIN, spoofchk=None), (SetSpoofCheck(on=True),), id="untold is set"
        ),
    ],
)
def test_changes(wanted: VfSettings, actual: VfSettings, expected: tuple[Change, ...]) -> None:
    assert changes(wanted, actual) == expected


def vlans() -> st.SearchStrategy[tuple[int, int, VlanProtocol]]:
    tagged = st.tuples(st.integers(1, 4094), st.integers(0, 7), st.sampled_from(VlanProtocol))
    return st.one_of(st.just((0, 0, C_TAG)), tagged)


@st.composite
def told(draw: st.DrawFn) -> VfSettings:
    """Settings as a driver tells them."""
    vlan, qos, proto = draw(vlans())
    low = draw(st.integers(0, 100))
    return VfSettings(
        vlan,
        qos,
        proto,
        draw(st.sampled_from([NO_MAC, MAC, "02:00:00:00:00:0b"])),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.sampled_from(LinkState)),
        low,
        draw(st.integers(low, 1000)),
    )


@given(told(), told(), st.integers(0, 6))
def test_whatever_part_of_the_changes_was_made_the_way_back_leads_to_what_was(
    before: VfSettings, wanted: VfSettings, made: int
) -> None:
    now = before
    for change in changes(wanted, before)[:made]:
        now = done(change, now)
    for change in changes(before, now):
        now = done(change, now)
    assert now == before


@given(told(), told())
def test_after_all_changes_there_is_nothing_left_to_do(before: VfSettings, wanted: VfSettings) -> None:
    now = before
    for change in changes(wanted, before):
        now = done(change, now)
    assert changes(wanted, now) == ()


@pytest.mark.parametrize(
    ("vf", "spec", "settings"),
    [
        pytest.param(VF, VfSpec(VfKind.NETDEV, VfSettings()), VfSettings(), id="a netdev is asked nothing more"),
        pytest.param(
            VF,
            VfSpec(VfKind.DPDK, VfSettings()),
            VfSettings(mac=NETDEV.mac, spoofchk=True, trust=False),
            id="without the kernel the card guards the address that it has",
        ),
        pytest.param(
            VF,
            VfSpec(VfKind.DPDK, VfSettings(mac=MAC, spoofchk=False, trust=True)),
            VfSettings(mac=MAC, spoofchk=False, trust=True),
            id="unless the definition says otherwise",
        ),
        pytest.param(
            replace(VF, driver="vfio-pci", netdev=None, settings=replace(PLAIN, mac=MAC)),
            VfSpec(VfKind.NETDEV, VfSettings()),
            VfSettings(spoofchk=True, trust=False),
            id="a VF that VFIO has is handed over by VFIO",
        ),
        pytest.param(
            replace(VF, driver="vfio-pci", netdev=None),
            VfSpec(VfKind.DPDK, VfSettings()),
            VfSettings(mac=MADE, spoofchk=True, trust=False),
            id="one without an address that anybody says gets one",
        ),
    ],
)
def test_what_follows_from_the_vf(vf: Vf, spec: VfSpec, settings: VfSettings) -> None:
    found = spec_for(vf, spec, MADE)
    assert found.settings == settings
    assert (found.kind is VfKind.DPDK) == (spec.kind is VfKind.DPDK or vf.driver == "vfio-pci")


@pytest.mark.parametrize(
    ("vf", "spec", "words"),
    [
        pytest.param(VF, VfSpec(VfKind.NETDEV, VfSettings()), (), id="a free VF serves"),
        pytest.param(
            VF, VfSpec(VfKind.NETDEV, VfSettings(), 9000), ("mtu: 9000", "1500", "ens1"), id="more than the PF's MTU"
        ),
        pytest.param(VF, VfSpec(VfKind.NETDEV, VfSettings(), 60), ("mtu: 60", "68"), id="an MTU without IPv4"),
        pytest.param(
            replace(VF, netdev=None),
            VfSpec(VfKind.NETDEV, VfSettings()),
            ("deviceID", "iavf", "another"),
            id="a VF that is away",
        ),
        pytest.param(
            replace(VF, netdev=None, driver=""), VfSpec(VfKind.NETDEV, VfSettings()), ("has no driver",), id="no driver"
        ),
        pytest.param(
            replace(VF, settings=replace(PLAIN, min_tx_rate=50)),
            VfSpec(VfKind.NETDEV, VfSettings(max_tx_rate=10)),
            ("min_tx_rate: 50", "max_tx_rate, 10"),
            id="less than the VF is kept free",
        ),
        pytest.param(
            replace(VF, group=None),
            VfSpec(VfKind.DPDK, VfSettings()),
            ("no IOMMU group", "intel_iommu=on"),
            id="no IOMMU",
        ),
        pytest.param(
            replace(VF, group=IommuGroup("9", {"0000:03:02.1": "iavf"})),
            VfSpec(VfKind.DPDK, VfSettings()),
            ("IOMMU group 9", "0000:03:02.1 (iavf)"),
            id="a group that others use",
        ),
        pytest.param(
            replace(VF, group=IommuGroup("9", {"0000:03:02.1": ""})),
            VfSpec(VfKind.DPDK, VfSettings()),
            (),
            id="a group with others that nobody uses",
        ),
    ],
)
def test_a_vf_that_cannot_serve_is_refused_with_the_key(vf: Vf, spec: VfSpec, words: tuple[str, ...]) -> None:
    why = refusal(vf, spec, ())
    assert bool(why) == bool(words)
    assert all(word in why for word in words), why


@pytest.mark.parametrize("kind", VfKind)
@pytest.mark.parametrize(
    ("nic", "words"),
    [
        pytest.param(NIC, "", id="nothing"),
        pytest.param(replace(NIC, node_addresses=("192.0.2.1",)), "by ens1v0 the node has 192.0.2.1", id="an address"),
        pytest.param(replace(NIC, above=("br0",)), "br0 of the node would lose ens1v0", id="a bridge"),
        pytest.param(replace(NIC, is_way_out=True), "a default route of the node leaves by ens1v0", id="the way out"),
        pytest.param(
            replace(NIC, routed=("10.9.0.0/16",)), "by ens1v0 the node has the route to 10.9.0.0/16", id="a route"
        ),
    ],
)
def test_a_vf_by_which_the_node_has_something_is_no_pods(kind: VfKind, nic: Nic, words: str) -> None:
    other = replace(NIC, netdev=replace(NETDEV, name="ens1v0np1", index=11))
    assert refusal(VF, VfSpec(kind, VfSettings()), (other, nic)) == (words and f"deviceID: 0000:03:02.0: {words}")
