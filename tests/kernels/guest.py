"""Runs in the guest: every object loads, a connection passes each hook, IPv4 and IPv6, by uplinks of several kinds.

The hooks are tried one after the other, so that none can do another's work: the socket programs alone serve the
node's own process, and are taken off before a pod's and the neighbour's packets are sent.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from agent.kernel.programs import attach, features
from agent.kernel.programs.build import NAMES
from agent.kernel.programs.hooks import ON_DEMAND, POD, UPLINK
from agent.kernel.programs.load import Loaded
from agent.model.address import Address
from agent.netlink import netns
from agent.netlink.dump import Dump
from agent.netlink.socket import Socket
from agent.watch.node.qdisc import paced, qdiscs
from maps import abi, paths
from maps.pins import PinRoot
from tests.kernels import ipvs, sctp, site, tunnels, uplinks

PINS = Path("/sys/fs/bpf/sluiceway")
CGROUP = Path("/sys/fs/cgroup")
ENTRIES = 4096  # of each map that a node sizes: the guest is small
SIZES = {name: ENTRIES for name, spec in abi.MAPS.items() if spec.is_sized}
TIMEOUT_S = 60
LARGE = 8000  # bytes of a datagram in fragments
SHUFFLE = (sys.executable, "-I", "-S", str(Path(__file__).parents[1] / "lab/shuffle.py"))
RATE, DATAGRAMS, OCTETS = 100_000, 20, 1250  # a tenth of a second each
CLIENTS = {"node": "", "pod": "/run/netns/client", "outside": "/run/netns/outside"}


def main() -> int:
    """Load, attach, connect; the status is the number of failures."""
    pins = PinRoot(PINS)
    pins.lock()
    generation = pins.generation("one")
    objects = {name: paths.objects() / f"{name}.bpf.o" for name in NAMES}
    begin = time.monotonic()
    loaded = Loaded(objects, generation, SIZES, {"xdp_is_generic": 1})  # with what that adds to tc's program
    for name in ON_DEMAND:
        print(f"{name} is loaded too, as {loaded.programs[name]}", flush=True)
    print(
        f"loaded {', '.join(objects)}: {len(loaded.programs)} programs in {time.monotonic() - begin:.1f} s", flush=True
    )

    loaded.start_gc()
    site.build()
    site.fill(generation.maps)
    tcx = features.kernel_version(os.uname().release) >= features.TCX
    hooks = attach.Hooks(pins.links, loaded.programs, tcx=tcx)
    pods = [socket.if_nametoindex(site.device(pod)) for pod in site.PODS]
    with Socket() as netlink:
        for pod in pods:
            netlink.ask(*hooks.guards(pod, POD))
    hooks.attach(socket.if_nametoindex("uplink"), UPLINK)
    serve()

    failures = [*through_sockets(hooks), *through_packets("clsact"), *in_fragments("clsact")]
    if tcx:
        for pod in pods:
            hooks.move_to_tcx(pod, POD)
        failures += [*through_packets("tcx"), *in_fragments("tcx")]
    failures += sctp.tried_associations(generation.maps, tried)
    failures += [f"programs on device {pod}" for pod in pods if not hooks.has(pod, POD)]
    failures += masqueraded(generation.maps)
    failures += uplinks.tried_kinds(hooks, generation.maps, tried)
    nodes = tunnels.build(hooks, generation.maps, objects, SIZES, tcx=tcx)
    failures += tunnels.tried_modes(nodes, tried)
    failures += ipvs.tried_removal(tried)
    counted = site.counted(generation.maps)
    failures += past_the_stack()
    failures += in_time(generation.maps)
    failures += [name for name in ("PROGRAM_POD", "PROGRAM_UPLINK") if not any(name in line for line in counted)]
    print(f"counted: {counted}")
    for failure in failures:
        print(f"FAILED: {failure}")
    return len(failures)


def through_sockets(hooks: attach.Hooks) -> list[str]:
    """The node's own process reaches the service, under the service's name, and is refused by an empty one."""
    hooks.attach_sockets(CGROUP)
    failures = []
    for f in site.FAMILIES:
        failures += tried(f"sock, node to {f.service}", partial(talk, "node", f.service, site.SERVICE_PORT))
        failures += tried(f"sock, node is refused by {f.empty}", partial(refused, "node", f.empty))
    hooks.detach_sockets()
    return failures


def through_packets(how: str) -> list[str]:
    """A pod reaches the service and is refused by the empty one; the neighbour reaches the node port."""
    failures = []
    for f in site.FAMILIES:
        failures += tried(f"tc_pod by {how}, pod to {f.service}", partial(talk, "pod", f.service, site.SERVICE_PORT))
        failures += tried(f"tc_pod by {how}, pod is refused by {f.empty}", partial(refused, "pod", f.empty))
        what = f"tc_uplink by {how}, neighbour to {f.node}:{site.NODE_PORT}"
        failures += tried(what, partial(talk, "outside", f.node, site.NODE_PORT))
    return failures


def in_fragments(how: str) -> list[str]:
    """A datagram's fragments reach the backend whole, the last one first; so does its answer, in no order at all."""
    server = [*inside("/run/netns/backend"), *SHUFFLE, "serve", str(site.BACKEND_PORT), "shuffled"]
    failures = []
    with subprocess.Popen(server, stdout=subprocess.PIPE) as serving:
        assert serving.stdout
        assert serving.stdout.readline() == b"ready\n"
        for f in site.FAMILIES:
            for where, address, port in (("pod", f.service, site.SERVICE_PORT), ("outside", f.node, site.NODE_PORT)):
                what = f"fragments by {how}, {where} to {address}"
                failures += tried(what, partial(send_reversed, where, address, port))
        serving.kill()
    return failures


