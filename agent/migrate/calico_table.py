"""Fields of Calico's resources and what each is here. Data; ``calico`` follows it.

Source: Calico v3.31, api/pkg/apis/projectcalico/v3.
"""

from agent.migrate.kube_router_flags import BGP, BY_NETWORK
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
    Row("disableBGPExport", MISSING, BGP, BY_NETWORK, ("", "false", "true")),
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
BGP_CONFIGURATION = (
    Row("nodeToNodeMeshEnabled", NEEDLESS, "pods' ranges are read from the Nodes, no BGP is between them"),
    Row("logSeverityScreen", NEEDLESS, "there is no BGP"),
    Row("asNumber", MISSING, BGP, BY_NETWORK, ("64512",)),
    Row("serviceLoadBalancerIPs", MISSING, BGP, "--l2-announce on, on the nodes' subnet", ("",)),
    Row("serviceExternalIPs", MISSING, BGP, "--l2-announce external, on the nodes' subnet", ("",)),
    Row("serviceClusterIPs", MISSING, BGP, BY_NETWORK, ("",)),
    *(
        Row(name, MISSING, BGP, BY_NETWORK, ("", "Enabled", "179", "None", "120s"))
        for name in (
            "serviceLoadBalancerAggregation",
            "communities",
            "prefixAdvertisements",
            "listenPort",
            "nodeMeshPassword",
            "nodeMeshMaxRestartTime",
            "bindMode",
            "localWorkloadPeeringIPV4",
            "localWorkloadPeeringIPV6",
        )
    ),
    *(
        Row(name, NEEDLESS, "of BGP's routes on the nodes")
        for name in ("ignoredInterfaces", "programClusterRoutes", "ipv4NormalRoutePriority", "ipv6NormalRoutePriority")
    ),
)
KINDS = (
    Row("IPPool", MAPPED, "see the table of its fields"),
    Row("FelixConfiguration", MAPPED, "see the table of its fields"),
    Row("BGPConfiguration", MAPPED, "see the table of its fields"),
    Row("GlobalNetworkPolicy", MAPPED, "ClusterNetworkPolicy or NetworkPolicy, where it can be exact"),
    Row("NetworkPolicy", MAPPED, "ClusterNetworkPolicy or NetworkPolicy, where it can be exact"),
    Row(
        "GlobalNetworkSet", MISSING, "policies name ranges themselves", "write them into the policies that mean the set"
    ),
    Row("NetworkSet", MISSING, "policies name ranges themselves", "write them into the policies that mean the set"),
    Row("HostEndpoint", MISSING, HOST, OWN_FIREWALL),
    Row("BGPPeer", MISSING, BGP, BY_NETWORK),
    Row("BGPFilter", MISSING, BGP, BY_NETWORK),
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
