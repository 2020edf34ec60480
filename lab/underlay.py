"""The wire between the machines: a bridge per subnet in a namespace of its own, which routes between them.

The host's network has no part in it; a packet never leaves the namespaces.
"""

import subprocess
from collections.abc import Iterable, Mapping, Sequence

from lab.addresses import Addresses, Networks, at_once, subnet, subnet_of
from lab.errors import CommandFailedError
from lab.machine import Machine

UPLINK = "eth0"
_FORWARDING = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
# one ICMP error a second to each address is the kernel's own measure, and less than traceroutes in a row want
_ERRORS = ("net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")


def connect(router: Machine, machines: Sequence[Machine], *, subnets: int, checksums: bool) -> None:
    """Give every machine its uplink, addresses and default route.

    With *checksums* the uplinks compute checksums as a wire would need them: between virtual devices the kernel
    leaves them undone, and a datapath that spoils them would not be noticed.
    """
    router.run("sysctl", "--quiet", "--write", *_FORWARDING, *_ERRORS)
    for index in range(subnets):
        four, six = subnet(index)
        _ip(
            router,
            f"link add {_bridge(index)} type bridge mcast_snooping 0",
            f"link set {_bridge(index)} up",
            f"addr add {four[1]}/{four.prefixlen} dev {_bridge(index)}",
            f"addr add {six[1]}/{six.prefixlen} dev {_bridge(index)} nodad",
        )
    for machine in machines:
        index = subnet_of(machine.name, subnets)
        four, six = subnet(index)
        # the process namespace is the host's here: a process number names the namespace
        _ip(router, f"link add {machine.name} type veth peer name {UPLINK} netns {machine.process}")
        _ip(router, f"link set {machine.name} master {_bridge(index)} up")
        machine.run("sysctl", "--quiet", "--write", f"net.ipv6.conf.{UPLINK}.accept_dad=0", *_ERRORS)
        if checksums:
            machine.run("ethtool", "-K", UPLINK, "tx", "off")
        address4, address6 = machine.addresses
        _ip(
            machine,
            f"addr add {address4}/{four.prefixlen} dev {UPLINK}",
            f"addr add {address6}/{six.prefixlen} dev {UPLINK} nodad",
            f"link set {UPLINK} up",
            f"route add default via {four[1]}",
            f"route add default via {six[1]}",
        )


def route_to_pods(machine: Machine, nodes: Mapping[Addresses, Networks]) -> None:
    """Let a machine that is no node reach pods by their nodes' addresses, as a site's routers would."""
    for addresses, networks in nodes.items():
        vias = zip(networks, addresses, strict=True)
        _ip(machine, *(f"route replace {network} via {via}" for network, via in vias))


def refuse_pods(machine: Machine, cidrs: Iterable[Networks]) -> None:
    """Let a machine know no way to pods, whatever it knew."""
    _ip(machine, *(f"route replace unreachable {network}" for networks in cidrs for network in networks))


def forget_pods(machine: Machine, cidrs: Iterable[Networks]) -> None:
    """Let a machine have no route of its own to pods, whatever it had."""
    for network in (each for networks in cidrs for each in networks):
        family = f"-{network.version}"
        command = ["nsenter", f"--net={machine.netns}", "ip", family, "route", "flush", "root", str(network)]
        subprocess.run(command, capture_output=True, check=True)


def move_far(machine: Machine, router: Machine, far: Addresses, destinations: Networks) -> None:
    """Let a machine of the first subnet ask *destinations* on it from addresses that are none of a subnet's."""
    for address, network, via in zip(far, destinations, machine.addresses, strict=True):
        _ip(router, f"route replace {address} via {via}")
        _ip(
            machine,
            " ".join(("addr replace", str(address), "dev", UPLINK, *at_once(address))),
            f"route replace {network} dev {UPLINK} src {address}",
        )


def _bridge(index: int) -> str:
    return f"br{index}"


def _ip(machine: Machine, *lines: str) -> None:
    command = ["nsenter", f"--net={machine.netns}", "ip", "-batch", "-"]
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailedError(
            f"ip -batch on {machine.name}: {done.stderr.strip()}; the lines were: {'; '.join(lines)}"
        )
