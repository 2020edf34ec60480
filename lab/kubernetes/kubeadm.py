"""Machines of the lab on which kubeadm sets up its cluster: containerd with its images, and its programs on the PATH.

What they lack of a Debian machine has a stand-in: systemd, of which kubeadm knows the unit kubelet, and what belongs to
the whole kernel. ``MORE`` is what kubeadm is told there and on no other machine.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab import site as sites
from lab.kubernetes import agent_image, build, dns, golang, kubeadm_images, policy_api, runtime
from lab.kubernetes.build import Artifacts
from lab.kubernetes.golang import Say
from lab.kubernetes.kubelet import EVICTION
from lab.machine import Machine
from lab.site import Options, Site

CHECKOUT = Path(__file__).resolve().parents[2]
SYSTEMCTL = Path(__file__).with_name("systemctl.sh")
# of the cluster's programs; none is for upstream's tests, which take longest to build
WANTED = (
    *("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kubelet", "kubectl", "coredns"),
    *("containerd", "containerd-shim-runc-v2", "ctr"),
)
TYPED = ("kubelet", "kubectl", "ctr")
KERNELS = ("modprobe", "swapoff")  # what these change is not the machine's: they do nothing
PATCHES = Path("/etc/kubeadm-patches")
# to its init and join; the check left out is that of the kernel's configuration and cgroups, whose version 1 is too old
MORE = f"--ignore-preflight-errors=SystemVerification --patches={PATCHES}"
# on top of what kubeadm configures
KUBELET_PATCH = {
    "cgroupDriver": "cgroupfs",  # there is no systemd
    "cgroupRoot": "/",  # the node has a cgroup namespace
    "failCgroupV1": False,
    "failSwapOn": False,
    "oomScoreAdj": 0,  # lowering it needs CAP_SYS_RESOURCE
    "imageGCHighThresholdPercent": 100,  # never: nothing could be pulled again
    "evictionHard": EVICTION,
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """Machines on which nothing of Kubernetes runs yet, and the tree that commands are typed in."""

    site: Site
    tree: Path

    def environment(self, machine: Machine) -> dict[str, str]:
        """What whoever types on *machine* has in the environment."""
        path = machine.environment()["PATH"]
        return {"PATH": f"{machine.home / 'bin'}:{path}", "HOME": "/run/home"}


def up(name: str, say: Say) -> Prepared:
    """Build what is missing, make three machines, and put on each what its packages and image are elsewhere.

    Raises:
        LabError: something could not be made; ``site.remove`` takes away what there is.
    """
    cache = build.cache_folder(os.environ)
    programs = golang.programs(cache, say, [program for program in golang.PROGRAMS if program.name in WANTED])
    own = golang.programs(cache, say, golang.KUBEADM_PROGRAMS)
    archives = kubeadm_images.archives(cache, programs, own, say)
    artifacts = Artifacts(programs, archives.every_node, policy_api.definition(cache, say))
    agent = agent_image.image(cache, say)
    site = sites.create(name, Options(kubernetes=True))  # its control plane's machine stays empty: kubeadm's is n1
    dns.start_outside(site.outside, artifacts)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: _prepare(node, artifacts, own["kubeadm"]), site.nodes))
    runtime.load_all(site.nodes[0], artifacts, archives.control_plane)
    say("three machines have containerd and Kubernetes' images")
    return Prepared(site, _tree(site, agent.archive))


def _prepare(node: Machine, artifacts: Artifacts, kubeadm: Path) -> None:
    """What a machine has after the page's section on packages, and the stand-ins."""
    runtime.start(node, artifacts)
    commands = node.home / "bin"
    commands.mkdir()
    for name in TYPED:
        (commands / name).symlink_to(artifacts.programs[name])
    (commands / "systemctl").symlink_to(SYSTEMCTL)
    for name in KERNELS:
        (commands / name).symlink_to("/bin/true")
    write_command(commands / "kubeadm", kubeadm)
    etc = node.root / "etc"
    (etc / "fstab").write_text("UUID=1 none swap sw 0 0\n")
    for folder in (etc / "modules-load.d", etc / "sysctl.d", etc / "default", node.root / "run/home"):
        folder.mkdir(parents=True, exist_ok=True)
    patches = node.root / PATCHES.relative_to("/")
    patches.mkdir()
    (patches / "kubeletconfiguration+merge.json").write_text(json.dumps(KUBELET_PATCH))


def write_command(path: Path, kubeadm: Path) -> None:
    """The command that is typed in *kubeadm*'s place: it adds ``MORE``."""
    path.write_text(f'#!/bin/bash\n[[ ${{1:-}} != @(init|join) ]] || set -- "$@" {MORE}\nexec {kubeadm} "$@"\n')
    path.chmod(0o755)


def _tree(site: Site, image: Path) -> Path:
    """A tree as a checkout is after ``make image``."""
    tree = site.folder / "tree"
    tree.mkdir()
    for name in ("deploy", "vagrant"):
        (tree / name).symlink_to(CHECKOUT / name)
    (tree / "dist").symlink_to(image.parent)
    return tree
