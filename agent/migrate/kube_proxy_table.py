"""kube-proxy's configuration fields and flags, and what each is here. Data; ``kube_proxy`` follows it.

Source: Kubernetes 1.34, staging/src/k8s.io/kube-proxy/config/v1alpha1/types.go, cmd/kube-proxy/app/options.go.
"""

from agent.migrate.kube_router_flags import API, RESYNC, log_level, server
from agent.migrate.table import MAPPED, MISSING, NEEDLESS, Row, switch

TIMES = "flows have fixed times, by protocol and state"
RULES = "no rule is in iptables, nftables or IPVS"
TABLE = "flows are in a table of the programs', by the node's memory; see `max-flows`"
WATCHES = "the watches take what they need"
LOG = "the log is on stderr; see `log-level` and `log-format`"
WINDOWS = "Windows nodes' alone"
WORDS = {"all": "", "localhost": "127.0.0.0/8,::1/128"}


def node_port_addresses(text: str) -> str:
    """Ranges, and the words that newer versions have."""
    parts = [WORDS.get(part.strip(), part.strip()) for part in text.split(",")]
    return "" if "" in parts else ",".join(parts)


FIELDS = (
    Row("bindAddress", NEEDLESS, "nothing is bound to it"),
    Row(
        "bindAddressHardFail",
        NEEDLESS,
        "a port that another process has is a problem in `dpctl status`, and is tried again",
    ),
    Row("healthzBindAddress", MAPPED, "`healthz-bind-address`", option="healthz-bind-address"),
    Row(
        "metricsBindAddress",
        MISSING,
        "metrics are at `listen`, and have other names",
        "see docs/metrics.md",
        ("127.0.0.1:10249", ""),
    ),
    Row("enableProfiling", MISSING, "the agent is not profiled over the network", "", ("false",)),
    Row("showHiddenMetricsForVersion", NEEDLESS, "metrics are other ones"),
    Row("hostnameOverride", MAPPED, "`node-name`", option="node-name"),
    Row("clientConnection.kubeconfig", NEEDLESS, "the agent's pod has a service account; elsewhere see `kubeconfig`"),
    Row("clientConnection.acceptContentTypes", NEEDLESS, WATCHES),
    Row("clientConnection.contentType", NEEDLESS, WATCHES),
    Row("clientConnection.qps", NEEDLESS, WATCHES),
    Row("clientConnection.burst", NEEDLESS, WATCHES),
    Row(
        "clusterCIDR", NEEDLESS, "which pods are the node's is known by their devices, others' by the Nodes' pod CIDRs"
    ),
    Row("detectLocalMode", NEEDLESS, "which pods are the node's is known by their devices"),
    Row("detectLocal.bridgeInterface", NEEDLESS, "which pods are the node's is known by their devices"),
    Row("detectLocal.interfaceNamePrefix", NEEDLESS, "which pods are the node's is known by their devices"),
    Row("detectLocal.clusterCIDRs", NEEDLESS, "which pods are the node's is known by their devices"),
    Row("detectLocal", NEEDLESS, "which pods are the node's is known by their devices"),
    Row("mode", NEEDLESS, RULES),
    Row(
        "nodePortAddresses",
        MAPPED,
        "`nodeport-addresses`; `all` is the default, `localhost` its ranges",
        option="nodeport-addresses",
        convert=node_port_addresses,
    ),
    Row("portRange", NEEDLESS, "kube-proxy has not used it for long; see `node-port-range`"),
    Row("oomScoreAdj", NEEDLESS, "the pod's priority class says it"),
    Row("configSyncPeriod", NEEDLESS, RESYNC),
    Row("syncPeriod", NEEDLESS, RESYNC),
    Row("minSyncPeriod", NEEDLESS, "a change costs what it changes"),
    Row("linux.oomScoreAdj", NEEDLESS, "the pod's priority class says it"),
    *(
        Row(f"{mode}.{name}", outcome, text, option=option, convert=convert)
        for mode in ("iptables", "nftables")
        for name, outcome, text, option, convert in (
            ("masqueradeAll", MAPPED, "`masquerade-all`", "masquerade-all", switch),
            ("masqueradeBit", NEEDLESS, RULES, "", str),
            ("syncPeriod", NEEDLESS, RESYNC, "", str),
            ("minSyncPeriod", NEEDLESS, "a change costs what it changes", "", str),
        )
    ),
    Row("linux.masqueradeAll", MAPPED, "`masquerade-all`", option="masquerade-all", convert=switch),
    Row(
        "iptables.localhostNodePorts",
        MISSING,
        "node ports are at loopback for the node itself",
        "give --nodeport-addresses ranges without loopback",
        ("true", ""),
    ),
    Row(
        "ipvs.scheduler",
        MISSING,
        "schedulers are a Service's: the annotation `sluiceway.io/scheduler`; without it `maglev`",
        "annotate the Services that need it",
        ("", "rr"),
    ),
    Row("ipvs.excludeCIDRs", NEEDLESS, "no IPVS service is touched"),
    Row("ipvs.strictARP", NEEDLESS, "no device has Services' addresses"),
    Row("ipvs.syncPeriod", NEEDLESS, RESYNC),
    Row("ipvs.minSyncPeriod", NEEDLESS, "a change costs what it changes"),
    Row("ipvs.masqueradeAll", MAPPED, "`masquerade-all`", option="masquerade-all", convert=switch),
    Row("ipvs.tcpTimeout", MISSING, TIMES, "", ("", "0s")),
    Row("ipvs.tcpFinTimeout", MISSING, TIMES, "", ("", "0s")),
    Row("ipvs.udpTimeout", MISSING, TIMES, "", ("", "0s")),
    *(
        Row(f"{prefix}.{name}", outcome, text, "", harmless)
        for prefix in ("conntrack", "linux.conntrack")
        for name, outcome, text, harmless in (
            ("maxPerCore", NEEDLESS, TABLE, ()),
            ("min", NEEDLESS, TABLE, ()),
            ("max", NEEDLESS, TABLE, ()),
            ("tcpEstablishedTimeout", MISSING, TIMES, ("", "0s", "24h0m0s")),
            ("tcpCloseWaitTimeout", MISSING, TIMES, ("", "0s", "1h0m0s")),
            ("tcpBeLiberal", NEEDLESS, "sequence numbers are not checked", ()),
            ("udpTimeout", MISSING, TIMES, ("", "0s")),
            ("udpStreamTimeout", MISSING, TIMES, ("", "0s")),
        )
    ),
    Row("featureGates", MISSING, "Kubernetes' gates are not the agent's", "see what each turns on", ("",)),
    Row("logging", NEEDLESS, LOG),
    Row("winkernel", NEEDLESS, WINDOWS),
    Row("windows", NEEDLESS, WINDOWS),
    Row("windowsRunAsService", NEEDLESS, WINDOWS),
)
WHOLE = ("featureGates", "logging", "winkernel", "windows")  # fields of which every part is the same row
FLAG_FIELDS = {
    "bind-address": "bindAddress",
    "bind-address-hard-fail": "bindAddressHardFail",
    "healthz-bind-address": "healthzBindAddress",
    "metrics-bind-address": "metricsBindAddress",
    "profiling": "enableProfiling",
    "show-hidden-metrics-for-version": "showHiddenMetricsForVersion",
    "hostname-override": "hostnameOverride",
    "kubeconfig": "clientConnection.kubeconfig",
    "kube-api-content-type": "clientConnection.contentType",
    "kube-api-qps": "clientConnection.qps",
    "kube-api-burst": "clientConnection.burst",
    "cluster-cidr": "clusterCIDR",
    "detect-local-mode": "detectLocalMode",
    "pod-bridge-interface": "detectLocal.bridgeInterface",
    "pod-interface-name-prefix": "detectLocal.interfaceNamePrefix",
    "proxy-mode": "mode",
    "nodeport-addresses": "nodePortAddresses",
    "proxy-port-range": "portRange",
    "oom-score-adj": "oomScoreAdj",
    "config-sync-period": "configSyncPeriod",
    "masquerade-all": "iptables.masqueradeAll",
    "iptables-masquerade-bit": "iptables.masqueradeBit",
    "iptables-sync-period": "iptables.syncPeriod",
    "iptables-min-sync-period": "iptables.minSyncPeriod",
    "iptables-localhost-nodeports": "iptables.localhostNodePorts",
    "ipvs-scheduler": "ipvs.scheduler",
    "ipvs-exclude-cidrs": "ipvs.excludeCIDRs",
    "ipvs-strict-arp": "ipvs.strictARP",
    "ipvs-sync-period": "ipvs.syncPeriod",
    "ipvs-min-sync-period": "ipvs.minSyncPeriod",
    "ipvs-tcp-timeout": "ipvs.tcpTimeout",
    "ipvs-tcpfin-timeout": "ipvs.tcpFinTimeout",
    "ipvs-udp-timeout": "ipvs.udpTimeout",
    "conntrack-max-per-core": "conntrack.maxPerCore",
    "conntrack-min": "conntrack.min",
    "conntrack-tcp-timeout-established": "conntrack.tcpEstablishedTimeout",
    "conntrack-tcp-timeout-close-wait": "conntrack.tcpCloseWaitTimeout",
    "conntrack-tcp-be-liberal": "conntrack.tcpBeLiberal",
    "conntrack-udp-timeout": "conntrack.udpTimeout",
    "conntrack-udp-timeout-stream": "conntrack.udpStreamTimeout",
    "feature-gates": "featureGates",
    "logging-format": "logging",
    "vmodule": "logging",
    "log-flush-frequency": "logging",
}
FLAGS = (
    Row("master", MAPPED, API, option="api-server", convert=server),
    Row("config", NEEDLESS, "the ConfigMap is read here"),
    Row("write-config-to", NEEDLESS, "a command: `sluiceway-agent config`"),
    Row("cleanup", NEEDLESS, "a command; `replace-kube-proxy` takes its rules away, too"),
    Row("init-only", NEEDLESS, "the agent sets sysctls itself"),
    Row("version", NEEDLESS, "a command"),
    Row("help", NEEDLESS, "a command"),
    Row(
        "v",
        MAPPED,
        "`log-level`: `debug` above 2",
        option="log-level",
        convert=lambda text: log_level("" if text in {"1", "2"} else text),
    ),
)
SWITCHES = frozenset(
    {
        "bind-address-hard-fail", "profiling", "masquerade-all", "iptables-localhost-nodeports", "ipvs-strict-arp",
        "conntrack-tcp-be-liberal", "cleanup", "init-only", "version", "help",
    }
)  # fmt: skip
