"""Fields of Calico's resources and what each is here. Data; ``calico`` follows it.

Source: Calico v3.31, api/pkg/apis/projectcalico/v3.
"""

from agent.migrate.table import MAPPED, MISSING, NEEDLESS, Row

CIDRS = "pods get addresses of `Node.spec.podCIDRs`"
BLOCKS = "a Node's addresses are its pod CIDRs, there are no blocks"
HOST = "there is no host firewall, and policies are of pods"
OWN_FIREWALL = "keep such rules in the host's own firewall"


POOL = (
    Row("cidr", MAPPED, "`Node.spec.podCIDRs`, where they are within; a pool for load balancers is a LoadBalancerPool"),
    Row("ipipMode", MAPPED, "`encapsulation: ipip`, with `CrossSubnet` `cross-subnet`"),
    Row("vxlanMode", MAPPED, "`encapsulation: vxlan`, with `CrossSubnet` `cross-subnet`"),
    Row("natOutgoing", MAPPED, "`masquerade`; off where it is not set"),
    Row("disabled", NEEDLESS, CIDRS),
    Row(
        "disableBGPExport",
        MISSING,
        "pod CIDRs are told of to routers, all or none",
        "a BGPFilter that rejects the range, or a BGPConfiguration's advertise.podCIDRs",
        ("", "false"),
    ),
    Row("blockSize", NEEDLESS, BLOCKS),
    Row(
        "nodeSelector",
        MISSING,
        f"{CIDRS}, whatever the Node's labels",
        "give Nodes the pod CIDRs that are meant",
        ("", "all()"),
    ),
    Row(
        "namespaceSelector",
        MISSING,
        f"{CIDRS}, whatever the Namespace",
        "fixed addresses by `sluiceway.io/ipv4` on Pods",
        ("", "all()"),
    ),
    Row("allowedUses", MAPPED, "Workload and Tunnel are needless, LoadBalancer is a LoadBalancerPool"),
    Row(
        "assignmentMode",
        MISSING,
        f"{CIDRS}, all of them",
        "fixed addresses by `sluiceway.io/ipv4` on Pods",
        ("", "Automatic"),
    ),
)
KINDS = (
    Row("IPPool", MAPPED, "see the table of its fields"),
    Row("FelixConfiguration", MAPPED, "see the table of its fields"),
    Row("BGPConfiguration", MAPPED, "see the table of its fields"),
    Row("BGPPeer", MAPPED, "see the table of its fields"),
    Row("BGPFilter", MAPPED, "see the table of its rules' fields"),
    Row("GlobalNetworkPolicy", MAPPED, "ClusterNetworkPolicy or NetworkPolicy, where it can be exact"),
    Row("NetworkPolicy", MAPPED, "ClusterNetworkPolicy or NetworkPolicy, where it can be exact"),
    Row(
        "GlobalNetworkSet", MISSING, "policies name ranges themselves", "write them into the policies that mean the set"
    ),
    Row("NetworkSet", MISSING, "policies name ranges themselves", "write them into the policies that mean the set"),
    Row("HostEndpoint", MISSING, HOST, OWN_FIREWALL),
    Row("CalicoNodeStatus", NEEDLESS, "`dpctl status`"),
    Row(
        "Tier",
        MISSING,
        "there are the tiers Admin and Baseline, and NetworkPolicies between them",
        "order the policies by hand",
    ),
    Row("Profile", MISSING, "pods without a policy pass all", "write a policy"),
    Row("IPReservation", MISSING, CIDRS, "leave these addresses out of the Nodes' pod CIDRs"),
    Row(
        "StagedNetworkPolicy",
        MISSING,
        "policies are enforced, or a Namespace's are only counted",
        "the annotation sluiceway.io/policy-mode: audit",
    ),
    Row(
        "StagedGlobalNetworkPolicy",
        MISSING,
        "policies are enforced, or a Namespace's are only counted",
        "the annotation sluiceway.io/policy-mode: audit",
    ),
    Row(
        "StagedKubernetesNetworkPolicy",
        MISSING,
        "policies are enforced, or a Namespace's are only counted",
        "the annotation sluiceway.io/policy-mode: audit",
    ),
    *(
        Row(name, NEEDLESS, BLOCKS)
        for name in ("IPAMBlock", "BlockAffinity", "IPAMHandle", "IPAMConfig", "IPAMConfiguration")
    ),
    *(
        Row(name, NEEDLESS, "Calico's own")
        for name in ("ClusterInformation", "KubeControllersConfiguration", "WorkloadEndpoint")
    ),
)
