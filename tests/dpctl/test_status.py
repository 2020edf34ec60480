"""The lines of `dpctl status` that say how the node is set up."""

from ipaddress import IPv6Address

import pytest

from dpctl.status import between_fact
from maps import abi

NOWHERE = IPv6Address(0)


@pytest.mark.parametrize(
    ("ifindex", "port", "flags", "state", "words"),
    [
        pytest.param(0, 0, abi.NodeFlag(0), "native", "pods go outside under their own", id="natively"),
        pytest.param(7, 8472, abi.NodeFlag(0), "tunnel", "network 3 by device 7 to UDP port 8472; ", id="by a device"),
        pytest.param(7, 0, abi.NodeFlag.NODE_IPIP, "ipip", "headers of our own, with the MTU of device 7; ", id="IPIP"),
        pytest.param(7, 6081, abi.NodeFlag.NODE_GENEVE, "geneve", "VXLAN's header exchanged; ", id="Geneve exchanged"),
    ],
)
def test_the_way_between_nodes_is_named(ifindex: int, port: int, flags: abi.NodeFlag, state: str, words: str) -> None:
    node = abi.Node(NOWHERE, NOWHERE, 1, 1, 1024, 2048, 30000, 32767, ifindex, 3, port, flags, 8)
    fact = between_fact(node)
    assert fact.state == state
    assert words in fact.note
