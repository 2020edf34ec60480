"""The agent's options: the one list of them, from which flags, environment names, YAML keys, help and checks come."""

from dataclasses import dataclass, field
from pathlib import Path

from agent.log import FORMATS, LEVELS
from agent.options import values
from agent.options.bgp import BgpOptions
from agent.options.choices import Objects, PodNetwork, ServiceProxy, SocketLb
from agent.options.node import NodeOptions
from agent.options.pod_network import PodNetworkOptions
from agent.options.policy import PolicyOptions
from agent.options.service import ServiceOptions
from agent.options.sizes import SizeOptions
from agent.options.uplink import UplinkOptions
from agent.options.values import about
from agent.options.xdp import XdpOptions


# the parts have no slots, since a class takes those of one base alone; fields come in their order from last to first
@dataclass(frozen=True, slots=True)
class Options(
    SizeOptions,
    XdpOptions,
    BgpOptions,
    PolicyOptions,
    UplinkOptions,
    ServiceOptions,
    PodNetworkOptions,
    NodeOptions,
):
    """Every option of the agent. A field's flag is its name with hyphens."""

    listen: tuple[str, int] = field(default=("127.0.0.1", 9650), metadata=about(values.endpoint, "metrics and health"))
    log_level: str = field(default="info", metadata=about(values.one_of(LEVELS), "least level that is logged"))
    log_format: str = field(default="text", metadata=about(values.one_of(FORMATS), "how a line is written"))
    objects: Objects = field(
        default=Objects.AUTO,
        metadata=about(values.one_of(tuple(Objects), Objects), "which compiled programs are loaded"),
    )
    config: Path | None = field(default=None, metadata=about(values.path, "YAML file of these options"))

    @property
    def served(self) -> ServiceProxy:
        """Whose questions of Services are given a backend."""
        if self.service_proxy is not None:
            return self.service_proxy
        return ServiceProxy.ON if self.network is PodNetwork.OWN else ServiceProxy.PODS

    @property
    def serves_over_others(self) -> bool:
        """Whether all are served over another plugin's network, whose overlay brings backends' answers."""
        return self.network is PodNetwork.CHAINED and self.served is ServiceProxy.ON

    @property
    def changes_node(self) -> bool:
        """Whether a duty is ours for which the node's devices get programs, and its sysctls are set."""
        return self.network is PodNetwork.OWN or self.network_policy or self.served is not ServiceProxy.OFF

    @property
    def has_socket_hooks(self) -> bool:
        """Whether the socket programs are on the cgroup."""
        return self.socket_lb.has_hooks and self.served is not ServiceProxy.OFF

    @property
    def serves_pods_sockets(self) -> bool:
        """Whether pods' sockets are given backends: what is asked so goes to the backend as it is."""
        return self.socket_lb is SocketLb.ON and not self.masquerade_all
