"""The node beside the two others."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.bpf.datapath import Datapath
from tests.bpf.forwarding.cluster import MTU, cluster
from tests.bpf.uplink import routed


@pytest.fixture(scope="module")
def carrier() -> Iterator[int]:
    """The tunnel's device, in a namespace with routes to the other nodes."""
    with routed():
        subprocess.run(["ip", "link", "add", "tun0", "mtu", str(MTU), "type", "veth", "peer", "tun1"], check=True)
        subprocess.run(["ip", "link", "set", "tun0", "up"], check=True)
        subprocess.run(["ip", "link", "set", "tun1", "up"], check=True)
        shown = subprocess.run(["ip", "-o", "link", "show", "tun0"], check=True, capture_output=True, text=True).stdout
        yield int(shown.partition(":")[0])


@pytest.fixture(params=["ipip", "natively"])
def made(node: Datapath, carrier: int, request: pytest.FixtureRequest) -> Datapath:
    """A node beside two others; what is encapsulated is so by IP in IP."""
    cluster(node, carrier, natively=request.param == "natively")
    return node


@pytest.fixture
def ipip(node: Datapath, carrier: int) -> Datapath:
    """The same, with the others' pods behind the tunnel."""
    cluster(node, carrier, natively=False)
    return node
