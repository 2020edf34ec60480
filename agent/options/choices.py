"""What an option can be set to where that is one of some words."""

from enum import StrEnum


class Objects(StrEnum):
    """Which compiled programs are loaded."""

    AUTO = "auto"  # compiled when sources or compiler changed, else those that ship
    SHIPPED = "shipped"
    COMPILE = "compile"


class Encapsulation(StrEnum):
    """How pods' packets cross the network between nodes."""

    NATIVE = "native"  # as they are; the network knows the pods' addresses, or the nodes share a subnet
    VXLAN = "vxlan"
    IPIP = "ipip"  # IP in IP: the smallest header
    GENEVE = "geneve"

    @property
    def has_udp(self) -> bool:
        """Whether packets go in UDP datagrams, to a port and under a network number."""
        return self in {Encapsulation.VXLAN, Encapsulation.GENEVE}


class Forwarding(StrEnum):
    """How a client outside reaches a service's backend that is a pod of another node than the one it asked."""

    SNAT = "snat"  # under that node's address, which undoes it
    TUNNEL = "tunnel"  # under its own address; answers come back by that node
    DSR = "dsr"  # the same, and the pod's node answers the client itself, as from the service


class PodNetwork(StrEnum):
    """Who makes the pods' interfaces, addresses and routes."""

    OWN = "own"  # the agent
    CHAINED = "chained"  # other CNI plugins, before ours in the chain: services, bandwidth and policy are left


class ServiceProxy(StrEnum):
    """Whose questions of Services are given a backend; whoever else asks is left to another proxy, as kube-proxy."""

    ON = "on"  # everybody's
    PODS = "pods"  # pods' and the node's own sockets': over another plugin's network, that policy sees the backend
    OFF = "off"  # nobody's


class SocketLb(StrEnum):
    """Whose sockets are given backends at connect() and sendmsg(); of others the packets are translated."""

    ON = "on"  # the node's own processes and pods
    HOST = "host"  # the node's own processes: in pods something stands between connect() and the network
    OFF = "off"

    @property
    def has_hooks(self) -> bool:
        """Whether the socket programs are on the cgroup."""
        return self is not SocketLb.OFF


class L2Announce(StrEnum):
    """Which addresses of services are announced on the subnets of the node's uplinks."""

    ON = "on"  # load balancers'
    EXTERNAL = "external"  # these, and spec.externalIPs
    OFF = "off"


class Xdp(StrEnum):
    """Where services' packets between outside and other nodes are met by XDP, ahead of tc."""

    AUTO = "auto"  # on devices whose driver has it, but for those whose frames may be without checksums
    NATIVE = "native"  # by the driver, on every uplink
    GENERIC = "generic"  # as auto, and by the kernel on the uplinks that are left
    OFF = "off"
