"""Options of the pods' network: who makes it, by which plugin, and with which addresses."""

from dataclasses import dataclass, field
from pathlib import Path

from agent.options import values
from agent.options.choices import PodNetwork
from agent.options.values import about


@dataclass(frozen=True)
class PodNetworkOptions:
    """Who makes pods' interfaces."""

    cni_bin_dir: Path = field(
        default=Path("/opt/cni/bin"),
        metadata=about(values.path, "where sluiceway-cni is installed"),
    )
    cni_conf_dir: Path = field(
        default=Path("/etc/cni/net.d"), metadata=about(values.path, "where the conflist is written")
    )
    cni_state_dir: Path = field(
        default=Path("/var/lib/cni"),
        metadata=about(values.path, "where host-local and the runtime keep attachments, for a Node that imports them"),
    )
    install_cni: bool = field(default=True, metadata=about(values.switch, "install the CNI plugin and its conflist"))
    network: PodNetwork = field(
        default=PodNetwork.OWN,
        metadata=about(
            values.one_of(tuple(PodNetwork), PodNetwork),
            "who makes the pods' network: the agent, or CNI plugins before it in the chain, so that policy and "
            "services are left (kube-router's --run-router=false)",
        ),
    )
    networks: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "give pods the further networks that they ask for by k8s.v1.cni.cncf.io/networks, as Multus does; off "
            "where Multus runs",
        ),
    )
    ip_pools: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "give pods addresses of IPPools, of which each node claims blocks as it needs them; beside the Nodes' "
            "podCIDRs or in place of them",
        ),
    )
    network_conf_dir: Path = field(
        default=Path("/etc/cni/multus/net.d"),
        metadata=about(
            values.path, "folder of CNI configurations for NetworkAttachmentDefinitions that have none, by their names"
        ),
    )
    network_namespace_isolation: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "pods may name NetworkAttachmentDefinitions of their own namespace alone, and of "
            "--network-global-namespaces (Multus' namespaceIsolation)",
        ),
    )
    network_global_namespaces: tuple[str, ...] = field(
        default=("default",),
        metadata=about(values.namespaces, "whose NetworkAttachmentDefinitions all pods may name"),
    )
