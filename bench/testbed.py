"""Two pods on one node, as network namespaces: what the node does between them is what is measured.

Wired as the CNI plugin wires pods: routed /32 addresses, permanent neighbours, the node's end of every veth under one
MAC.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from agent.netlink import netns
from bench.plane import Pod, Programs
from maps import abi, libbpf
from maps.libbpf import AttachType

PREFIX = "swbench-"
GATEWAY = "169.254.1.1"
NODE_MAC = abi.NODE_MAC.hex(":")
SENDER, RECEIVER = IPv4Address("10.244.1.2"), IPv4Address("10.244.1.3")
_MACS = {"a": "02:00:00:00:00:01", "b": "02:00:00:00:00:02"}
_HOOKS = {"pod_ingress": AttachType.TCX_INGRESS, "pod_egress": AttachType.TCX_EGRESS}


@dataclass(frozen=True, slots=True)
class Testbed:
    """A node and its pods a, the sender, and b, the receiver; *name* tells several apart."""

    __test__ = False

    name: str

    def path(self, member: str) -> str:
        """The network namespace of ``node``, ``a`` or ``b``, as a file."""
        return f"/run/netns/{PREFIX}{self.name}-{member}"

    def pods(self) -> tuple[Pod, Pod]:
        """The pods, a before b, as the node knows them."""
        return self._pod("a", SENDER), self._pod("b", RECEIVER)

    def device(self, member: str) -> int:
        """The ifindex of a pod's own device."""
        return int(self.run(member, "cat", "/sys/class/net/eth0/ifindex"))

    @contextmanager
    def inside(self, member: str) -> Iterator[None]:
        """Have the calling thread in a network namespace."""
        with netns.inside(self.path(member)):
            yield

    @contextmanager
    def attached(self, plane: Programs) -> Iterator[None]:
        """Have programs on both pods' devices, in both directions, as the agent does."""
        with ExitStack() as links:
            with self.inside("node"):
                for pod in self.pods():
                    for program, hook in _HOOKS.items():
                        link = libbpf.link_create(plane.programs[program], pod.ifindex, hook)
                        links.callback(os.close, link)
                        links.callback(libbpf.link_detach, link)
            yield

    def run(self, member: str, *command: str, text: str = "") -> str:
        """The output of a command in a namespace; /sys is that of the namespace too."""
        full = ["ip", "netns", "exec", PREFIX + f"{self.name}-{member}", *command]
        return subprocess.run(full, check=True, text=True, input=text, stdout=subprocess.PIPE).stdout

    def sysctls(self, member: str, values: Mapping[str, str]) -> None:
        """Set sysctls of a namespace; those that the kernel has not are left out."""
        with self.inside(member):
            for name, value in values.items():
                path = Path("/proc/sys/net") / name
                if path.exists():
                    path.write_text(value)

    def _pod(self, member: str, address: IPv4Address) -> Pod:
        ifindex = int(self.run("node", "cat", f"/sys/class/net/pod-{member}/ifindex"))
        return Pod(address, ifindex, bytes.fromhex(_MACS[member].replace(":", "")))


@contextmanager
def two_pods(label: str) -> Iterator[Testbed]:
    """A testbed, taken down at the end of the block, whatever happened there."""
    bed = Testbed(f"{os.getpid()}-{label}")
    try:
        _build(bed)
        yield bed
    finally:
        for member in ("a", "b", "node"):
            if Path(bed.path(member)).exists():
                subprocess.run(["ip", "netns", "del", PREFIX + f"{bed.name}-{member}"], check=True)


def _build(bed: Testbed) -> None:
    for member in ("node", "a", "b"):
        subprocess.run(["ip", "netns", "add", PREFIX + f"{bed.name}-{member}"], check=True)
        bed.sysctls(member, {"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1"})
        bed.run(member, "ip", "link", "set", "lo", "up")
    bed.sysctls("node", {"ipv4/ip_forward": "1", "ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0"})
    _connect(bed, "a", SENDER)
    _connect(bed, "b", RECEIVER)


def _connect(bed: Testbed, member: str, address: IPv4Address) -> None:
    inside = PREFIX + f"{bed.name}-{member}"
    host = f"pod-{member}"
    lines = f"""
        link add {host} address {NODE_MAC} type veth peer name eth0 address {_MACS[member]} netns {inside}
        link set {host} up
        route add {address}/32 dev {host}
        neighbour add {address} lladdr {_MACS[member]} dev {host} nud permanent
    """
    bed.run("node", "ip", "-batch", "-", text=lines)
    lines = f"""
        link set eth0 up
        address add {address}/32 dev eth0
        route add {GATEWAY} dev eth0 scope link
        route add default via {GATEWAY} dev eth0
        neighbour add {GATEWAY} lladdr {NODE_MAC} dev eth0 nud permanent
    """
    bed.run(member, "ip", "-batch", "-", text=lines)
