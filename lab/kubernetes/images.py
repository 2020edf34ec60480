"""The images that pods of the cluster run, made from our own builds and a Debian userland: no registry is asked.

The names are those that upstream's e2e tests and the kubelet ask for; what answers to them is ours.
"""

import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.kubernetes import golang, oci
from lab.kubernetes.golang import BuildError, Say

RELEASE = "bookworm"
PACKAGES = (
    "bash",
    "bind9-dnsutils",
    "busybox",
    "conntrack",
    "curl",
    "iproute2",
    "iputils-ping",
    "netcat-openbsd",
    "procps",
    "wget",
)
# Upstream's tests expect a shell and a userland like Alpine's: a wget that gives up after one try, and these applets.
APPLETS = ("hexdump", "httpd", "ifconfig", "netstat", "nslookup", "route", "telnet", "traceroute", "vi")
SHRINK = tuple(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "locale", "man"))
FINISH = 'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/*; echo tries=1 >>"$1"/etc/wgetrc; ln -sf bash "$1"/bin/sh'

PAUSE = "registry.k8s.io/pause:3.10.2"
COREDNS = f"localhost/coredns:{golang.KUBERNETES_VERSION}"
TEST_IMAGES = "registry.k8s.io/e2e-test-images"
AGNHOST = f"{TEST_IMAGES}/agnhost:2.63.0"
BUSYBOX = f"{TEST_IMAGES}/busybox:1.37.0-1"
GLIBC_DNS = f"{TEST_IMAGES}/glibc-dns-testing:2.0.0"
REGRESSION_74839 = f"{TEST_IMAGES}/regression-issue-74839:1.4"

CERTIFICATE = ("localhost.crt", "localhost.key")  # what agnhost serves TLS with, in its own source
PAUSE_SOURCE = Path(__file__).with_name("pause.c")


def archive(cache: Path, programs: Mapping[str, Path], say: Say) -> Path:
    """One archive with every image, made when *cache* has none of these inputs."""
    digest = hashlib.sha256(_recipe(PACKAGES) + PAUSE_SOURCE.read_bytes() + Path(__file__).read_bytes())
    digest.update(golang.module_key("cluster").encode())
    folder = cache / f"images-{digest.hexdigest()[:16]}"
    path = folder / "images.tar"
    if path.exists():
        return path
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    base = userland(cache)
    unfinished = path.with_name(f".images.{os.getpid()}")
    with tempfile.TemporaryDirectory(dir=folder) as layers:
        oci.write(unfinished, _images(Path(layers), base, programs, say))
    unfinished.rename(path)
    say(f"images made in {time.monotonic() - began:.0f} s")
    return path


def _images(folder: Path, base: Path, programs: Mapping[str, Path], say: Say) -> tuple[oci.Image, ...]:
    source = golang.source_folder(golang.toolchain(say), "cluster", golang.KUBERNETES)
    certificate = {name: (source / "test/images/agnhost/porter" / name).read_bytes() for name in CERTIFICATE}
    layers = {
        "pause": oci.Layer(programs={"pause": pause(folder)}),
        "coredns": oci.Layer(programs={"coredns": programs["coredns"]}, folders=("tmp",)),
        "applets": oci.Layer(links=_missing_applets(base)),
        "agnhost": oci.Layer(
            programs={"agnhost": programs["agnhost"]},
            files=certificate,
            links={"agnhost-2": "agnhost"},
            folders=("uploads",),
        ),
        "regression": oci.Layer(programs={"regression": programs["regression-issue-74839"]}, folders=("tmp",)),
    }
    written = {name: layer.write(folder / f"{name}.tar") for name, layer in layers.items()}
    shell = (base, written["applets"])
    return (
        oci.Image(PAUSE, (written["pause"],), entrypoint=("/pause",), user="65535:65535"),
        oci.Image(COREDNS, (written["coredns"],), entrypoint=("/coredns",)),
        oci.Image(
            AGNHOST, (*shell, written["coredns"], written["agnhost"]), entrypoint=("/agnhost",), command=("pause",)
        ),
        oci.Image(BUSYBOX, shell, command=("sh",)),
        oci.Image(GLIBC_DNS, (*shell, written["coredns"], written["agnhost"]), command=("/bin/sh",)),
        oci.Image(REGRESSION_74839, (written["regression"],), entrypoint=("/regression",)),
    )


def userland(cache: Path, packages: Sequence[str] = PACKAGES) -> Path:
    """A Debian file system with *packages* as a tar, from the mirror that this machine is set to.

    Raises:
        BuildError: it could not be made.
    """
    path = cache / f"userland-{hashlib.sha256(_recipe(packages)).hexdigest()[:16]}.tar"
    if path.exists():
        return path
    unfinished = path.with_name(f".userland.{os.getpid()}.tar")
    include = f"--include={','.join(packages)}"
    command = ["mmdebstrap", "--quiet", "--variant=minbase", include, *SHRINK, f"--customize-hook={FINISH}"]
    done = subprocess.run([*command, RELEASE, str(unfinished)], capture_output=True, text=True, check=False)
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        raise BuildError(f"mmdebstrap {RELEASE}: {done.stderr[-2000:].strip()}")
    unfinished.rename(path)
    return path


def pause(folder: Path) -> Path:
    """The program of a pod's sandbox, made in *folder*."""
    path = folder / "pause"
    subprocess.run(["gcc", "-static", "-Os", "-s", "-Wall", "-o", str(path), str(PAUSE_SOURCE)], check=True)
    return path


def _recipe(packages: Sequence[str]) -> bytes:
    """All that a userland with *packages* is made of, but for the mirror."""
    return repr((RELEASE, tuple(packages), APPLETS, SHRINK, FINISH)).encode()


def _missing_applets(base: Path) -> dict[str, str]:
    """Links to busybox for the applets that the userland has no program of its own for."""
    there = {name.rsplit("/", 1)[-1] for name in oci.names(base) if "/bin/" in f"/{name}" or "/sbin/" in f"/{name}"}
    return {f"usr/bin/{applet}": "busybox" for applet in APPLETS if applet not in there}