def inside(namespace: str) -> tuple[str, ...]:
    """What a command begins with to run there."""
    return "nsenter", f"--net={namespace}", "--"


def send_reversed(where: str, address: Address, port: int) -> None:
    """Have a datagram come back that went in fragments, the last one first."""
    ask = [*inside(CLIENTS[where]), *SHUFFLE, "ask", "udp", str(address), str(port), str(LARGE), "reversed", "1200"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert not done.returncode, done.stderr.strip()[-200:]


def past_the_stack() -> list[str]:
    """What a pod sends outside takes the kernel's route past its stack, also to a neighbour that is not known."""
    failures = []
    for f in site.FAMILIES:
        failures += tried(f"past the stack, pod to {f.outside}", partial(not_forwarded, f.client, f.outside))
    return failures


def not_forwarded(pod: Address, outside: Address) -> None:
    """Send datagrams from the pod to the neighbour; the node's stack forwards none."""
    sender, receiver = pod_to_outside(pod, outside)
    subprocess.run(["ip", "neighbour", "flush", "dev", "uplink"], check=True)
    with sender, receiver:
        before = forwarded()
        for _ in range(DATAGRAMS):
            sender.sendto(bytes(OCTETS), (str(outside), site.SERVICE_PORT))
            receiver.recv(2 * OCTETS)
        assert forwarded() == before, "the stack forwarded"


def forwarded() -> tuple[int, int]:
    """Packets of each family that the stack forwarded so far."""
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines()[:2])
    six = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return int(values[names.index("ForwDatagrams")]), int(six["Ip6OutForwDatagrams"])


def pod_to_outside(pod: Address, outside: Address) -> tuple[socket.socket, socket.socket]:
    """A datagram socket of the pod, and one of the neighbour that waits for what it sends."""
    family = socket.AF_INET if pod.version == 4 else socket.AF_INET6
    with netns.inside(CLIENTS["outside"]):
        receiver = socket.socket(family, socket.SOCK_DGRAM)
        receiver.bind((str(outside), site.SERVICE_PORT))
        receiver.settimeout(TIMEOUT_S)
    with netns.inside(CLIENTS["pod"]):
        return socket.socket(family, socket.SOCK_DGRAM), receiver


def masqueraded(maps: Path) -> list[str]:
    """What a pod sends out is from the address of its way, whether or not the kernel can say which that is."""
    failures = []
    site.masquerade(maps)
    for f in site.FAMILIES:
        failures += tried(f"pod to {f.outside} under {f.node}", partial(seen_as, f.node, f.client, f.outside))
    site.fill(maps)
    return failures


