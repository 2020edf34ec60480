"""A VF's neighbours hear of the pod's addresses when it has them, also where the link comes later."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from agent.model.vf import VfKind, VfSettings
from agent.netlink.netns import open_netns
from agent.pods.device.claims import claim_addresses
from agent.pods.device.record import DeviceStage
from agent.pods.vf.record import VfBefore, VfRecord
from tests.netns.agents import READY_S

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

ADDRESS, SIX, OLD, NEW = "10.9.0.2", "fd00:9::2", "02:00:00:00:00:01", "02:00:00:00:00:02"


@dataclass(frozen=True)
class Link:
    """A pod and its neighbour; a veth pair is the wire, and stands for a card."""

    pod: str
    neighbour: str

    def record(self, *given: str) -> VfRecord:
        """The pod's VF."""
        path = f"/run/netns/{self.pod}"
        with open_netns(path, may_be_host=False) as there:
            cookie = there.cookie
        before, ips = VfBefore("x", "", VfSettings(), None), [{"address": one} for one in given]
        return VfRecord(
            stage=DeviceStage.ADDED,
            address="0000:03:02.0",
            kind=VfKind.NETDEV,
            network="fast",
            container_id="c1",
            interface="net1",
            netns=path,
            netns_cookie=cookie,
            before=before,
            asked_at_ns=1,
            mac=NEW,
            mtu=1500,
            given={"ips": ips},
        )

    def knows(self, mac: str) -> bool:
        """Whether the neighbour has both addresses there."""
        return all(mac in run(self.neighbour, f"neigh show {address}") for address in (ADDRESS, SIX))


def run(netns: str, words: str) -> str:
    return subprocess.run(["ip", "-n", netns, *words.split()], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link(f"swvc{os.getpid()}p", f"swvc{os.getpid()}n")
    for name in (made.pod, made.neighbour):
        subprocess.run(["ip", "netns", "add", name], check=True)
    run(made.pod, f"link add net1 address {NEW} type veth peer name lan netns {made.neighbour}")
    notify = ["sysctl", "-qw", "net.ipv4.conf.net1.arp_notify=1", "net.ipv6.conf.net1.ndisc_notify=1"]  # as on a VF
    subprocess.run(["ip", "netns", "exec", made.pod, *notify], check=True)
    run(made.pod, "link set net1 up")
    run(made.pod, f"addr add {ADDRESS}/24 dev net1")
    run(made.pod, f"addr add {SIX}/64 dev net1 nodad")
    for address in ("10.9.0.1/24", "fd00:9::1/64 nodad"):
        run(made.neighbour, f"addr add dev lan {address}")
    yield made
    for name in (made.pod, made.neighbour):
        subprocess.run(["ip", "netns", "del", name], check=True)


def begin(link: Link) -> None:
    """The neighbour is there, and has spoken with who had the address before."""
    run(link.neighbour, "link set lan up")
    for address in (ADDRESS, SIX):
        run(link.neighbour, f"neigh replace {address} lladdr {OLD} dev lan nud reachable")
    time.sleep(1.5)  # the kernel believes nobody who changes an entry of this second


def test_a_neighbour_hears_of_the_new_mac_at_once(link: Link) -> None:
    begin(link)
    assert link.knows(OLD), "nothing else tells it"
    claim_addresses(link.record(f"{ADDRESS}/24", f"{SIX}/64"), READY_S)
    assert link.knows(NEW)


def test_and_so_it_does_when_the_link_is_there_later(link: Link) -> None:
    later = threading.Timer(0.5, begin, [link])
    began = time.monotonic()
    later.start()
    try:
        claim_addresses(link.record(f"{ADDRESS}/24"), READY_S)
    finally:
        later.join()
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("given", [pytest.param(("10.9.0.2/24",), id="no link"), pytest.param((), id="no address")])
def test_what_cannot_be_told_keeps_nobody(link: Link, given: tuple[str, ...]) -> None:
    claim_addresses(link.record(*given), 0.1)
    subprocess.run(["ip", "-n", link.pod, "link", "del", "net1"], check=True)
    claim_addresses(link.record(*given), 0.1)
