"""Tagged frames that come in by an uplink: a VLAN's are left to it, those of a priority alone are the uplink's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from bench import tools
from bench.stream import tail_call
from maps import libbpf
from maps.abi import Scope
from maps.object import Object
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    NODE,
    NODE6,
    POD,
    POD6,
    TC_ACT_REDIRECT,
    TC_ACT_UNSPEC,
    Datapath,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses

pytestmark = pytest.mark.kernel

PORT = 30080
FAMILIES = pytest.mark.parametrize(
    ("client", "own", "pod", "everywhere"),
    [pytest.param(CLIENT, NODE, POD, "0.0.0.0", id="IPv4"), pytest.param(CLIENT6, NODE6, POD6, "::", id="IPv6")],
)
TRANSPORTS = pytest.mark.parametrize(
    ("protocol", "make"), [pytest.param(6, syn, id="TCP"), pytest.param(17, datagram, id="UDP")]
)


@pytest.fixture(scope="module")
def tagging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Object]:
    """The programs of tagged.bpf.c."""
    with Object.open(tools.bpf_object("tagged", tmp_path_factory.mktemp("tagged"), Path(__file__).parent)) as found:
        found.load()
        yield found


def come_in(node: Datapath, tagging: Object, how: str, packet: Packet) -> tuple[int, Ether]:
    """Have the uplink's program see the packet with a tag; its verdict, and the packet."""
    tail_call(tagging.map_fd("next"), node.objects["tc_uplink"].program_fd("uplink_ingress"))
    done = libbpf.test_run(tagging.program_fd(how), bytes(packet))
    return done.retval, Ether(done.packet)


@FAMILIES
@TRANSPORTS
def test_a_tag_that_names_no_vlan_keeps_a_frame_from_nothing(
    node: Datapath, tagging: Object, client: str, own: str, pod: str, everywhere: str, protocol: int, make: type[Packet]
) -> None:
    node.service(everywhere, PORT, [(pod, 8080, True)], protocol=protocol, scope=Scope.SCOPE_EXTERNAL)
    verdict, packet = come_in(node, tagging, "with_priority", frame(client, own, make(dport=PORT)))
    assert (verdict, addresses(packet)) == (TC_ACT_REDIRECT, (client, pod))


@FAMILIES
@TRANSPORTS
def test_a_vlans_frame_is_left_to_the_vlans_device(
    node: Datapath, tagging: Object, client: str, own: str, pod: str, everywhere: str, protocol: int, make: type[Packet]
) -> None:
    node.service(everywhere, PORT, [(pod, 8080, True)], protocol=protocol, scope=Scope.SCOPE_EXTERNAL)
    before = node.counted()
    verdict, packet = come_in(node, tagging, "with_vlan", frame(client, own, make(dport=PORT)))
    assert (verdict, addresses(packet)) == (TC_ACT_UNSPEC, (client, own))
    assert (node.counted(), node.tables["flows"].count()) == (before, 0)
