"""By which names kube-proxy's things are known from kubelet's, kube-router's and anybody's that begin alike.

Source: Kubernetes 1.36, pkg/proxy (iptables, ipvs and nftables, each proxier.go and its clean-up) and
pkg/kubelet/kubelet_network_linux.go; what is marked so, older ones'.
"""

import re
from typing import Final

from agent.compile.service_device import KUBE_PROXYS

PROCESS: Final = "kube-proxy"
TABLE: Final = "kube-proxy"  # of its nftables mode, in both families
DEVICE: Final = KUBE_PROXYS  # of its IPVS mode: what Services' addresses are on
MODES = frozenset({"iptables", "ipvs", "nftables"})  # what it answers at /proxyMode

# not KUBE-FIREWALL, KUBE-IPTABLES-HINT, KUBE-KUBELET-CANARY and, before 1.28, KUBE-MARK-DROP: kubelet's
_CHAINS = frozenset(
    f"KUBE-{name}"
    for name in (
        "SERVICES",
        "EXTERNAL-SERVICES",
        "NODEPORTS",
        "POSTROUTING",
        "MARK-MASQ",
        "FORWARD",
        "PROXY-FIREWALL",
        "PROXY-CANARY",
        "NODE-PORT",  # from here on IPVS mode's alone
        "LOAD-BALANCER",
        "SOURCE-RANGES-FIREWALL",
        "IPVS-FILTER",
        "IPVS-OUT-FILTER",
    )
)
_OF_SERVICE = re.compile(r"KUBE-(SVC|SVL|EXT|FW|SEP|XLB)-[A-Z2-7]{16}")  # and a hash in base32; XLB: before 1.24
_OF_NAT = frozenset({"KUBE-FIREWALL"})  # IPVS mode's before 1.27; of this name kubelet has one in filter alone

_SETS = (
    "LOOP-BACK",
    "CLUSTER-IP",
    "EXTERNAL-IP",
    "EXTERNAL-IP-LOCAL",
    "LOAD-BALANCER",
    "LOAD-BALANCER-LOCAL",
    "LOAD-BALANCER-FW",
    "LOAD-BALANCER-SOURCE-IP",
    "LOAD-BALANCER-SOURCE-CIDR",
    "NODE-PORT-TCP",
    "NODE-PORT-LOCAL-TCP",
    "NODE-PORT-UDP",
    "NODE-PORT-LOCAL-UDP",
    "NODE-PORT-SCTP-HASH",
    "NODE-PORT-LOCAL-SCTP-HASH",
    "HEALTH-CHECK-NODE-PORT",
    "IPVS-IPS",
)
IP_SETS = frozenset(f"{family}{name}"[:31] for family in ("KUBE-", "KUBE-6-") for name in _SETS)  # IPSET_MAXNAMELEN


def is_chain(table: str, chain: str) -> bool:
    """Whether an iptables chain is kube-proxy's, by its name and its table's."""
    return chain in _CHAINS or bool(_OF_SERVICE.fullmatch(chain)) or (table == "nat" and chain in _OF_NAT)
