"""Networks of pods beside the cluster's: what a NetworkAttachmentDefinition says, and what a pod asks for.

Source: the multi-network specification 1.3 of the Network Plumbing Working Group.
"""

from dataclasses import dataclass

from agent.model.address import Address
from agent.model.name import ObjectName
from agent.model.nic import NicKind
from agent.model.vf import VfKind

NETWORKS = "k8s.v1.cni.cncf.io/networks"  # annotation of a Pod: its further networks
DEFAULT_NETWORK = "v1.multus-cni.io/default-network"  # of a Pod: what its first interface is on
NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"  # of a Pod: what it has, written by the agent
RESOURCE_NAME = "k8s.v1.cni.cncf.io/resourceName"  # of a definition: the resource its devices are of
DEFINITION = "NetworkAttachmentDefinition"  # the kind
OUR_PLUGIN = "sluiceway-cni"
VETH, AFXDP = "veth", "afxdp"  # kinds of interface on the pods' network, the second with AF_XDP
OUR_KINDS = (VETH, AFXDP, *VfKind, *NicKind)  # what ``kind`` says of a configuration of our plugin
DEVICE_INFO_FILE = "CNIDeviceInfoFile"  # the capability of a plugin that writes what an interface's device is
# keys of CNI_ARGS by which a runtime says whose pod it is, which decides on policies and pools: nobody else says it
RUNTIME_ARGS = frozenset(
    {"IgnoreUnknown", "K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID"}
)


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin of a network's configuration."""

    kind: str  # the name of the executable
    capabilities: frozenset[str]  # what it wants to be told of at run time
    config: str  # its object, JSON
    own_kind: str = ""  # of OUR_KINDS, where the plugin is ours and makes a further interface


@dataclass(frozen=True, slots=True)
class PluginList:
    """A network's configuration: plugins that are executed one after the other."""

    name: str
    version: str  # of the CNI specification
    plugins: tuple[Plugin, ...]
    checks: bool = True  # disableCheck is not set
    collects: bool = True  # disableGC is not set

    @property
    def capabilities(self) -> frozenset[str]:
        """What at least one of the plugins wants to be told of."""
        return frozenset().union(*(plugin.capabilities for plugin in self.plugins))

    @property
    def is_ours(self) -> bool:
        """Whether it is the cluster's network, on which a pod's first interface is."""
        return self.plugins[0].kind == OUR_PLUGIN and not self.own_kind

    @property
    def own_kind(self) -> str:
        """The kind of interface that our plugin makes on it, which stands in no chain; empty: other plugins do."""
        return self.plugins[0].own_kind


@dataclass(frozen=True, slots=True)
class NetworkDefinition:
    """A NetworkAttachmentDefinition."""

    name: ObjectName
    plugins: PluginList | None = None  # None: it is in a file of the node, by the definition's name
    resource: str = ""  # device plugins' name for what the network's interfaces are made of
    fault: str = ""  # why it cannot be used: field and text
    uid: str = ""


@dataclass(frozen=True, slots=True)
class NetworkSelection:
    """One element of a Pod's annotation; what is JSON there stays text, which CNI plugins read."""

    name: ObjectName
    field: str  # where it stands, "metadata.annotations['...'][0]"
    interface: str = ""  # empty: net and its place in the list
    ips: tuple[str, ...] = ()  # with a prefix length or without, as the IPAM plugin wants them
    mac: str = ""
    default_route: tuple[Address, ...] = ()
    port_mappings: str = ""
    bandwidth: str = ""
    cni_args: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class InterfaceRequest:
    """An interface that a pod is to have, with all that its plugins are told."""

    network: ObjectName
    interface: str
    plugins: PluginList
    runtime: str  # JSON: what the plugins that declare it are given as runtimeConfig
    args: tuple[tuple[str, str], ...] = ()  # of CNI_ARGS, beside the pod's names
    cni_args: str = ""  # JSON: what is added to args.cni
    default_route: tuple[Address, ...] = ()
    device: str = ""  # the id of the device that the interface is made of, as its device plugin has it
    resource: str = ""  # that the device is of
    asked: str = ""  # the element of the annotation, without the interface's name: JSON


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """Which definitions a pod may name."""

    is_isolated: bool = False  # those of its own namespace, and of these
    global_namespaces: frozenset[str] = frozenset({"default"})
