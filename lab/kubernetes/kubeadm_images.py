"""The images of a cluster that kubeadm makes, under the names that it and docs/install/kubeadm.md have for them.

The control plane is our own builds of it, etcd and CoreDNS in the versions that ``lab/go`` pins; nginx is Debian's, and
busybox a Debian userland. No registry is asked.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.kubernetes import golang, images, oci
from lab.kubernetes.golang import Say

REGISTRY = "registry.k8s.io"
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
# as kubeadm names them, whatever is inside
ETCD = f"{REGISTRY}/etcd:3.6.8-0"
COREDNS = f"{REGISTRY}/coredns/coredns:v1.14.2"
# as the page names them
NGINX = "docker.io/library/nginx:1.27"
BUSYBOX = "docker.io/library/busybox:1.36"
NGINX_PACKAGES = ("nginx-light",)
# says why it gave up, as the page's busybox does; GNU's is silent with -q, and Debian's busybox knows no -T
WGET = '#!/bin/sh\n[ "$1" != -q ] || shift\nexec /usr/bin/wget -nv "$@"\n'
IN_FRONT = ("nginx", "-g", "daemon off;")


@dataclass(frozen=True, slots=True)
class Archives:
    """What every node has, and what the control plane's has besides."""

    every_node: Path
    control_plane: Path


def archives(cache: Path, programs: Mapping[str, Path], own: Mapping[str, Path], say: Say) -> Archives:
    """The images of the cluster's *programs* and kubeadm's *own* CoreDNS, made when *cache* has none of these inputs.

    Raises:
        BuildError: an image could not be made.
    """
    digest = hashlib.sha256(images.PAUSE_SOURCE.read_bytes() + Path(__file__).read_bytes())
    digest.update(f"{golang.module_key('cluster')} {golang.module_key('kubeadm')}".encode())
    folder = cache / f"kubeadm-images-{digest.hexdigest()[:16]}"
    made = Archives(folder / "every-node.tar", folder / "control-plane.tar")
    if made.every_node.exists() and made.control_plane.exists():
        return made
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as layers:
        _write(made.every_node, _every_node(Path(layers), cache, own))
        _write(made.control_plane, _control_plane(Path(layers), programs))
    say(f"kubeadm's images made in {time.monotonic() - began:.0f} s")
    return made


def _every_node(folder: Path, cache: Path, own: Mapping[str, Path]) -> tuple[oci.Image, ...]:
    wget = folder / "wget"
    wget.write_text(WGET)
    layers = {
        "pause": oci.Layer(programs={"pause": images.pause(folder)}),
        "coredns": oci.Layer(programs={"coredns": own["coredns"]}),
        "wget": oci.Layer(programs={"usr/local/bin/wget": wget}),
    }
    written = {name: layer.write(folder / f"{name}.tar") for name, layer in layers.items()}
    nginx, busybox = images.userland(cache, NGINX_PACKAGES), images.userland(cache)
    return (
        oci.Image(images.PAUSE, (written["pause"],), entrypoint=("/pause",), user="65535:65535"),
        oci.Image(COREDNS, (written["coredns"],), entrypoint=("/coredns",)),
        oci.Image(NGINX, (nginx,), command=IN_FRONT),
        oci.Image(BUSYBOX, (busybox, written["wget"]), command=("sh",)),
    )


def _control_plane(folder: Path, programs: Mapping[str, Path]) -> tuple[oci.Image, ...]:
    names = {name: f"{REGISTRY}/{name}:v{golang.KUBERNETES_VERSION}" for name in CONTROL_PLANE} | {"etcd": ETCD}
    return tuple(
        oci.Image(image, (oci.Layer(programs={f"usr/local/bin/{name}": programs[name]}).write(folder / f"{name}.tar"),))
        for name, image in names.items()
    )


def _write(path: Path, made: tuple[oci.Image, ...]) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    oci.write(unfinished, made)
    unfinished.rename(path)
