"""Builds the agent's image and its SBOM, without a daemon and without a registry: `make image`.

mmdebstrap makes the Debian that ``deploy/Dockerfile`` starts from, once for its lists of packages, and buildah the
image, of which an OCI archive is left. Times in it are those of the commit, so that the same sources and packages give
the same digest. Buildah's storage is in the user's cache; its mounts end with this process.
"""

import argparse
import fcntl
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = CHECKOUT / "deploy/build/packages.txt"
RELEASE = "bookworm"
RELEASED = "1686355200"  # seconds since the epoch: 10 June 2023, for what would say when it was made
MERGED = "usr-is-merged"  # from the start: usrmerge, which would do it later, brings 50 MB of Perl
BUILDERS = ("etc/hostname", "etc/resolv.conf")  # mmdebstrap leaves this machine's; containers have their own
NAME = "sluiceway"
BASES = {"BASE": ("run",), "BUILD_BASE": ("build", "clang")}  # build arguments, and groups of packages.txt
BIRD, BIRD_BASES = "bird", {"BASE": ("bird",)}  # a stage, and its group of packages.txt
BIRD_SOURCES = ("deploy/Dockerfile", "deploy/build/image.py", "deploy/build/packages.sh", "deploy/build/packages.txt")
SOURCES = (  # as .dockerignore lets them through
    "agent",
    "bpf",
    "cni",
    "deploy/Dockerfile",
    "deploy/build",
    "deploy/constraints.txt",
    "dpctl",
    "kubectl_sluiceway",
    "maps",
    "LICENSE",
    "Makefile",
    "README.md",
    "pyproject.toml",
)
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # of this machine, for the package index
SBOM = "opt/sluiceway/sbom.spdx.json"
GZIP = 9  # its best: by buildah's default the image has 10 MB more
LIMIT = 150 * 1000 * 1000  # octets, compressed
UNSHARED = "SLUICEWAY_IMAGE_UNSHARED"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the image is to be."""

    out: Path
    version: str
    compiler: bool = False
    bird: bool = False  # BIRD's image, which has nothing of the agent's
    labels: tuple[str, ...] = ()  # NAME=VALUE


@dataclass(frozen=True, slots=True)
class Buildah:
    """buildah, with a storage of its own."""

    storage: Path

    def __call__(self, *arguments: str) -> str:
        """What ``buildah ARGUMENTS`` prints.

        Raises:
            SystemExit: it failed; its own words are on standard error.
        """
        own = ["--root", str(self.storage / "root"), "--runroot", str(self.storage / "run")]
        driver = ["--storage-driver", os.environ.get("STORAGE_DRIVER", "overlay")]
        command = ["buildah", *own, *driver, *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=False)
        if done.returncode:
            sys.exit(f"image: buildah {arguments[0]} returned {done.returncode}")
        return done.stdout.strip()


def main(argv: list[str]) -> int:
    """Build it, or say the key of its sources."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=CHECKOUT / "dist", help="folder of the archive and the SBOM")
    parser.add_argument("--compiler", action="store_true", help="with clang, for --objects compile")
    parser.add_argument("--bird", action="store_true", help="BIRD's image, for --router, and not the agent's")
    parser.add_argument("--label", action="append", default=[], metavar="NAME=VALUE", help="one more label")
    parser.add_argument("--twice", action="store_true", help="build it again from nothing, and compare the digests")
    parser.add_argument("--key", action="store_true", help="print a digest of all that the image is made of, and end")
    chosen = parser.parse_args(argv)
    if chosen.key:
        print(key(BIRD_SOURCES if chosen.bird else SOURCES))
        return 0
    if UNSHARED not in os.environ:  # buildah's mounts are in a namespace that ends with it
        unshare = ["unshare", "--mount", sys.executable, __file__, *argv]
        os.execvpe(unshare[0], unshare, {**os.environ, UNSHARED: "1"})  # noqa: S606
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    wanted = Wanted(chosen.out, version, chosen.compiler, chosen.bird, tuple(chosen.label))
    with _storage() as buildah:
        digest = build(buildah, wanted)
        if chosen.twice and (again := build(buildah, wanted, is_anew=True)) != digest:
            print(f"image: two builds of it differ: {digest}, then {again}", file=sys.stderr)
            return 1
    return 0


