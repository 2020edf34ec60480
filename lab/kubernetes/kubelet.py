"""The real kubelet on a node."""

import json
from pathlib import Path

from lab.kubernetes import runtime
from lab.kubernetes.addresses import DNS_SERVICE
from lab.kubernetes.build import Artifacts
from lab.kubernetes.identities import Identities
from lab.machine import Machine

STATIC_PODS = Path("/etc/kubernetes/manifests")  # of a node; what is not there is passed over
LOOKS_EVERY_S = 5.0  # at its runtime, whether pods can have a network; upstream's own constant
ZONES = ("zone-a", "zone-b", "zone-c")
# the lab's nodes share one disk and one memory; nothing is to be evicted for what another node holds
EVICTION = {"memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%"}


def start(node: Machine, number: int, artifacts: Artifacts, who: Identities) -> None:
    """Start the kubelet of *node*, the *number*-th; zones go round."""
    config = node.home / "kubelet-configuration.json"
    config.write_text(json.dumps(_configuration(node, who), indent=1))
    labels = {
        "topology.kubernetes.io/region": "lab",
        "topology.kubernetes.io/zone": ZONES[number % len(ZONES)],
    }
    node.daemon(
        "kubelet",
        [
            artifacts.program("kubelet"),
            f"--config={config}",
            f"--kubeconfig={who.kubeconfig(node.name)}",
            f"--hostname-override={node.name}",
            f"--node-ip={','.join(map(str, node.addresses))}",
            f"--node-labels={','.join(f'{key}={value}' for key, value in labels.items())}",
        ],
    )


def _configuration(node: Machine, who: Identities) -> dict[str, object]:
    serving = who.serving(node.name)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": str(node.addresses[0]),
        "healthzBindAddress": "127.0.0.1",
        "tlsCertFile": str(serving.public),
        "tlsPrivateKeyFile": str(serving.private),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(who.authority.own.public)},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{runtime.SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/",  # the node has a cgroup namespace
        "failCgroupV1": False,
        # its KUBE-FIREWALL guards what kube-proxy opens by route_localnet, and would drop host ports at 127.0.0.1
        "makeIPTablesUtilChains": False,
        "failSwapOn": False,
        # a change is reported at once; an unchanged status as seldom as by default
        "nodeStatusUpdateFrequency": "1s",
        "nodeStatusReportFrequency": "5m",
        "oomScoreAdj": 0,  # lowering it needs CAP_SYS_RESOURCE
        "clusterDomain": "cluster.local",
        "clusterDNS": [str(DNS_SERVICE)],
        "resolvConf": "/etc/resolv.conf",
        "staticPodPath": str(STATIC_PODS),
        "fileCheckFrequency": "1s",
        "serializeImagePulls": False,
        "imageGCHighThresholdPercent": 100,  # never: nothing could be pulled again
        "evictionHard": EVICTION,
        "enableSystemLogHandler": True,
    }
