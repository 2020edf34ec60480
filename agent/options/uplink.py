"""Options of the node's own devices, and of how pods' packets leave by them."""

from dataclasses import dataclass, field
from pathlib import Path

from agent.options import values
from agent.options.choices import Encapsulation
from agent.options.values import about


@dataclass(frozen=True)
class UplinkOptions:
    """How pods' packets leave the node."""

    devices: tuple[str, ...] = field(
        default=(),
        metadata=about(
            values.names, "uplinks, by name", "those with an InternalIP, a default route, a subnet or a BGPPeer"
        ),
    )
    encapsulation: Encapsulation = field(
        default=Encapsulation.NATIVE,
        metadata=about(values.one_of(tuple(Encapsulation), Encapsulation), "how pods' packets go between nodes"),
    )
    cross_subnet: bool = field(
        default=False,
        metadata=about(values.switch, "encapsulate only to nodes on none of this node's subnets"),
    )
    host_routing: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "what pods send under their own addresses to other nodes and outside, where it is not encapsulated, passes "
            "this node's own forwarding: its firewall and its IPsec policies",
        ),
    )
    tunnel_port: int = field(
        default=0,
        metadata=about(values.udp_port, "UDP port of VXLAN or Geneve", "0: VXLAN 8472, Geneve 6081"),
    )
    tunnel_vni: int = field(default=1, metadata=about(values.vni, "network number of VXLAN or Geneve"))
    masquerade: bool = field(
        default=True,
        metadata=about(values.switch, "pods go outside under this node's address on the way there"),
    )
    masquerade_config: Path | None = field(
        default=None,
        metadata=about(values.path, "ranges never masqueraded, in ip-masq-agent's format; read again as it says"),
    )
    mtu: int = field(
        default=0,
        metadata=about(values.mtu, "of pods' interfaces", "0: the uplinks', less what encapsulation adds"),
    )