def seen_as(expected: Address, pod: Address, outside: Address) -> None:
    """Have the neighbour see the pod's datagram come from an address, and its answer come back."""
    sender, receiver = pod_to_outside(pod, outside)
    with sender, receiver:
        sender.settimeout(TIMEOUT_S)
        sender.sendto(b"hello", (str(outside), site.SERVICE_PORT))
        _, seen = receiver.recvfrom(64)
        assert seen[0] == str(expected), seen
        receiver.sendto(b"back", seen)
        assert sender.recvfrom(64)[1][:2] == (str(outside), site.SERVICE_PORT)


def in_time(maps: Path) -> list[str]:
    """What a pod with a limit sends at once leaves one after the other, and none of it is lost."""
    subprocess.run(["tc", "qdisc", "replace", "dev", "uplink", "root", "fq"], check=True)
    with Dump() as dump:
        keep_time = paced(qdiscs(dump))
    assert keep_time == {socket.if_nametoindex("uplink")}, keep_time
    failures = []
    for f in site.FAMILIES:
        site.limit(maps, RATE, keep_time)
        failures += tried(f"fq, pod to {f.outside} at {RATE} bit/s", partial(spaced, f.client, f.outside))
    return failures


def spaced(pod: Address, outside: Address) -> None:
    """Send DATAGRAMS from the pod to the neighbour in no time; they take theirs."""
    sender, receiver = pod_to_outside(pod, outside)
    with sender, receiver:
        began = time.monotonic()
        for _ in range(DATAGRAMS):
            sender.sendto(bytes(OCTETS), (str(outside), site.SERVICE_PORT))
        sent = time.monotonic() - began
        for _ in range(DATAGRAMS):
            receiver.recv(2 * OCTETS)
        took = time.monotonic() - began
    # the last one's turn is when all others have had theirs
    least = (DATAGRAMS - 1) * OCTETS * 8 / RATE
    assert took >= least, f"sent in {sent:.3f} s, there in {took:.3f} s, not {least:.3f}"


def tried(what: str, do: Callable[[], None]) -> list[str]:
    """Do it and say how it went; what failed, if it did."""
    try:
        do()
    except (OSError, AssertionError, subprocess.SubprocessError) as error:
        print(f"{what}: {error!r}", flush=True)
        return [what]
    print(f"{what}: passed", flush=True)
    return []


def serve() -> None:
    """Answer every connection in the backend pod with what it sent."""

    def answer(listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(connection.recv(64))

    with netns.inside("/run/netns/backend"):
        for kind, address in ((socket.AF_INET, site.IPV4.backend), (socket.AF_INET6, site.IPV6.backend)):
            listener = socket.create_server((str(address), site.BACKEND_PORT), family=kind)
            threading.Thread(target=answer, args=(listener,), daemon=True).start()


def client(where: str, family: int) -> socket.socket:
    """A TCP socket of the node, the pod or the neighbour: it stays in the namespace it was made in."""
    if not CLIENTS[where]:
        made = socket.socket(family)
    else:
        with netns.inside(CLIENTS[where]):
            made = socket.socket(family)
    made.settimeout(TIMEOUT_S)
    return made


def talk(where: str, address: Address, port: int) -> None:
    """Connect, and have a word come back from the peer that was asked for."""
    with client(where, socket.AF_INET if address.version == 4 else socket.AF_INET6) as connection:
        connection.connect((str(address), port))
        assert connection.getpeername()[0] == str(address), connection.getpeername()
        connection.sendall(b"hello")
        assert connection.recv(64) == b"hello"


def refused(where: str, address: Address) -> None:
    """Be refused, and at once."""
    with client(where, socket.AF_INET if address.version == 4 else socket.AF_INET6) as connection:
        try:
            connection.connect((str(address), site.SERVICE_PORT))
        except ConnectionRefusedError:
            return
    raise AssertionError("connected")


if __name__ == "__main__":
    sys.exit(main())
