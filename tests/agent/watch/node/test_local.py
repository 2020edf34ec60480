"""A node's own devices, addresses and routes, followed in a network namespace."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from agent.model.local import Device
from agent.netlink.cookie import netns_cookie
from agent.threads import Threads
from agent.watch.node.local import LocalSource
from agent.watch.node.masquerade import MasqueradeFile
from tests.agent.watch.conftest import Seen

NETNS = f"swwatch{os.getpid()}"
CLONE_NEWNET = 0x40000000
PODS = 250


def test_every_network_namespace_has_a_cookie() -> None:
    assert netns_cookie() > 0


def ip(words: str) -> None:
    subprocess.run(["ip", "-netns", NETNS, *words.split()], check=True)


@pytest.fixture
def source(seen: Seen) -> Iterator[LocalSource]:
    subprocess.run(["ip", "netns", "add", NETNS], check=True)
    ip("link set lo up")
    mirror = seen.mirror()
    source = LocalSource(mirror, MasqueradeFile(None), Threads())

    def start_inside() -> None:
        with Path(f"/run/netns/{NETNS}").open() as netns:
            assert ctypes.CDLL(None).setns(netns.fileno(), CLONE_NEWNET) == 0
        source.start()  # a thread is born into the namespace of the one that starts it

    starter = Thread(target=start_inside)
    starter.start()
    starter.join()
    yield source
    source.stop()
    subprocess.run(["ip", "netns", "del", NETNS], check=True)


def devices(seen: Seen) -> dict[str, Device]:
    return {device.name: device for device in seen.clusters[-1].local.devices} if seen.clusters else {}


@pytest.mark.netns
@pytest.mark.usefixtures("source")
def test_devices_addresses_and_routes_are_followed(seen: Seen) -> None:
    first = seen.until(lambda cluster: cluster.local.devices)
    assert [(d.name, d.loopback, d.addresses) for d in first.local.devices] == [("lo", True, ())]
    ip("link add up0 type veth peer name up1")
    ip("addr add 192.0.2.2/24 dev up0")
    ip("addr add 198.51.100.9/32 dev lo")
    ip("link set up0 up")
    ip("link set up1 up")
    seen.until(lambda _: "up0" in devices(seen) and devices(seen)["up0"].addresses)
    ip("route add default via 192.0.2.1")
    seen.until(lambda _: devices(seen)["up0"].default_route)
    assert str(devices(seen)["up0"].addresses[0]) == "192.0.2.2"
    assert [str(address) for address in devices(seen)["lo"].addresses] == ["198.51.100.9"]
    assert not devices(seen)["up1"].default_route
    ip("link set up1 down")
    seen.until(lambda _: not devices(seen)["up1"].is_up)
    ip("link set up1 up")
    seen.until(lambda _: devices(seen)["up1"].is_up)
    ip("link del up0")
    seen.until(lambda _: set(devices(seen)) == {"lo"})


@pytest.mark.netns
@pytest.mark.usefixtures("source")
def test_the_addresses_fit_for_what_leaves_are_known_in_the_kernels_order(seen: Seen) -> None:
    ip("link add up0 type veth peer name up1")
    ip("link set up0 up")
    ip("link set up1 up")
    for address in ("192.0.2.9/24", "192.0.2.2/24", "198.51.100.1/32", "203.0.113.1/24 scope link"):
        ip(f"addr add {address} dev up0")
    for address in ("2001:db8::9/64 nodad preferred_lft 0", "2001:db8::2/64 nodad"):
        ip(f"addr add {address} dev up0")
    seen.until(lambda _: "up0" in devices(seen) and len(devices(seen)["up0"].sources) == 3)
    assert [str(address) for address in devices(seen)["up0"].sources] == ["192.0.2.9", "198.51.100.1", "2001:db8::2"]
    assert len(devices(seen)["up0"].addresses) >= 6


@pytest.mark.netns
@pytest.mark.usefixtures("source")
def test_routes_by_gateways_on_no_subnet_of_their_device_are_known(seen: Seen) -> None:
    ip("link add up0 type veth peer name up1")
    ip("addr add 10.240.0.2/32 dev up0")
    ip("addr add 192.0.2.2/24 dev up0")
    ip("link set up0 up")
    ip("link set up1 up")
    ip("route add 10.240.0.1 dev up0")
    ip("route add 10.0.0.0/16 via 10.240.0.1 dev up0")
    ip("route add 10.1.0.0/16 via 10.240.0.1 dev up0 onlink")  # BIRD takes these, and that of a gateway beside
    ip("route add 10.2.0.0/16 via 192.0.2.1 dev up0 metric 5")
    ip("route add 10.2.0.0/16 via 10.240.0.1 dev up0 metric 10")
    ip("route add 10.3.0.0/16 via 10.240.0.1 dev up0 proto bird")
    ip("route add default via 10.240.0.1 dev up0")
    seen.until(lambda cluster: len(cluster.local.far_gateways) == 2)
    assert {(str(one.network), str(one.gateway), one.device) for one in seen.clusters[-1].local.far_gateways} == {
        ("0.0.0.0/0", "10.240.0.1", "up0"),
        ("10.0.0.0/16", "10.240.0.1", "up0"),
    }
    ip("route del default")
    seen.until(lambda cluster: len(cluster.local.far_gateways) == 1)


@pytest.mark.netns
@pytest.mark.usefixtures("source")
def test_a_bridge_is_known_as_one(seen: Seen) -> None:
    ip("link add br0 type bridge")
    ip("link add up0 type veth peer name up1")
    seen.until(lambda _: {"br0", "up0"} <= devices(seen).keys())
    assert {name for name, device in devices(seen).items() if device.is_bridge} == {"br0"}


@pytest.mark.netns
@pytest.mark.usefixtures("source")
def test_whose_port_a_device_is_is_followed(seen: Seen) -> None:
    ip("link add br0 type bridge")
    ip("link add up0 type veth peer name up1")
    ip("link set up0 master br0")
    seen.until(lambda _: "up0" in devices(seen) and devices(seen)["up0"].master)
    found = devices(seen)
    assert (found["up0"].master, found["up1"].master, found["br0"].master) == (found["br0"].ifindex, 0, 0)
    ip("link set up0 nomaster")
    seen.until(lambda _: not devices(seen)["up0"].master)


@pytest.mark.netns
@pytest.mark.usefixtures("source")
def test_pods_devices_are_no_devices_of_the_node(seen: Seen) -> None:
    seen.until(lambda cluster: cluster.local.devices)
    before = len(seen.clusters)
    ip("link add swp0123456789 type veth peer name eth0")
    ip("link set swp0123456789 up")
    ip("link add real0 type veth peer name real1")
    seen.until(lambda _: "real0" in devices(seen))
    assert "swp0123456789" not in devices(seen)
    ip("link add swp1 type veth peer name eth1")  # as a switch's ports are called
    seen.until(lambda _: "swp1" in devices(seen))
    assert len(seen.clusters) <= before + 4


@pytest.mark.netns
@pytest.mark.usefixtures("source")
def test_a_node_full_of_pods_is_followed_as_any_other(seen: Seen) -> None:
    """The lists of its links, addresses and routes come in several pieces each."""
    seen.until(lambda cluster: cluster.local.devices)
    lines = []
    for n in range(1, PODS + 1):
        pod, peer = f"swp{n:010x}", f"swp{PODS + n:010x}"
        lines += [f"link add {pod} type veth peer name {peer}", f"link set {pod} up", f"link set {peer} up"]
        lines += [f"route add 10.1.{n >> 8}.{n & 255}/32 dev {pod}", f"route add fd00::{n:x}/128 dev {pod}"]
    lines += ["link add up0 type veth peer name up1", "link set up0 up", "link set up1 up"]
    lines += ["addr add 192.0.2.2/24 dev up0", "addr add 2001:db8::2/64 dev up0 nodad"]
    lines += ["route add default via 192.0.2.1", "route add default via 2001:db8::1 metric 9"]
    subprocess.run(["ip", "-netns", NETNS, "-batch", "-"], input="\n".join(lines), text=True, check=True)
    seen.until(lambda _: "up0" in devices(seen) and devices(seen)["up0"].default_route)
    ip("route del default via 192.0.2.1")
    ip("link set up0 mtu 1400")
    seen.until(lambda _: devices(seen)["up0"].mtu == 1400)
    assert devices(seen)["up0"].default_route, "by IPv6"
    assert {str(address) for address in devices(seen)["up0"].addresses} >= {"192.0.2.2", "2001:db8::2"}
    assert devices(seen).keys() == {"lo", "up0", "up1"}
    ip("route del default via 2001:db8::1")
    seen.until(lambda _: not devices(seen)["up0"].default_route)


@pytest.mark.netns
@pytest.mark.usefixtures("source")
def test_a_multipath_default_route_leads_by_each_of_its_devices(seen: Seen) -> None:
    for n in (0, 1):
        ip(f"link add up{n} type veth peer name far{n}")
        ip(f"addr add 192.0.{n}.2/24 dev up{n}")
        ip(f"link set up{n} up")
        ip(f"link set far{n} up")
    ip("route add default nexthop via 192.0.0.1 nexthop via 192.0.1.1")
    seen.until(lambda _: [n for n, device in devices(seen).items() if device.default_route] == ["up0", "up1"])


@pytest.mark.netns
@pytest.mark.usefixtures("source")
def test_the_peers_subnet_is_that_of_a_point_to_point_device(seen: Seen) -> None:
    ip("link add up0 type veth peer name up1")
    ip("addr add 192.0.2.2 peer 198.51.100.0/24 dev up0")
    seen.until(lambda _: "up0" in devices(seen) and devices(seen)["up0"].addresses)
    assert [str(address) for address in devices(seen)["up0"].addresses] == ["192.0.2.2"]
    assert [str(network) for network in devices(seen)["up0"].networks] == ["198.51.100.0/24"]


@pytest.mark.netns
@pytest.mark.usefixtures("source")
def test_a_device_whose_packets_begin_with_ip_is_known_as_such(seen: Seen) -> None:
    ip("link add frames type veth peer name other")
    ip("tuntap add packets mode tun")
    seen.until(lambda _: {"frames", "packets"} <= devices(seen).keys())
    found = devices(seen)
    assert (found["frames"].has_ethernet, found["packets"].has_ethernet) == (True, False)


@pytest.mark.netns
@pytest.mark.usefixtures("source")
def test_a_device_without_ipv6_is_known_as_such(seen: Seen) -> None:
    seen.until(lambda cluster: cluster.local.devices)
    ip("link add up0 type veth peer name up1")
    for name in ("up0", "up1"):
        ip(f"link set {name} up")
    seen.until(lambda _: {"up0", "up1"} <= devices(seen).keys() and all(d.addresses for d in others(seen)))
    subprocess.run(
        ["nsenter", f"--net=/run/netns/{NETNS}", "sysctl", "-qw", "net.ipv6.conf.up0.disable_ipv6=1"], check=True
    )
    seen.until(lambda _: {d.name for d in others(seen) if not d.has_ipv6} == {"up0"})
    assert seen.clusters[-1].local.has_ipv6


def others(seen: Seen) -> list[Device]:
    return [device for device in devices(seen).values() if not device.loopback]


@pytest.mark.netns
@pytest.mark.usefixtures("source")
def test_the_cookie_is_that_of_the_namespace(seen: Seen) -> None:
    cluster = seen.until(lambda cluster: cluster.local.netns_cookie)
    assert cluster.local.netns_cookie != netns_cookie()
    assert cluster.local.port_range == (32768, 60999)
