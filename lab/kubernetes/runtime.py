"""containerd on a node: the real one, with its pods' images already in it."""

import time
from pathlib import Path

from lab.kubernetes import images
from lab.kubernetes.build import Artifacts
from lab.kubernetes.control_plane import ClusterError
from lab.machine import Machine

SOCKET = "/run/containerd/containerd.sock"
RUNC = "/usr/sbin/runc"  # Debian's
READY_WITHIN_S = 120.0
CONFIG = f"""\
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
# what the lab has no use for; each would look for something at start
disabled_plugins = [
  "io.containerd.internal.v1.tracing",
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
address = "{SOCKET}"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{images.PAUSE}"

[plugins."io.containerd.cri.v1.runtime"]
# a machine of the lab may be without CAP_SYS_RESOURCE; runc dies when it cannot lower oom_score_adj
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/opt/cni/bin"]
conf_dir = "/etc/cni/net.d"
use_internal_loopback = true  # else it looks for a plugin of that name, which is nobody's here

[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{RUNC}"
SystemdCgroup = false
"""


def start(node: Machine, artifacts: Artifacts) -> None:
    """Start containerd on *node* and import the images; returns when both are done.

    Raises:
        ClusterError: containerd does not answer.
    """
    config = node.home / "containerd.toml"
    config.write_text(CONFIG)
    program = artifacts.programs["containerd"]
    path = f"{program.parent}:/usr/sbin:/usr/bin:/sbin:/bin"  # containerd looks for its shim there
    node.daemon("containerd", [str(program), "--config", str(config)], {"PATH": path})
    ctr = _ctr(artifacts)
    deadline = time.monotonic() + READY_WITHIN_S
    while node.run(*ctr, "version", check=False).returncode:
        if time.monotonic() > deadline:
            raise ClusterError(f"containerd of {node.name} does not answer: {node.log_tail('containerd')}")
        time.sleep(0.1)
    load_all(node, artifacts, artifacts.images)


def load_all(node: Machine, artifacts: Artifacts, archive: Path) -> None:
    """Import every image of an archive, under the names that it has there."""
    node.run(*_ctr(artifacts), "images", "import", "--local", "-", stdin=archive)


def load(node: Machine, artifacts: Artifacts, archive: Path, name: str) -> None:
    """Import the one image of an archive under another *name*; nothing is done where the node has that."""
    ctr = _ctr(artifacts)
    if name in node.run(*ctr, "images", "list", "--quiet").stdout.splitlines():
        return
    said = node.run(*ctr, "images", "import", "--local", "--index-name", name, "-", stdin=archive).stdout
    if name not in node.run(*ctr, "images", "list", "--quiet").stdout.splitlines():
        raise ClusterError(f"containerd of {node.name} has no {name}: {said}")


def tag(node: Machine, artifacts: Artifacts, name: str, other: str) -> None:
    """Give an image a further name."""
    node.run(*_ctr(artifacts), "images", "tag", "--force", name, other)


def _ctr(artifacts: Artifacts) -> list[str]:
    return [artifacts.program("ctr"), "--address", SOCKET, "--namespace", "k8s.io"]
