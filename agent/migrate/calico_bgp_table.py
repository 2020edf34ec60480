"""Fields of Calico's BGP resources and what each is here. Data; ``calico_bgp`` and ``calico_bgp_filter`` follow it.

Source: Calico v3.31, api/pkg/apis/projectcalico/v3; of BGPFilter also what came after.
"""

from agent.migrate.table import MAPPED, MISSING, NEEDLESS, Row

OURS = "a BGPConfiguration's"
SECRET = "put it into the Secret sluiceway-bgp of the agent's namespace, under that key"  # noqa: S105
KEY = "the Secret's key, where another Secret has one of that name behind its own name and a dot"
RANGES = (
    "{}, with the ranges in `aggregates` and a BGPFilter that tells no other Services; a range is told of while "
    "something within it is"
)
BGP_CONFIGURATION = (
    Row(
        "nodeToNodeMeshEnabled",
        MAPPED,
        f"{OURS} `nodeMesh`, which stays on where a BGPPeer has a `peerSelector`: reflectors have no session without",
    ),
    Row("asNumber", MAPPED, f"{OURS} `asn`"),
    Row("listenPort", MAPPED, f"{OURS} `listenPort`"),
    Row("serviceLoadBalancerIPs", MAPPED, RANGES.format(f"{OURS} `advertise.loadBalancerIPs`")),
    Row("serviceExternalIPs", MAPPED, RANGES.format(f"{OURS} `advertise.externalIPs`")),
    Row("serviceClusterIPs", MAPPED, RANGES.format(f"{OURS} `advertise.clusterIPs`")),
    Row("serviceLoadBalancerAggregation", MAPPED, "`Disabled`: the load balancers' ranges are no `aggregates`"),
    Row("communities", MAPPED, "their numbers, where `prefixAdvertisements` name them"),
    Row("prefixAdvertisements", MAPPED, f"{OURS} `prefixAdvertisements`"),
    Row("nodeMeshPassword", MAPPED, f"`bgp-node-password-key`: {KEY}", SECRET),
    Row("nodeMeshMaxRestartTime", MAPPED, f"{OURS} `gracefulRestartTime`"),
    Row(
        "bindMode",
        MISSING,
        "BIRD listens at every address",
        "annotate Nodes: kube-router.io/bgp-local-addresses",
        ("", "None"),
    ),
    *(
        Row(name, MISSING, "pods do not speak BGP with their node", "have them peer with a router", ("",))
        for name in ("localWorkloadPeeringIPV4", "localWorkloadPeeringIPV6")
    ),
    Row("logSeverityScreen", NEEDLESS, "BIRD logs what changes"),
    *(
        Row(name, NEEDLESS, "of BGP's routes on the nodes")
        for name in ("ignoredInterfaces", "programClusterRoutes", "ipv4NormalRoutePriority", "ipv6NormalRoutePriority")
    ),
)
BGP_PEER = (
    Row("node", MAPPED, "`nodeSelector`, by the label kubernetes.io/hostname"),
    Row("nodeSelector", MAPPED, "`nodeSelector`; one that label selectors cannot say: no BGPPeer"),
    Row("peerIP", MAPPED, "`address` and `port`"),
    Row("asNumber", MAPPED, "`asn`"),
    Row("localASNumber", MAPPED, "`localASN`"),
    Row("nextHopMode", MAPPED, "`nextHopSelf`: false for `Keep`"),
    Row("keepOriginalNextHop", MAPPED, "`nextHopSelf`: false for true"),
    Row("password", MAPPED, f"`passwordKey`: {KEY}", SECRET),
    Row("keepaliveTime", MAPPED, "`keepaliveTime`, at most half of the `holdTime` that Calico's BIRD has, 240 s"),
    Row("ttlSecurity", MAPPED, "`ttlSecurity` and `multihop`"),
    Row("filters", MAPPED, "`filters`"),
    Row("sourceAddress", MAPPED, "`sourceAddress`: left out for `None`, else `InternalIP`"),
    Row("maxRestartTime", MAPPED, "`gracefulRestartTime`"),
    Row("numAllowedLocalASNumbers", MAPPED, "`allowLocalAS`, at most 10"),
    Row("reachableBy", MISSING, "nodes' own routes lead to a peer", "a static route on the nodes", ("",)),
    Row(
        "peerSelector",
        MISSING,
        "nodes peer with all, or with reflectors by annotations; no BGPPeer",
        "annotate Nodes: kube-router.io/rr.server, kube-router.io/rr.client",
        ("",),
    ),
    Row(
        "localWorkloadSelector",
        MISSING,
        "pods do not speak BGP with their node; no BGPPeer",
        "have them peer with a router",
        ("",),
    ),
    Row("reversePeering", NEEDLESS, "of peers by peerSelector"),
)
BGP_RULE = (
    Row("action", MAPPED, "`action`"),
    Row("cidr", MAPPED, "`prefixes`, `exceptPrefixes` by `matchOperator`; without it all of the family"),
    Row("matchOperator", MAPPED, "`prefixes` for `Equal` and `In`, `exceptPrefixes` for `NotEqual` and `NotIn`"),
    Row("prefixLength", MAPPED, "`minLength` and `maxLength`"),
    Row("source", MAPPED, "`sources: [Peers]`; without it all four"),
    Row("interface", MAPPED, "`interface`"),
    Row("peerType", MAPPED, "`peerType`"),
    Row("communities", MAPPED, "`communities`"),
    Row("asPathPrefix", MAPPED, "`asPathBegins`"),
    Row("priority", MISSING, "routes have one metric", "prefer by local preference"),
    Row("operations", MAPPED, "`set`: `addCommunity`, `prependASPath`; `setPriority` has no counterpart"),
)
BGP_NODE = (
    Row("projectcalico.org/ASNumber", MISSING, "is `kube-router.io/node.asn` here", "annotate the Node so"),
    Row(
        "projectcalico.org/RouteReflectorClusterID",
        MISSING,
        "is `kube-router.io/rr.server` here, and `kube-router.io/rr.client` on those that peer with it",
        "annotate the Nodes so",
    ),
)
