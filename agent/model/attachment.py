"""Interfaces that CNI ADD gave to containers: what each is and may do, told apart from the device that serves it."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from agent.model.address import Address
from agent.model.name import ObjectName
from agent.model.service import Protocol

AttachmentKey = tuple[str, str]  # container id, interface name
VETH_PREFIX = "swp"  # of the names of veths' ends on the node
_VETH = re.compile(rf"{VETH_PREFIX}[0-9a-f]{{10}}")


def is_veth_name(name: str) -> bool:
    """Whether a device of the node is called as a pod's veth is; `swp1` is a switch's port, as switchdev has them."""
    return _VETH.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of the node that leads to a port of one pod."""

    host_ip: str  # canonical; empty: every address of the node; 0.0.0.0 and ::, every one of the family
    host_port: int
    protocol: Protocol
    container_port: int

    @property
    def address(self) -> Address | None:
        """``host_ip`` as an address; None: every one."""
        return ip_address(self.host_ip) if self.host_ip else None

    def is_at(self, address: Address) -> bool:
        """Whether *address*, which the node has, is one of those asked for."""
        wanted = self.address
        if wanted is None or wanted == address:
            return True
        return wanted.is_unspecified and wanted.version == address.version

    def clashes(self, other: "HostPort") -> bool:
        """Whether a packet could be meant for both."""
        if (self.host_port, self.protocol) != (other.host_port, other.protocol):
            return False
        mine, theirs = self.address, other.address
        return mine is None or theirs is None or self.is_at(theirs) or other.is_at(mine)

    def __str__(self) -> str:
        where = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip or "*"
        return f"{where}:{self.host_port}/{self.protocol.name}"


@dataclass(frozen=True, slots=True)
class Limit:
    """How much a pod may send, or be sent."""

    rate: int  # bits per second
    burst: int  # bits that may come at once; 0: ours to choose


@dataclass(frozen=True, slots=True)
class Captured:
    """What of a pod's packets AF_XDP sockets are to have: a protocol's, to a range of ports."""

    protocol: int  # as IP has it
    first_port: int = 0
    last_port: int = 0xFFFF  # the whole range: also what has no ports


@dataclass(frozen=True, slots=True)
class AfXdp:
    """That a pod takes an interface's packets from AF_XDP sockets."""

    place: str  # below the folders of sockets and of maps: where the pod finds its own
    queues: int = 1
    captured: tuple[Captured, ...] = ()  # empty: all that is IP, but neighbour discovery and its like


@dataclass(frozen=True, slots=True)
class DeviceInPod:
    """The device that serves an attachment from within the pod: a VF, or one on a NIC; the node has no end of it."""

    address: str  # a VF's PCI address, or what else it is known by
    own: tuple[Address, ...]  # all that the interface has, its link's too
    ifindex: int = 0  # in the pod; 0: it is found by its PCI address


@dataclass(frozen=True, slots=True)
class Veth:
    """The veth pair that serves an attachment, by its end on the node; the pod's end is the interface itself."""

    host_device: str
    ifindex: int
    is_chained: bool = False  # another CNI plugin made it, and takes it away
    afxdp: AfXdp | None = None
    in_pod: DeviceInPod | None = None  # in its place; the node's end has neither name nor number then


@dataclass(frozen=True, slots=True)
class Attachment:
    """An interface that CNI ADD gave to a container, known by container id and interface name.

    What is the serving device's own stands in *link*; all else holds whatever serves the interface.
    """

    container_id: str
    interface: str
    endpoint_id: int
    slot: int  # its place in the maps, from 1 on: the least that no other has
    netns: str  # path of the pod's network namespace
    netns_cookie: int
    mac: str  # of the interface in the pod
    link: Veth
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    pod: ObjectName | None = None
    pod_uid: str = ""  # empty where the runtime does not tell
    host_ports: tuple[HostPort, ...] = ()
    ingress_limit: Limit | None = None  # to the pod
    egress_limit: Limit | None = None  # from the pod
    is_first: bool = True  # of its container's when it was added: the one that the default routes lead out by
    network: ObjectName | None = None  # the definition of a further network's; None: of the first, or not known

    def __hash__(self) -> int:
        """By what no two have at one time: what is remembered of each is asked for with every pod that comes."""
        return hash((self.container_id, self.interface, self.endpoint_id))

    @property
    def key(self) -> AttachmentKey:
        """What identifies it."""
        return self.container_id, self.interface

    @property
    def is_in_pod(self) -> bool:
        """Whether its programs are in the pod alone, and the node knows nobody at its addresses."""
        return self.link.in_pod is not None

    @property
    def is_apart(self) -> bool:
        """Whether it is on a network of its own, where addresses mean nothing of the cluster's."""
        return self.network is not None and self.is_in_pod

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The addresses it has."""
        return tuple(address for address in (self.ipv4, self.ipv6) if address is not None)
