"""What somebody takes away of the agent's own in a node's network comes back by itself."""

import os
import time
from collections.abc import Iterator

import pytest

from lab import cluster, site, use
from lab.cluster import Cluster
from lab.site import Options

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

WITHIN_S = 90.0  # within a second on a machine at rest; without a notice it would be three minutes
FOUR, SIX = "10.244.1.2", "fd00:10:244:1::2"  # of the first pod on n1


@pytest.fixture(scope="module")
def mixed() -> Iterator[Cluster]:
    """Three nodes: for n1 the pods of n2 are behind the tunnel, those of n3 behind a gateway."""
    name = f"swlab-repair-{os.getpid()}"
    try:
        made = cluster.up(name, Options(subnets=2, encapsulation="vxlan", cross_subnet=True), print)
        use.idle(made, "idle", "n1")
        yield made
    finally:
        site.remove(name)


@pytest.mark.parametrize(
    "taken",
    [
        pytest.param("ip route del 10.244.3.0/24", id="the route to a node's pods by a gateway"),
        pytest.param("ip route del 10.244.2.0/24", id="the route to a node's pods by the tunnel"),
        pytest.param("ip -6 route del fd00:10:244:3::/64", id="an IPv6 route by a gateway"),
        pytest.param("ip -6 route del fd00:10:244:2::/64", id="an IPv6 route by the tunnel"),
        pytest.param("ip route replace blackhole 10.244.3.0/24 metric 89", id="a route in whose place another stands"),
        pytest.param(f"ip route del {FOUR}", id="a pod's route"),
        pytest.param(f"ip -6 route del {SIX}", id="a pod's IPv6 route"),
        pytest.param(f"ip neigh del {FOUR} dev POD", id="a pod's neighbour"),
        pytest.param(f"ip neigh del {SIX} dev POD", id="a pod's IPv6 neighbour"),
        pytest.param("ip link set POD down", id="the link to a pod"),
        pytest.param("ip link set swtunnel down", id="the tunnel's link"),
        pytest.param("ip link set swtunnel mtu 1300", id="the tunnel's MTU"),
        pytest.param("ip link del swtunnel", id="the tunnel"),
        pytest.param("sysctl -qw net.ipv4.ip_forward=0", id="forwarding"),
        pytest.param("sysctl -qw net.ipv6.conf.all.forwarding=0", id="forwarding of IPv6"),
        pytest.param("sysctl -qw net.ipv4.conf.all.rp_filter=1", id="that no device filters packets by their way back"),
        pytest.param("sysctl -qw net.ipv4.conf.default.rp_filter=1", id="that those do not of which nobody set it"),
        pytest.param("sysctl -qw net.ipv4.conf.POD.rp_filter=1", id="that a pod's device does not, as udev may set it"),
        pytest.param("sysctl -qw net.ipv4.conf.swtunnel.rp_filter=2", id="that the tunnel does not"),
        pytest.param("sysctl -qw net.ipv4.conf.eth0.rp_filter=2", id="that an uplink does not"),
    ],
)
def test_it_comes_back_long_before_the_resync(mixed: Cluster, taken: str) -> None:
    before = _network(mixed)
    device = next(word for word in before.split() if word.startswith("swp")).rstrip(":").partition("@")[0]
    mixed.site.machine("n1").run("bash", "-c", taken.replace("POD", device))
    deadline = time.monotonic() + WITHIN_S
    while (now := _network(mixed)) != before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert now == before


def _network(lab: Cluster) -> str:
    """What the agent keeps on n1, but for numbers that change when a device is made anew."""
    words = (
        "ip route show proto 89; ip -6 route show proto 89; ip neigh show nud permanent | sort;"
        " ip -o link show type veth up | cut -d: -f2 | cut -d@ -f1 | sort;"
        " ip -o link show swtunnel up | grep -o 'mtu [0-9]*';"
        " sysctl -e net.ipv4.ip_forward net.ipv6.conf.all.forwarding;"
        " sysctl -a --pattern '^net.ipv4.conf.(all|eth0|lo|sw.*)[.]rp_filter' 2>/dev/null"
    )
    return lab.site.machine("n1").run("bash", "-c", words, check=False).stdout
