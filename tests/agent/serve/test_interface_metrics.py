"""VFs are told by what their PFs have counted, as their pods see it; one whose PF tells nothing is left out."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from agent.model.nic import NicKind, NicSpec
from agent.netlink.counted import CountedVf
from agent.pods.nic.request import NicRequest
from agent.pods.vf.record import VfRecord
from agent.serve.interface_metrics import InterfaceUse, Passed, interface_uses
from tests.agent.pods.nic.nic_node import NicNode
from tests.agent.pods.vf.vf_card import ADDRESS, VfNode
from tests.agent.serve.test_interface_problems import REQUEST

SEEN = CountedVf(rx_packets=1, tx_packets=2, rx_octets=3, tx_octets=4, rx_dropped=5, tx_dropped=6)


def test_a_vf_has_the_numbers_of_its_card_as_its_pod_sees_them(tmp_path: Path) -> None:
    vfs = VfNode(tmp_path).agent()
    asked: list[str] = []

    def card(addresses: Iterable[str]) -> Mapping[str, CountedVf]:
        asked.extend(addresses)
        return {ADDRESS: SEEN}

    assert ([*interface_uses((), vfs.all(), card)], asked) == ([], []), "a node without VFs asks no card"
    record = vfs.add(REQUEST)
    use = InterfaceUse("shop/web", "net1", "dpdk", ingress=Passed(1, 3, 5), egress=Passed(2, 4, 6))
    assert [*interface_uses((), (record, elsewhere(record)), card)] == [use]


def elsewhere(record: VfRecord) -> VfRecord:
    """Another VF, of which no card tells."""
    return msgspec.structs.replace(record, address="0000:77:00.0")


def test_what_is_made_of_a_device_of_the_node_has_its_own_numbers(tmp_path: Path) -> None:
    node = NicNode(tmp_path)
    nics = node.agent()
    nics.add(NicRequest(NicSpec(NicKind.MACVLAN, "eth1"), "lan", "c1", "net1", "/run/netns/p1", REQUEST.pod))
    use = InterfaceUse("shop/web", "net1", "macvlan", ingress=Passed(1, 3, 5), egress=Passed(2, 4, 6))
    assert [*interface_uses((), (), lambda _: {}, nics.counted())] == [use]
    node.devices.end_netns("/run/netns/p1")
    assert [*interface_uses((), (), lambda _: {}, nics.counted())] == []
