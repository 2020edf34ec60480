"""The programs on a VF in a pod, in the kernel: real sockets, a pod that configures its devices, agents that follow.

One end of a veth plays the VF in the pod's namespace; the other is the wire.
"""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from types import MappingProxyType

import pytest

from agent.compile.desired import Desired
from agent.kernel.device.vf_programs import HOOKS, VfPrograms, VfProgramsPart
from agent.kernel.programs.load import Loaded
from agent.model.attachment import Attachment, DeviceInPod, Veth
from agent.netlink.netns import inside, open_netns
from maps import libbpf, paths
from maps.abi import DropReason
from maps.libbpf import AttachType
from maps.pins import PinRoot, held
from tests.agent.kernel.device.vf_maps import PORT, RULES, SERVICE, SIZES, TAKEN_OFF, VfMaps

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

NAME = f"swvf{os.getpid()}"
POD, WIRE = f"/run/netns/{NAME}p", f"/run/netns/{NAME}w"
PCI, SLOT, MAC = "0000:03:02.0", 3, "02:00:00:00:09:02"
FAMILIES = (("10.9.0.2", "10.9.0.3", "10.96.0.9"), ("fd09::2", "fd09::3", "fd96::9"))
CLOSED = PORT + 1
NOTHING: tuple[tuple[Attachment, ...], bool] = ((), True)
SOON_S = 0.3  # nobody answers who is denied
PATIENCE_S = 60.0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def wired() -> Iterator[None]:
    """A pod and a wire with a neighbour on it, and no time for doubled addresses."""
    for end in ("p", "w"):
        ip("netns", "add", f"{NAME}{end}")
    pod, wire = ("-n", f"{NAME}p"), ("-n", f"{NAME}w")
    ip(*pod, "link", "add", "net1", "address", MAC, "type", "veth", "peer", "name", "wire", "netns", f"{NAME}w")
    for family, (own, peer, vip) in enumerate(FAMILIES):
        prefix = ("24", "64")[family]
        no_dad = ("nodad",) if family else ()
        ip(*pod, "address", "add", f"{own}/{prefix}", "dev", "net1", *no_dad)
        ip(*wire, "address", "add", f"{peer}/{prefix}", "dev", "wire", *no_dad)
        ip(*pod, "link", "set", "net1", "up")
        ip(*wire, "link", "set", "wire", "up")
        ip(*pod, "route", "add", vip, "via", peer)
    yield
    for end in ("p", "w"):
        ip("netns", "del", f"{NAME}{end}")


@dataclass
class Agent:
    """What of an agent has to do with it."""

    loaded: Loaded
    maps: VfMaps
    attachment: Attachment
    programs: VfPrograms


@contextmanager
def agent(pin_root: Path) -> Iterator[Agent]:
    """An agent on the maps of those before it; it dies at the block's end."""
    path = paths.objects() / "tc_vf.bpf.o"
    loaded = Loaded({"tc_vf": path}, PinRoot(pin_root).generation("one"), SIZES)
    with open_netns(POD, may_be_host=False) as there:
        cookie, index = there.cookie, there.pod.find(name="net1")
    assert index is not None
    own = (*(ip_address(each[0]) for each in FAMILIES), IPv6Address("fe80::ff:fe00:902"))
    attachment = Attachment(
        *("c1", "net1", 1, SLOT, POD, cookie, MAC, Veth("", 0, in_pod=DeviceInPod(PCI, own))),
        *(IPv4Address(FAMILIES[0][0]), IPv6Address(FAMILIES[1][0])),
    )
    programs = VfPrograms(loaded.of_interface(path, SIZES), PinRoot(pin_root).vfs, lambda _: index.index)
    try:
        yield Agent(loaded, VfMaps(loaded.generation.maps), attachment, programs)
    finally:
        loaded.close()


def listening(where: str, address: str, port: int) -> socket.socket:
    with inside(where):
        made = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.settimeout(PATIENCE_S)
    return made


def client(where: str, address: str, port: int, patience_s: float = PATIENCE_S) -> socket.socket:
    """Connected.

    Raises:
        OSError: it is not.
    """
    with inside(where):
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.settimeout(patience_s)
    try:
        made.connect((address, port))
    except OSError:
        made.close()
        raise
    return made


def connects(where: str, address: str, port: int, server: socket.socket) -> bool:
    """Whether a connection comes to be, is answered, and under the name that was asked."""
    try:
        asking = client(where, address, port, SOON_S)
    except TimeoutError:
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
        server.settimeout(PATIENCE_S)
        return False
    with asking:
        asking.settimeout(PATIENCE_S)
        answering, _ = server.accept()
        with answering:
            answering.sendall(b"here")
            return asking.recv(4) == b"here"


def on_device(kind: AttachType) -> tuple[int, ...]:
    with open_netns(POD, may_be_host=False) as there:
        found = there.pod.find(name="net1")
    assert found is not None
    with inside(POD):
        return tuple(libbpf.program_query(found.index, kind))


