"""Fields of Calico's FelixConfiguration and what each is here. Data; ``calico`` follows it.

Source: Calico v3.31, api/pkg/apis/projectcalico/v3/felixconfig.go.
"""

from collections.abc import Callable, Mapping

from agent.migrate.calico_table import CIDRS, HOST, OWN_FIREWALL
from agent.migrate.kube_router_flags import RESYNC
from agent.migrate.table import MAPPED, MISSING, NEEDLESS, Row, switch

PLAIN = "what goes between nodes is not encrypted"
RULES = "no rule is in iptables or nftables"
TIMES = "flows have fixed times, by protocol and state"
SIZES = "maps are sized by the node's memory; see the `max-...` options"
LEVELS = {"debug": "debug", "trace": "debug", "info": "info", "warning": "warning", "error": "error", "fatal": "error"}
SOCKET_LB = {"tcp": "on", "enabled": "on", "disabled": "off"}
SERVICE_MODE = {"tunnel": "tunnel", "dsr": "dsr"}


def _of(names: Mapping[str, str]) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(f"{text!r} is none of {', '.join(names)}")
        return names[text.lower()]

    return convert


FELIX = (
    Row("logSeverityScreen", MAPPED, "`log-level`", option="log-level", convert=_of(LEVELS)),
    Row("logSeverityFile", NEEDLESS, "the log is on stderr"),
    Row("logSeveritySys", NEEDLESS, "the log is on stderr"),
    Row("logFilePath", NEEDLESS, "the log is on stderr"),
    Row("logPrefix", NEEDLESS, RULES),
    Row("mtuIfacePattern", NEEDLESS, "the narrowest uplink counts"),
    *(
        Row(
            name,
            MISSING,
            "it is the tunnel device's there, and `mtu` is the pods' and the tunnel's here",
            "give --mtu that value",
            ("", "0"),
        )
        for name in ("ipipMTU", "vxlanMTU", "vxlanMTUV6")
    ),
    Row("vxlanPort", MAPPED, "`tunnel-port`, with vxlan; 4789 where it is not set"),
    Row("vxlanVNI", MAPPED, "`tunnel-vni`, with vxlan; 4096 where it is not set"),
    Row("vxlanEnabled", NEEDLESS, "the IPPools say it"),
    Row("ipipEnabled", NEEDLESS, "the IPPools say it"),
    Row("ipv6Support", NEEDLESS, "each family of which the Node has a pod CIDR"),
    Row("prometheusMetricsEnabled", MAPPED, "`listen`; metrics have other names"),
    Row("prometheusMetricsPort", MAPPED, "`listen`"),
    Row("prometheusMetricsHost", MAPPED, "`listen`"),
    Row("prometheusGoMetricsEnabled", NEEDLESS, "metrics are other ones"),
    Row("prometheusProcessMetricsEnabled", NEEDLESS, "metrics are other ones"),
    Row("prometheusWireGuardMetricsEnabled", NEEDLESS, "metrics are other ones"),
    Row("healthEnabled", NEEDLESS, "`/livez` and `/readyz` of `listen` are there always"),
    Row("healthHost", NEEDLESS, "`/livez` and `/readyz` of `listen` are there always"),
    Row("healthPort", NEEDLESS, "`/livez` and `/readyz` of `listen` are there always"),
    Row("reportingInterval", NEEDLESS, "what is not well is told at once"),
    Row("reportingTTL", NEEDLESS, "what is not well is told at once"),
    Row("usageReportingEnabled", NEEDLESS, "nothing is reported to anybody"),
    Row("usageReportingInitialDelay", NEEDLESS, "nothing is reported to anybody"),
    Row("usageReportingInterval", NEEDLESS, "nothing is reported to anybody"),
    Row("bpfEnabled", NEEDLESS, "the datapath is BPF always"),
    Row(
        "bpfConnectTimeLoadBalancing",
        MAPPED,
        "`socket-lb`: `off` for `Disabled`; connected UDP sockets are left to their packets anyway",
        option="socket-lb",
        convert=_of(SOCKET_LB),
    ),
    Row("bpfConnectTimeLoadBalancingEnabled", MAPPED, "`socket-lb`", option="socket-lb", convert=switch),
    Row("bpfHostNetworkedNATWithoutCTLB", NEEDLESS, "what the hooks leave to packets is translated per packet"),
    Row(
        "bpfExternalServiceMode",
        MAPPED,
        "`forwarding`: `tunnel` or `dsr`",
        option="forwarding",
        convert=_of(SERVICE_MODE),
    ),
    Row(
        "bpfDSROptoutCIDRs",
        MISSING,
        "`dsr` is a node's or a Service's",
        "annotate Services with sluiceway.io/forwarding",
        ("",),
    ),
    Row("bpfDataIfacePattern", MISSING, "uplinks are found by their addresses and routes, or named", "see --devices"),
    Row(
        "bpfDisableUnprivileged",
        MISSING,
        "the sysctl is the node's",
        "set kernel.unprivileged_bpf_disabled yourself",
        ("false",),
    ),
    Row(
        "bpfKubeProxyIptablesCleanupEnabled",
        MISSING,
        "nobody's rules are touched",
        "run kube-proxy --cleanup",
        ("false",),
    ),
    *(
        Row(name, NEEDLESS, "kube-proxy's library is not used, a change costs what it changes")
        for name in ("bpfKubeProxyMinSyncPeriod", "bpfKubeProxyEndpointSlicesEnabled")
    ),
    Row(
        "bpfKubeProxyHealthzPort",
        MISSING,
        "`healthz-bind-address` says it, with an address",
        "give --healthz-bind-address [::]:PORT",
        ("10256",),
    ),
    Row("bpfEnforceRPF", NEEDLESS, "sources are checked against what the cluster knows"),
    Row("bpfExtToServiceConnmark", MISSING, "no mark is set", "", ("0", "")),
    Row(
        "bpfForceTrackPacketsFromIfaces",
        MISSING,
        "what the host's connection tracking sees docs/architecture.md says",
        "",
        ("", "docker+"),
    ),
    Row("bpfHostConntrackBypass", NEEDLESS, "pods' packets go past the host's connection tracking"),
    Row("bpfLogLevel", NEEDLESS, "programs report drops, see `dpctl drops`"),
    Row("bpfLogFilters", NEEDLESS, "programs report drops, see `dpctl drops`"),
    Row("bpfPolicyDebugEnabled", NEEDLESS, "`dpctl policy why` tells"),
    Row("bpfAttachType", NEEDLESS, "tcx where the kernel has it"),
    Row("bpfRedirectToPeer", NEEDLESS, "pods of one node are reached past the stack"),
    Row("bpfExportBufferSizeMB", NEEDLESS, SIZES),
    Row("bpfConntrackTimeouts", MISSING, TIMES, "", ("",)),
    Row("bpfConntrackLogLevel", NEEDLESS, "`dpctl conntrack list`"),
    Row("bpfConntrackCleanupMode", NEEDLESS, "the kernel does it, by a timer"),
    Row("bpfPSNATPorts", MISSING, "ports follow from the socket or are of the kernel's range", "", ("",)),
    Row(
        "bpfExcludeCIDRsFromNAT",
        MISSING,
        "every Service is served",
        "leave Services to another proxy by the label service.kubernetes.io/service-proxy-name",
        ("",),
    ),
    *(
        Row(name, NEEDLESS, SIZES)
        for name in (
            "bpfMapSizeConntrack",
            "bpfMapSizeConntrackScaling",
            "bpfMapSizeConntrackCleanupQueue",
            "bpfMapSizeIPSets",
            "bpfMapSizeIfState",
            "bpfMapSizeNATAffinity",
            "bpfMapSizeNATBackend",
            "bpfMapSizeNATFrontend",
            "bpfMapSizePerCpuConntrack",
            "bpfMapSizeRoute",
            "bpfMaglevMaxEndpointsPerService",
            "bpfMaglevMaxServices",
        )
    ),
    *(
        Row(name, NEEDLESS, RULES)
        for name in (
            "chainInsertMode",
            "iptablesBackend",
            "iptablesLockFilePath",
            "iptablesLockProbeInterval",
            "iptablesLockTimeout",
            "iptablesMarkMask",
            "iptablesNATOutgoingInterfaceFilter",
            "iptablesRefreshInterval",
            "iptablesPostWriteCheckInterval",
            "iptablesFilterAllowAction",
            "iptablesMangleAllowAction",
            "ipsetsRefreshInterval",
            "maxIpsetSize",
            "nftablesMode",
            "nftablesMarkMask",
            "nftablesRefreshInterval",
            "nftablesFilterAllowAction",
            "nftablesMangleAllowAction",
            "netlinkTimeout",
            "ignoreLooseRPF",
            "genericXDPEnabled",
            "xdpEnabled",
            "xdpRefreshInterval",
            "sidecarAccelerationEnabled",
            "featureDetectOverride",
            "featureGates",
            "dataplaneWatchdogTimeout",
            "dataplaneDriver",
        )
    ),
    *(
        Row(
            name,
            MISSING,
            "what a policy denies is dropped or refused, by `policy-reject`",
            "see --policy-reject",
            ("Drop", ""),
        )
        for name in ("iptablesFilterDenyAction", "nftablesFilterDenyAction")
    ),
    *(
        Row(name, NEEDLESS, RESYNC)
        for name in ("routeRefreshInterval", "interfaceRefreshInterval", "serviceLoopPrevention")
    ),
    Row(
        "defaultEndpointToHostAction",
        MISSING,
        "a pod reaches its own node, as in Kubernetes; there it does not by default",
        OWN_FIREWALL,
        ("Accept", "Return", "ACCEPT", "RETURN"),
    ),
    *(
        Row(name, MISSING, HOST, OWN_FIREWALL, ("",))
        for name in ("failsafeInboundHostPorts", "failsafeOutboundHostPorts")
    ),
    Row("interfacePrefix", NEEDLESS, "pods' devices are the agent's"),
    Row("interfaceExclude", NEEDLESS, "uplinks are found by their addresses and routes, or named by `devices`"),
    Row("removeExternalRoutes", NEEDLESS, "others' routes are left alone"),
    Row("routeSource", NEEDLESS, CIDRS),
    Row(
        "routeSyncDisabled",
        MISSING,
        "routes to other nodes' pods are the agent's",
        "--network chained leaves them to others",
        ("false",),
    ),
    Row("routeTableRange", NEEDLESS, "no table beside the main one is used"),
    Row("routeTableRanges", NEEDLESS, "no table beside the main one is used"),
    Row("deviceRouteProtocol", NEEDLESS, "routes have a protocol number of the agent's"),
    Row("deviceRouteSourceAddress", MISSING, "the kernel chooses", "", ("",)),
    Row("deviceRouteSourceAddressIPv6", MISSING, "the kernel chooses", "", ("",)),
    Row("natOutgoingAddress", MISSING, "pods go outside under the address that their way gives", "", ("",)),
    Row(
        "natOutgoingExclusions",
        MISSING,
        "Nodes are met unmasqueraded",
        "see --masquerade-config for ranges",
        ("", "IPPoolsOnly"),
    ),
    Row("natPortRange", MISSING, "ports follow from the socket or are of the kernel's range", "", ("",)),
    Row(
        "externalNodesList",
        MISSING,
        "what comes encapsulated is believed from Nodes alone",
        "make Node objects of them",
        ("",),
    ),
    Row("allowVXLANPacketsFromWorkloads", NEEDLESS, "pods may send what they like under their own addresses"),
    Row("allowIPIPPacketsFromWorkloads", NEEDLESS, "pods may send what they like under their own addresses"),
    Row(
        "workloadSourceSpoofing",
        MISSING,
        "pods send under their own addresses",
        "the annotation sluiceway.io/routed-ranges",
        ("Disabled", ""),
    ),
    Row(
        "floatingIPs", MISSING, "a pod has no addresses beside its own", "a Service with externalIPs", ("Disabled", "")
    ),
    Row(
        "awsSrcDstCheck",
        MISSING,
        "no cloud's API is called",
        "turn the instances' source/destination check off yourself",
        ("DoNothing", ""),
    ),
    Row("wireguardEnabled", MISSING, PLAIN, "encrypt in the applications or below the nodes", ("false",)),
    Row("wireguardEnabledV6", MISSING, PLAIN, "encrypt in the applications or below the nodes", ("false",)),
    *(
        Row(name, NEEDLESS, "of WireGuard")
        for name in (
            "wireguardHostEncryptionEnabled",
            "wireguardInterfaceName",
            "wireguardInterfaceNameV6",
            "wireguardKeepAlive",
            "wireguardListeningPort",
            "wireguardListeningPortV6",
            "wireguardMTU",
            "wireguardMTUV6",
            "wireguardRoutingRulePriority",
            "wireguardThreadingEnabled",
        )
    ),
    *(
        Row(name, MISSING, "flows are not exported", "`dpctl conntrack list` and metrics", ("", "false", "Disabled"))
        for name in (
            "flowLogsFlushInterval",
            "flowLogsCollectorDebugTrace",
            "flowLogsGoldmaneServer",
            "flowLogsLocalReporter",
            "flowLogsPolicyEvaluationMode",
        )
    ),
    *(
        Row(name, NEEDLESS, "nobody asks the agent for it")
        for name in (
            "endpointReportingDelay",
            "endpointReportingEnabled",
            "endpointStatusPathPrefix",
            "debugDisableLogDropping",
            "debugHost",
            "debugMemoryProfilePath",
            "debugPort",
            "debugSimulateCalcGraphHangAfter",
            "debugSimulateDataplaneApplyDelay",
            "debugSimulateDataplaneHangAfter",
            "goGCThreshold",
            "goMaxProcs",
            "goMemoryLimitMB",
            "cgroupV2Path",
        )
    ),
    Row("metadataAddr", MISSING, "pods reach OpenStack's metadata as any address", "", ("None", "")),
    Row("metadataPort", NEEDLESS, "of metadataAddr"),
    Row("openstackRegion", NEEDLESS, "Kubernetes alone"),
    Row("policySyncPathPrefix", MISSING, "there are no policies of HTTP", "", ("",)),
    Row("programClusterRoutes", NEEDLESS, "routes to other nodes' pods are the agent's"),
    Row("windowsManageFirewallRules", NEEDLESS, "Windows nodes' alone"),
    Row("windowsNetworkName", NEEDLESS, "Windows nodes' alone"),
)
