"""flannel's net-conf.json, flags and Node annotations, and what each is here. Data; ``flannel`` follows it.

Source: flannel v0.2x, Documentation/configuration.md, Documentation/backends.md, and main.go.
"""

from agent.migrate.kube_router_flags import API, MOUNTED, log_level, server
from agent.migrate.table import MAPPED, MISSING, NEEDLESS, Row, switch

CIDRS = "pods get addresses of `Node.spec.podCIDRs`"
ETCD = "leases are not read from etcd"
GIVE_CIDRS = "have kube-controller-manager give Nodes pod CIDRs (--allocate-node-cidrs)"
EVERYWHERE = "0.0.0.0"  # noqa: S104  flannel's text
ADDRESS = "nodes are reached at the InternalIPs of their Node objects"
SET_ADDRESS = "give the kubelet --node-ip"
CONDITION = "a Node keeps what flannel wrote; on a new one set it False where a cloud's controller made it True"
PLAIN = "what goes between nodes is not encrypted"

NET_CONF = (
    Row("Network", NEEDLESS, CIDRS),
    Row("IPv6Network", NEEDLESS, CIDRS),
    Row("EnableIPv4", NEEDLESS, "each family of which the Node has a pod CIDR"),
    Row("EnableIPv6", NEEDLESS, "each family of which the Node has a pod CIDR"),
    Row("EnableNFTables", NEEDLESS, "no rule is in iptables or nftables"),
    *(
        Row(name, NEEDLESS, CIDRS)
        for name in ("SubnetLen", "SubnetMin", "SubnetMax", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax")
    ),
    Row("Backend.Type", MAPPED, "`encapsulation`: `vxlan`, `ipip`; `host-gw` is `native`; others have no counterpart"),
    Row("Backend.VNI", MAPPED, "`tunnel-vni`", option="tunnel-vni"),
    Row("Backend.Port", MAPPED, "`tunnel-port`", option="tunnel-port"),
    Row("Backend.DirectRouting", MAPPED, "`cross-subnet`", option="cross-subnet", convert=switch),
    Row("Backend.GBP", MISSING, "there are no VXLAN group policies", "", ("false",)),
    Row("Backend.MTU", MISSING, "it is the uplink's there, `mtu` the pods'", "give --mtu FLANNEL_MTU of subnet.env"),
    Row("Backend.MacPrefix", NEEDLESS, "Windows nodes' alone"),
    *(
        Row(f"Backend.{name}", MISSING, PLAIN, "encrypt in the applications or below the nodes")
        for name in (
            "PSK", "ListenPort", "ListenPortV6", "Mode", "PersistentKeepaliveInterval", "UDPEncap", "ESPProposal",
        )
    ),
    *(
        Row(f"Backend.{name}", MISSING, "no commands of the user's are run", "")
        for name in ("PreStartupCommand", "PostStartupCommand", "SubnetAddCommand", "SubnetRemoveCommand")
    ),
)  # fmt: skip
BACKENDS = {
    "vxlan": ("vxlan", ""),
    "host-gw": ("native", ""),
    "ipip": ("ipip", ""),
    "udp": ("vxlan", "there is no tunnel through user space; vxlan, which is in UDP too, is taken in its place"),
    "wireguard": ("vxlan", f"{PLAIN}; vxlan, which is in UDP too, is taken in its place"),
    "ipsec": ("vxlan", f"{PLAIN}; vxlan, which is in UDP too, is taken in its place"),
    "alloc": ("native", "routes between nodes are the agent's, where they share a subnet"),
    "extension": ("native", "no commands of the user's are run"),
}  # the encapsulation, and why it is not the same
FLAGS = (
    Row("kube-subnet-mgr", NEEDLESS, CIDRS),
    Row("kube-api-url", MAPPED, API, option="api-server", convert=server),
    Row("kubeconfig-file", MAPPED, MOUNTED, option="kubeconfig"),
    Row("kube-annotation-prefix", NEEDLESS, "no annotation is written"),
    *(
        Row(f"etcd-{name}", MISSING, ETCD, GIVE_CIDRS)
        for name in ("endpoints", "prefix", "cafile", "certfile", "keyfile", "username", "password")
    ),
    Row("iface", MAPPED, "`devices`, for a name; an address has no counterpart"),
    Row("iface-regex", MISSING, "devices are named", "give --devices by node, or leave them to be found"),
    Row("iface-can-reach", MISSING, "devices are named", "give --devices by node, or leave them to be found"),
    Row("public-ip", MISSING, ADDRESS, SET_ADDRESS, ("",)),
    Row("public-ipv6", MISSING, ADDRESS, SET_ADDRESS, ("",)),
    Row("ip-masq", MAPPED, "`masquerade`; off without the flag"),
    Row("ip-masq-fully-random-disable", NEEDLESS, "ports follow from the socket, others' are not foreseen"),
    Row("iptables-resync", NEEDLESS, "what somebody changes is put back at once, or after three minutes at the latest"),
    Row("iptables-forward-rules", NEEDLESS, "pods' packets go past the host's FORWARD chain"),
    Row("ip-blackhole-route", NEEDLESS, "what is for an address of the node's pod CIDR that no pod has goes nowhere"),
    Row("subnet-file", NEEDLESS, "no other plugin reads the node's subnet"),
    Row("subnet-dir", NEEDLESS, "no other plugin reads the node's subnet"),
    Row("subnet-lease-renew-margin", NEEDLESS, "there are no leases"),
    Row("net-config-path", NEEDLESS, "the ConfigMap is read here"),
    Row("healthz-ip", MISSING, "health is at the address of `listen`", "change who asks", (EVERYWHERE, "")),
    Row("healthz-port", MISSING, "health is at `/livez` and `/readyz` of `listen`", "change who asks", ("0",)),
    Row("set-node-network-unavailable", MISSING, "the Node's condition is not written", CONDITION, ("false",)),
    Row("charon-executable-path", NEEDLESS, "of the ipsec backend"),
    Row("charon-viciuri-path", NEEDLESS, "of the ipsec backend"),
    Row("v", MAPPED, "`log-level`: `debug` above 0", option="log-level", convert=log_level),
    *(
        Row(name, NEEDLESS, "the log is on stderr")
        for name in ("logtostderr", "alsologtostderr", "log_dir", "stderrthreshold", "vmodule", "log_backtrace_at")
    ),
    Row("version", NEEDLESS, "a command"),
)  # fmt: skip
SWITCHES = frozenset(
    {
        "kube-subnet-mgr", "ip-masq", "ip-masq-fully-random-disable", "iptables-forward-rules", "ip-blackhole-route",
        "set-node-network-unavailable", "logtostderr", "alsologtostderr", "version",
    }
)  # fmt: skip
_CALICOS = "of Calico's part; sluiceway-agent import calico reads that"
_NAMED = "read where the DaemonSet names it"
OF_CANAL = {
    "typha_service_name": _CALICOS,
    "cni_network_config": _CALICOS,
    "veth_mtu": "pods' interfaces follow the uplinks, by `mtu`",
    "canal_iface": _NAMED,
    "masquerade": _NAMED,
}
PREFIX = "flannel.alpha.coreos.com/"
STAYS = "flannel's own, for its nodes; take it away after the last of them"
ANNOTATIONS = (
    Row("backend-data", NEEDLESS, STAYS),
    Row("backend-v6-data", NEEDLESS, STAYS),
    Row("backend-type", MAPPED, "`encapsulation`, where there is no net-conf.json, as with k3s"),
    Row("kube-subnet-manager", NEEDLESS, STAYS),
    Row("public-ip", MAPPED, "the Node's InternalIP, where it is the same; another has no counterpart"),
    Row("public-ipv6", MAPPED, "the Node's InternalIP, where it is the same; another has no counterpart"),
    Row("public-ip-overwrite", MISSING, ADDRESS, SET_ADDRESS),
    Row("public-ipv6-overwrite", MISSING, ADDRESS, SET_ADDRESS),
    Row("node-public-ip", NEEDLESS, STAYS),
)
ENVIRONMENT = (
    Row("POD_NAME", NEEDLESS, "flannel's own"),
    Row("POD_NAMESPACE", NEEDLESS, "flannel's own"),
    Row("EVENT_QUEUE_DEPTH", NEEDLESS, "Nodes are watched, and no event waits in a queue"),
    Row("CONT_WHEN_CACHE_NOT_READY", NEEDLESS, "the agent waits as long as it takes"),
    Row("WIREGUARD_KEY_FILE", MISSING, PLAIN),
    Row("KUBERNETES_SERVICE_HOST", MAPPED, API),
    Row("KUBERNETES_SERVICE_PORT", MAPPED, API),
)