def check_policy(one: Agent) -> None:
    """Of the pod's ports one is open, and so it is of others' for the pod; a service is judged by its backend."""
    with ExitStack() as stack:
        for own, peer, vip in FAMILIES:
            servers = {
                (where, port): stack.enter_context(listening(where, address, port))
                for where, address in ((POD, own), (WIRE, peer))
                for port in (PORT, CLOSED)
            }
            for where, address in ((WIRE, own), (POD, peer)):
                there = POD if where == WIRE else WIRE
                before = sum(one.maps.dropped(why) for why in DENIED)
                assert connects(where, address, PORT, servers[there, PORT])
                assert not connects(where, address, CLOSED, servers[there, CLOSED])
                assert sum(one.maps.dropped(why) for why in DENIED) > before
            assert connects(POD, vip, SERVICE, servers[WIRE, PORT])


DENIED = (DropReason.DROP_POLICY_INGRESS, DropReason.DROP_POLICY_EGRESS)


def test_policy_and_services_hold_on_a_device_that_is_the_pods(wired: None, pin_root: Path) -> None:
    del wired
    folder = pin_root / "vfs/0000_03_02_0"
    with agent(pin_root) as first:
        first.maps.fill((peer, vip) for _, peer, vip in FAMILIES)
        first.maps.say(first.attachment, ingress=RULES, egress=RULES)
        first.programs.adopt(first.attachment)
        check_policy(first)
        for command in TAKEN_OFF:
            with inside(POD):
                subprocess.run(command.split(), check=False, capture_output=True)
        ip("-n", f"{NAME}p", "address", "replace", f"{FAMILIES[1][0]}/64", "dev", "net1", "nodad")
        for family, (_, peer, vip) in enumerate(FAMILIES):
            ip("-n", f"{NAME}p", f"-{(4, 6)[family]}", "route", "replace", vip, "via", peer)
        check_policy(first)
        first.maps.say(first.attachment)
        server = listening(WIRE, FAMILIES[0][1], PORT)
        asking = client(POD, FAMILIES[0][2], SERVICE)
        answering, _ = server.accept()
        with held(folder / "vf_egress") as link:
            before = libbpf.link_info(link)
    with agent(pin_root) as second:
        part = VfProgramsPart(second.programs, has_moved=lambda: True)
        wanted = part.wanted(Desired(attachments=MappingProxyType({second.attachment.key: second.attachment})))
        for _ in range(2):
            list(part.apply(wanted))
        with held(folder / "vf_egress") as link:
            after = libbpf.link_info(link)
        assert (after.id, after.program_id != before.program_id) == (before.id, True)
        answering.sendall(b"more")
        assert asking.recv(4) == b"more", "a connection goes on"
        second.maps.say(second.attachment, ingress=RULES)
        check_policy_of_ingress(second)
        assert second.programs.is_attached(PCI)
        second.programs.remove(PCI)
        assert not second.programs.is_attached(PCI)
        assert [on_device(kind) for kind in HOOKS.values()] == [(), ()]
        assert not folder.exists()
        second.programs.remove(PCI)
    for each in (server, asking, answering):
        each.close()


def check_policy_of_ingress(one: Agent) -> None:
    before = one.maps.dropped(DropReason.DROP_POLICY_INGRESS)
    with listening(POD, FAMILIES[0][0], CLOSED) as server:
        assert not connects(WIRE, FAMILIES[0][0], CLOSED, server)
    assert one.maps.dropped(DropReason.DROP_POLICY_INGRESS) > before


def test_programs_are_exchanged_in_place_where_the_device_has_other_addresses(wired: None, pin_root: Path) -> None:
    """As a link-local one of another MAC; where nothing else than the MAC is another, it is in the maps."""
    del wired
    with agent(pin_root) as one:
        one.programs.adopt(one.attachment)
        assert one.attachment.link.in_pod
        known, (link, program) = one.attachment.link.in_pod, on_link(pin_root)
        one.programs.adopt(replace(one.attachment, mac="02:00:00:00:09:03"))
        assert on_link(pin_root) == (link, program)
        more = replace(known, own=(*known.own, IPv6Address("fe80::ff:fe00:903")))
        one.programs.adopt(replace(one.attachment, link=Veth("", 0, in_pod=more)))
        assert (on_link(pin_root)[0], on_link(pin_root)[1] != program) == (link, True)


def on_link(pin_root: Path) -> tuple[int, int]:
    """The numbers of what holds a program, and of the program."""
    with held(pin_root / "vfs/0000_03_02_0/vf_egress") as link:
        found = libbpf.link_info(link)
    return found.id, found.program_id


def test_nothing_is_left_of_a_vf_that_is_gone(wired: None, pin_root: Path) -> None:
    del wired
    with agent(pin_root) as one:
        part = VfProgramsPart(one.programs, has_moved=lambda: True)
        one.programs.adopt(one.attachment)
        list(part.apply(NOTHING))
        assert one.programs.is_attached(PCI), "ADD has just made it"
        ip("-n", f"{NAME}p", "link", "del", "net1")
        list(part.apply(NOTHING))
        assert not list((pin_root / "vfs").iterdir())


def test_without_hooks_that_a_pod_cannot_empty_there_are_none(wired: None, pin_root: Path) -> None:
    del wired
    with agent(pin_root) as one:
        programs = VfPrograms(None, pin_root / "vfs")
        programs.adopt(one.attachment)
        assert (programs.is_possible, on_device(AttachType.TCX_INGRESS)) == (False, ())
