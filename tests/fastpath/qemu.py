"""A QEMU that has the card igb: the system's from version 8 on, else Debian's backport, unpacked in the user's cache.

Nothing is installed on the host, and its sources of packages stay as they are: apt has a state of its own there.
"""

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.kernels.images import cache_dir

IGB_SINCE = 8
SUITE = "bookworm-backports"
PACKAGES = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios")
MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PROGRAM = "qemu-system-x86_64"


@dataclass(frozen=True, slots=True)
class Qemu:
    """A program to be executed, with what it needs to find its own files."""

    argv: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


def qemu() -> Qemu:
    """One that has igb.

    Raises:
        subprocess.CalledProcessError: the mirror has none for us.
    """
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+)", said)
    if found and int(found[1]) >= IGB_SINCE:
        return Qemu((PROGRAM,))
    root = cache_dir() / "qemu" / SUITE
    if not root.is_dir():
        _unpack(root)
    share = root / "usr/share"
    folders = (share / "qemu", share / "seabios", Path("/usr/lib/ipxe/qemu"))
    argv = (str(root / "usr/bin" / PROGRAM), *(word for folder in folders for word in ("-L", str(folder))))
    # it would look for its modules where another version has them
    return Qemu(argv, {"QEMU_MODULE_DIR": str(root / "usr/lib/x86_64-linux-gnu/qemu")})


def _unpack(root: Path) -> None:
    """Download the packages and leave them in *root*, whole or not at all."""
    work = root.with_name(f"{root.name}.{os.getpid()}")
    for folder in ("lists/partial", "cache/archives/partial", "etc/preferences.d", "tree"):
        (work / folder).mkdir(parents=True)
    (work / "etc/sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {SUITE} main\n")
    options = {
        "Dir::Etc": work / "etc",
        "Dir::Etc::sourcelist": work / "etc/sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferencesparts": work / "etc/preferences.d",
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    apt = ("apt-get", "-qq", *(word for name, value in options.items() for word in ("-o", f"{name}={value}")))
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "download", *(f"{package}/{SUITE}" for package in PACKAGES)], cwd=work, check=True)
    for archive in work.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", archive, work / "tree"], check=True)
    (work / "tree").rename(root)
    subprocess.run(["rm", "-rf", work], check=True)
