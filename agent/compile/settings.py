"""What the options say that compile needs."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.compile.bgp.settings import BgpSettings
from agent.compile.public_range import PublicRanges
from agent.compile.service_room import NO_END, ServiceRoom
from agent.model.address import Network
from agent.model.ports import Ports
from agent.options.choices import Encapsulation, Forwarding, L2Announce, ServiceProxy
from agent.options.service import NodePortAddresses
from maps import abi

NODE_PORTS: Ports = (30000, 32767)
UDP_PORTS = {Encapsulation.VXLAN: 8472, Encapsulation.GENEVE: 6081}  # the kernel's own, and RFC 8926's
IP_OVERHEAD = {4: 20, 6: 40}  # the outer IP header, by its version
UDP_OVERHEAD = 30  # the inner Ethernet header, UDP, and the 8 octets of VXLAN or Geneve


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """How packets get to other nodes' pods and to the outside."""

    encapsulation: Encapsulation = Encapsulation.NATIVE
    cross_subnet: bool = False
    port: int = 0  # 0: the encapsulation's own
    vni: int = 1
    mtu: int = 0  # of pods; 0: found
    masquerade: bool = False
    has_geneve: bool = True  # the kernel has the device
    host_routing: bool = False  # what pods send goes by the host's stack, where it is not encapsulated or translated
    service_cidrs: tuple[Network, ...] = ()  # of which cluster IPs are taken: nobody else is there
    masquerade_all: bool = False  # what pods ask services goes under this node's address
    has_router: bool = False  # BGP brings routes to nodes on other subnets
    forwards: bool = False  # who is outside may keep its address between nodes, encapsulated, and is believed so

    @property
    def is_native(self) -> bool:
        """Whether pods' packets are sent as they are, to every node."""
        return self.encapsulation is Encapsulation.NATIVE

    @property
    def has_tunnel(self) -> bool:
        """Whether something is encapsulated."""
        return self.forwards or not self.is_native

    @property
    def is_ipip(self) -> bool:
        """Whether that is done by IP in IP, as natively with what is forwarded alone."""
        return self.encapsulation is Encapsulation.IPIP or (self.is_native and self.forwards)

    @property
    def udp_port(self) -> int:
        """Where nodes receive encapsulated packets; 0 without UDP."""
        default = UDP_PORTS.get(self.encapsulation)
        return (self.port or default) if default else 0

    @property
    def flags(self) -> abi.NodeFlag:
        """What the programs do themselves."""
        flags = abi.NodeFlag.NODE_MASQUERADE if self.masquerade else abi.NodeFlag(0)
        if self.host_routing:
            flags |= abi.NodeFlag.NODE_HOST_ROUTING
        if self.masquerade_all:
            flags |= abi.NodeFlag.NODE_MASQUERADE_ALL
        if self.is_ipip:
            flags |= abi.NodeFlag.NODE_IPIP
        if self.encapsulation is Encapsulation.GENEVE and not self.has_geneve:
            flags |= abi.NodeFlag.NODE_GENEVE
        return flags

    def overhead(self, version: int) -> int:
        """Octets that encapsulation adds to a packet, inside an outer IP header of this version."""
        return IP_OVERHEAD[version] + (0 if self.is_ipip else UDP_OVERHEAD)


NATIVE = NetworkSettings()


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it."""

    node_name: str
    node_ports: Ports = NODE_PORTS
    devices: Sequence[str] = ()  # --devices; none: found by rule
    network: NetworkSettings = NATIVE
    knows_pods: bool = True  # every pod's network namespace, by its attachment
    network_policy: bool = False  # pods have rules
    multi_network_policy: bool = False  # and their interfaces on further networks, of their own
    policy_reject: bool = False  # who is denied is told
    peer_room: int = 0  # addresses that the map of peers has room for; 0: for all
    range_room: int = 0  # and ranges
    rule_room: int = 0  # and rules of ranges
    service_room: ServiceRoom = NO_END  # what one Service may ask for
    endpoint_room: int = 0  # addresses of this node and its pods that there is room for; 0: for all
    is_chained: bool = False  # other CNI plugins make the pods' network
    service_proxy: ServiceProxy = ServiceProxy.ON  # who is served
    node_port_addresses: NodePortAddresses = ()  # --nodeport-addresses; none: every one of the node's
    public_ranges: PublicRanges | None = None  # of external addresses that Services may have; None: any
    l2_announce: L2Announce = L2Announce.OFF  # which addresses are announced on the uplinks' subnets
    ignores_excluded: bool = False  # also by a Node with the label by which balancers leave it out
    forwarding: Forwarding = Forwarding.SNAT  # of Services that do not say
    bgp: BgpSettings | None = None  # None: no BGP
    pods_from_api: bool = True  # an attached pod that is not in the cluster's is one that is not known yet

    @property
    def serves_over_others(self) -> bool:
        """Whether all are served over another plugin's network, whose overlay brings backends' answers."""
        return self.is_chained and self.service_proxy is ServiceProxy.ON

    @property
    def flags(self) -> abi.NodeFlag:
        """What the programs do by these."""
        found = abi.NodeFlag(0) if self.knows_pods else abi.NodeFlag.NODE_ANY_NETNS
        if self.is_chained:
            found |= abi.NodeFlag.NODE_CHAINED
        if self.serves_over_others:
            found |= abi.NodeFlag.NODE_SERVES_ALL
        if self.service_proxy is ServiceProxy.OFF:
            found |= abi.NodeFlag.NODE_OTHER_PROXY
        if self.network_policy:
            found |= abi.NodeFlag.NODE_POLICY
        return found | abi.NodeFlag.NODE_POLICY_REJECT if self.policy_reject else found
