"""Options of the node: what it is called, whom it asks, and where the agent keeps what."""

from dataclasses import dataclass, field
from pathlib import Path

from agent.options import values
from agent.options.values import about


@dataclass(frozen=True)
class NodeOptions:
    """Whom this agent watches, and its folders."""

    node_name: str = field(
        default="",
        metadata=about(values.text, "name of this node's Node object", "NODE_NAME, then hostname"),
    )
    kubeconfig: Path | None = field(
        default=None,
        metadata=about(values.path, "API server to watch", "the pod's service account"),
    )
    api_server: tuple[str, ...] = field(
        default=(),
        metadata=about(
            values.servers,
            "API servers that are asked until this node serves the API's own service, and when that does not answer; "
            "with the credentials of the kubeconfig or the service account",
            "the kubeconfig's, or in a pod the service",
        ),
    )
    manifests: Path | None = field(
        default=None,
        metadata=about(values.path, "folder of Kubernetes YAML, watched instead of an API server"),
    )
    pin_root: Path = field(
        default=Path("/sys/fs/bpf/sluiceway"),
        metadata=about(values.path, "where maps and links are pinned", "sluiceway on the bpffs"),
    )
    cgroup: Path = field(
        default=Path("/sys/fs/cgroup"),
        metadata=about(values.path, "cgroup whose sockets are load-balanced", "the cgroup2 root"),
    )
    state_dir: Path = field(
        default=Path("/var/lib/sluiceway"),
        metadata=about(values.path, "what must outlive a reboot"),
    )
    run_dir: Path = field(default=Path("/run/sluiceway"), metadata=about(values.path, "where cni.sock lives"))
    cache_dir: Path = field(default=Path("/var/cache/sluiceway"), metadata=about(values.path, "compiled programs"))
