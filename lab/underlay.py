"""The wire between the machines: one bridge in a namespace of its own, which also routes what they send elsewhere.

The host's network has no part in it; a packet never leaves the namespaces.
"""

import subprocess
from collections.abc import Mapping, Sequence

from lab.addresses import ROUTER, UNDERLAY4, UNDERLAY6, Networks, on_underlay
from lab.errors import CommandFailedError
from lab.machine import Machine

BRIDGE = "br0"
UPLINK = "eth0"
_FORWARDING = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")


def connect(router: Machine, machines: Sequence[Machine], *, checksums: bool) -> None:
    """Give every machine its uplink, addresses and default route.

    With *checksums* the uplinks compute checksums as a wire would need them: between virtual devices the kernel
    leaves them undone, and a datapath that spoils them would not be noticed.
    """
    gateway4, gateway6 = on_underlay(ROUTER)
    router.run("sysctl", "--quiet", "--write", *_FORWARDING)
    _ip(
        router,
        f"link add {BRIDGE} type bridge mcast_snooping 0",
        f"link set {BRIDGE} up",
        f"addr add {gateway4}/{UNDERLAY4.prefixlen} dev {BRIDGE}",
        f"addr add {gateway6}/{UNDERLAY6.prefixlen} dev {BRIDGE} nodad",
    )
    for machine in machines:
        # the process namespace is the host's here: the kernel is told whose namespace by a number
        _ip(router, f"link add {machine.name} type veth peer name {UPLINK} netns {machine.process}")
        _ip(router, f"link set {machine.name} master {BRIDGE} up")
        machine.run("sysctl", "--quiet", "--write", f"net.ipv6.conf.{UPLINK}.accept_dad=0")
        if checksums:
            machine.run("ethtool", "-K", UPLINK, "tx", "off")
        address4, address6 = machine.addresses
        _ip(
            machine,
            f"addr add {address4}/{UNDERLAY4.prefixlen} dev {UPLINK}",
            f"addr add {address6}/{UNDERLAY6.prefixlen} dev {UPLINK} nodad",
            f"link set {UPLINK} up",
            f"route add default via {gateway4}",
            f"route add default via {gateway6}",
        )


def route_to_pods(machine: Machine, cidrs: Mapping[str, Networks]) -> None:
    """Let a machine that is no node reach pods by their nodes, as a site's routers would."""
    for node, networks in cidrs.items():
        vias = zip(networks, on_underlay(node), strict=True)
        _ip(machine, *(f"route replace {network} via {via}" for network, via in vias))


def _ip(machine: Machine, *lines: str) -> None:
    command = ["nsenter", f"--net={machine.netns}", "ip", "-batch", "-"]
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailedError(
            f"ip -batch on {machine.name}: {done.stderr.strip()}; the lines were: {'; '.join(lines)}"
        )
