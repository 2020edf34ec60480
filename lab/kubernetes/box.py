"""What a box of vagrant/ has besides Debian, for hosts that reach neither Kubernetes' packages nor a registry.

``python -m lab.kubernetes.box FOLDER`` builds it from Go modules that ``lab/go`` pins. The folder then has ``root``,
what Kubernetes' packages would bring, and ``images``, archives for the machines' containerd: kubeadm's images under its
own names, and those of the walk-through. ``vagrant/host/box.sh`` bakes all of it into a box.
"""

import os
import shutil
import sys
from pathlib import Path

from lab.kubernetes import build, golang, kubeadm_images
from lab.kubernetes.golang import BuildError, Say

WANTED = {*kubeadm_images.CONTROL_PLANE, "etcd", "kubelet", "kubectl"}  # Debian has a containerd of its own
INSTALLED = ("kubelet", "kubectl")
UNIT = Path("usr/lib/systemd/system/kubelet.service")
# kubeadm writes the configuration before it starts the unit; until then there is nothing to start
KUBELET = """\
[Unit]
Description=kubelet
ConditionPathExists=/var/lib/kubelet/config.yaml
Wants=network-online.target
After=network-online.target containerd.service
StartLimitIntervalSec=0

[Service]
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=/usr/bin/kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \\
    --kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml \\
    $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
"""


def write(folder: Path, say: Say) -> None:
    """Build what is missing, and fill *folder* with it.

    Raises:
        BuildError: a program or an image could not be made.
    """
    cache = build.cache_folder(os.environ)
    programs = golang.programs(cache, say, [program for program in golang.PROGRAMS if program.name in WANTED])
    own = golang.programs(cache, say, golang.KUBEADM_PROGRAMS)
    archives = kubeadm_images.archives(cache, programs, own, say)
    shutil.rmtree(folder, ignore_errors=True)
    for name, path in {**{name: programs[name] for name in INSTALLED}, "kubeadm": own["kubeadm"]}.items():
        _link(folder / "root/usr/bin" / name, path)
    for path in (archives.every_node, archives.control_plane):
        _link(folder / "images" / path.name, path)
    unit = folder / "root" / UNIT
    unit.parent.mkdir(parents=True)
    unit.write_text(KUBELET)


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def main() -> int:
    """Fill the folder that is named."""
    try:
        write(Path(sys.argv[1]), lambda text: print(text, flush=True))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
