"""Kernels to boot: Debian's own packages, reduced to an image and the few modules a guest needs.

They are resolved through their meta packages at run time (a superseded version leaves the mirror) and kept in the
user's cache directory by package, version and modules. Nothing is installed on the host.
"""

import lzma
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

# what the guest insmods, with all they depend on; what is built into a kernel is passed over
MODULES = (
    *("virtio_pci", "9p", "9pnet_virtio", "overlay", "veth", "sch_ingress", "cls_bpf", "vxlan", "geneve", "sch_fq"),
    *("bonding", "bridge", "8021q", "crc32c_generic", "sctp"),
    # what kube-proxy's IPVS mode leaves, and iptables-nft, which nothing loads in the guest
    *("ip_vs", "ip_vs_rr", "dummy", "ip_set_hash_ip", "ip_set_hash_ipport", "nft_compat", "nft_chain_nat"),
    *("xt_set", "xt_conntrack", "xt_addrtype", "xt_mark", "xt_comment", "ipt_REJECT"),
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel, unpacked."""

    release: str  # as uname -r says it
    image: Path
    modules: tuple[Path, ...]  # plain .ko, in the order of insmod


def cache_dir() -> Path:
    """The project's folder in the user's cache."""
    if own := os.environ.get("SLUICEWAY_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sluiceway"


def kernel(meta: str, wanted: tuple[str, ...] = MODULES) -> Kernel:
    """The newest kernel that the Debian package *meta* stands for, with the modules *wanted*.

    Raises:
        LookupError: apt knows no such package, even after an update.
    """
    package, version = _resolve(meta)
    # other modules make another place
    place = cache_dir() / "kernels" / f"{package}_{version.replace(':', '%3a')}_{crc32(' '.join(wanted).encode()):08x}"
    if not place.is_dir():
        _unpack(package, version, place, wanted)
    release = (place / "release").read_text().strip()
    return Kernel(release, place / "vmlinuz", tuple(sorted((place / "modules").iterdir())))


def _resolve(meta: str) -> tuple[str, str]:
    """The package and version that *meta* depends on."""
    for attempt in range(2):
        if attempt:
            subprocess.run(["apt-get", "update", "-qq"], check=True)
        depends = _words("apt-cache", "depends", "--important", meta)
        package = next((word for word in depends if word.startswith("linux-image-") and word != meta), None)
        if package is not None:
            policy = _words("apt-cache", "policy", package)
            return package, policy[policy.index("Candidate:") + 1]
    raise LookupError(f"{meta} is in none of this system's apt sources")


def _words(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def _unpack(package: str, version: str, place: Path, wanted: tuple[str, ...]) -> None:
    """Download *package* and leave its image and modules in *place*, whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as temporary:
        work = Path(temporary)
        download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", f"{package}={version}"]
        if subprocess.run(download, cwd=work, check=False).returncode:
            subprocess.run(["apt-get", "update", "-qq"], check=True)
            subprocess.run(download, cwd=work, check=True)
        (archive,) = work.glob("*.deb")
        tree = work / "tree"
        subprocess.run(["dpkg-deb", "-x", archive, tree], check=True)
        (modules,) = (tree / "lib/modules").iterdir()
        subprocess.run(["/sbin/depmod", "-b", tree, modules.name], check=True)
        result = work / "result"
        (result / "modules").mkdir(parents=True)
        shutil.copyfile(tree / f"boot/vmlinuz-{modules.name}", result / "vmlinuz")
        (result / "release").write_text(modules.name)
        for number, path in enumerate(_load_order(modules, wanted)):
            packed = path.read_bytes()
            plain = lzma.decompress(packed) if path.suffix == ".xz" else packed
            name = path.name.removesuffix(".xz")
            (result / "modules" / f"{number:02}-{name}").write_bytes(plain)
        result.rename(place)


def _load_order(folder: Path, wanted: tuple[str, ...]) -> list[Path]:
    """The modules *wanted* and what they need, each after all of its own needs."""
    needs: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[path] = others.split()
        by_name[Path(path).name.partition(".ko")[0].replace("-", "_")] = path
    order: dict[str, None] = {}

    def add(path: str) -> None:
        for other in needs[path]:
            add(other)
        order.setdefault(path)

    for name in wanted:
        if name in by_name:
            add(by_name[name])
    return [folder / path for path in order]
