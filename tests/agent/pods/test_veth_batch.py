"""The netlink batch that makes a pod's veth: what must not happen without another comes behind it."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from agent.netlink import requests
from agent.netlink.batch import Messages, SetSysctl
from agent.netlink.netns import NetnsHandle
from agent.netlink.socket import Socket
from agent.options.values import LEAST_MTU
from agent.pods.veth_batch import Batch, veth_batch
from agent.pods.veth_spec import VethSpec
from maps.netlink import End

NODE, POD, NETNS = 90, 91, 92  # descriptors that nobody opens
SYSCTL, GUARD = SetSysctl("/proc/sys/net/ipv4/conf/swp/rp_filter", "0"), requests.add_clsact(0)


def _batch(*, ipv6: bool = True, without_ipv6: bool = False) -> Batch:
    four, six = IPv4Address("10.0.0.2"), IPv6Address("fd00::2") if ipv6 else None
    spec = VethSpec("c1", "eth0", "/run/netns/c1", may_be_host=False, ipv4=four, ipv6=six)
    netns = NetnsHandle(Socket(NODE), Socket(POD), NETNS, 7, without_ipv6)
    return veth_batch(spec, netns, LEAST_MTU, ((SYSCTL,), (GUARD,)))


def _ups(batch: Batch) -> list[int]:
    """The parts that set an end of the pair up."""
    return [i for i, s in enumerate(batch) if isinstance(s, Messages) and any("up" in r.doing for r in s.requests)]


def test_the_nodes_end_comes_up_behind_its_sysctls_and_programs_and_the_pods_end_before() -> None:
    batch = _batch()
    pod_up, node_up = _ups(batch)
    guarded = next(i for i, s in enumerate(batch) if isinstance(s, Messages) and GUARD in s.requests)
    assert pod_up < batch.index(SYSCTL) < guarded < node_up


def test_each_end_is_named_by_its_own_number() -> None:
    ends = [(part.fd, part.end) for part in _batch() if isinstance(part, Messages)]
    assert ends[0] == (NODE, End.NOBODY)
    assert {*ends[1:]} == {(NODE, End.DEVICE), (POD, End.PEER)}


@pytest.mark.parametrize(("ipv6", "switched"), [(True, True), (False, False)])
def test_ipv6_is_switched_on_in_the_pod_where_it_is_off_and_wanted(*, ipv6: bool, switched: bool) -> None:
    batch = _batch(ipv6=ipv6, without_ipv6=True)
    switch = SetSysctl("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "0", NETNS)
    assert (switch in batch) == switched
    assert switch not in _batch(without_ipv6=False)
    assert not switched or batch.index(switch) < _ups(batch)[0], "an address has no place before"