def build(buildah: Buildah, wanted: Wanted, *, is_anew: bool = False) -> str:
    """Build, write and describe the image, its Debian too where *is_anew*; its manifest's digest."""
    began = time.monotonic()
    epoch = _git("log", "-1", "--format=%ct")
    bases = BIRD_BASES if wanted.bird else BASES
    given = {argument: _base(buildah, groups, is_anew=is_anew) for argument, groups in bases.items()}
    given |= {"VERSION": wanted.version, "REVISION": _git("rev-parse", "HEAD"), "SOURCE_DATE_EPOCH": epoch}
    given |= {"COMPILER": "yes"} if wanted.compiler else {}
    stem = f"{NAME}-{BIRD}" if wanted.bird else NAME
    name = f"localhost/{stem}:{wanted.version}"
    buildah(
        *("bud", "--quiet", "--no-cache", "--squash", "--format", "oci", "--isolation", "chroot", "--network", "host"),
        *("--timestamp", epoch, "--file", str(CHECKOUT / "deploy/Dockerfile"), "--tag", name),
        *(["--target", BIRD] if wanted.bird else []),
        *_limits(),
        *(["--secret", f"id=ca,src={CERTIFICATES}"] if CERTIFICATES.exists() else []),
        *(f"--build-arg={key}={value}" for key, value in given.items()),
        *(f"--label={label}" for label in wanted.labels),
        str(CHECKOUT),
    )
    wanted.out.mkdir(parents=True, exist_ok=True)
    archive, sbom = (wanted.out / f"{stem}-{wanted.version}.{end}" for end in ("oci.tar", "spdx.json"))
    unfinished = archive.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    buildah("push", "--quiet", f"--compression-level={GZIP}", name, f"oci-archive:{unfinished}:{name}")
    if not wanted.bird:
        _copy_out(buildah, name, sbom)
    unfinished.rename(archive)
    buildah("rmi", name)
    digest, size = described(archive)
    print(f"{archive}: {digest}")
    parts = f", {len(json.loads(sbom.read_text())['packages'])} packages in {sbom.name}" if sbom.exists() else ""
    print(f"{size / 1e6:.1f} MB compressed{parts}")
    print(f"built in {time.monotonic() - began:.0f} s")
    if size > LIMIT and not wanted.compiler:
        sys.exit(f"image: it has {size} octets, over {LIMIT}")
    return digest


def described(archive: Path) -> tuple[str, int]:
    """The digest of the archive's one manifest, and the octets that a registry would hold: config and layers."""
    with tarfile.open(archive) as tar:
        (entry,) = _json(tar, "index.json")["manifests"]
        manifest = _json(tar, f"blobs/{entry['digest'].replace(':', '/')}")
    return entry["digest"], sum(part["size"] for part in (manifest["config"], *manifest["layers"]))


def _json(tar: tarfile.TarFile, name: str) -> Any:  # whatever the file holds
    with tar.extractfile(name) or io.BytesIO() as file:
        return json.load(file)


def key(sources: Iterable[str] = SOURCES) -> str:
    """A digest of all that decides what is in the image, but for the packages' versions and the commit."""
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *sources).split("\0")
    digest = hashlib.sha256()
    for name in sorted(filter(None, listed)):
        path = CHECKOUT / name
        if path.is_file():  # not one that is deleted and still in the index
            digest.update(f"{name}\0{path.stat().st_mode & 0o111}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _base(buildah: Buildah, groups: Iterable[str], *, is_anew: bool = False) -> str:
    """The name of a Debian with these groups' packages, made where the storage has none of this list or *is_anew*.

    The image has its digest, so that it is of the packages alone and of no commit.
    """
    lines = [line.split() for line in PACKAGES.read_text().splitlines()]
    packages = [line[1] for line in lines if line and line[0] in groups]
    recipe = [RELEASE, RELEASED, *packages, MERGED, *BUILDERS]
    name = f"localhost/{NAME}-base:{hashlib.sha256(' '.join(recipe).encode()).hexdigest()[:16]}"
    if not is_anew and buildah("images", "--quiet", "--filter", f"reference={name}"):
        return name
    container = buildah("from", "scratch")
    root = buildah("mount", container)
    options = ["--quiet", "--variant=apt", "--skip=cleanup/apt/lists", f"--include={','.join(packages)}"]
    options += [f"--include={MERGED}", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": RELEASED}
    subprocess.run(["mmdebstrap", *options, RELEASE, root], env=environment, check=True)
    for path in BUILDERS:
        Path(root, path).unlink(missing_ok=True)
    buildah("commit", "--quiet", "--rm", "--timestamp", RELEASED, container, name)
    return name


def _copy_out(buildah: Buildah, image: str, sbom: Path) -> None:
    container = buildah("from", image)
    sbom.write_bytes((Path(buildah("mount", container)) / SBOM).read_bytes())
    buildah("rm", container)


def _limits() -> list[str]:
    """As they are here: buildah would raise them, which takes CAP_SYS_RESOURCE."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes = int(Path("/proc/sys/kernel/pid_max").read_text())
    return [f"--ulimit=nofile={files[0]}:{files[1]}", f"--ulimit=nproc={processes}:{processes}"]


@contextmanager
def _storage() -> Iterator[Buildah]:
    """The cache's storage, for one process at a time."""
    shared = os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME", "/root"), ".cache")
    folder = Path(os.environ.get("SLUICEWAY_CACHE") or Path(shared, "sluiceway")) / "image"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        buildah = Buildah(folder)
        buildah("rm", "--all")  # of one that was killed
        buildah("rmi", "--prune")
        yield buildah


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
