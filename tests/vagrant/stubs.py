"""Machines' scripts run here: /etc is a folder of the test's, and what would change something only notes it."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PROVISION = CHECKOUT / "vagrant" / "provision"
SCRIPTS = sorted(PROVISION.glob("*.sh"))
# `kubectl` and so on: notes what it was asked, then does as the test's answer says, if there is one
RECORDER = """\
#!/bin/bash
name=${0##*/}
echo "$name $*" >>"$MACHINE/asked"
[[ ! -e $MACHINE/answers/$name ]] || source "$MACHINE/answers/$name"
"""
COMMANDS = (
    *("apt-get", "apt-mark", "ctr", "curl", "ip", "kubeadm", "kubectl"),
    *("modprobe", "sleep", "swapoff", "sysctl", "systemctl", "udevadm"),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """A Debian machine, as far as the scripts can tell."""

    folder: Path

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one of the scripts from its place in a tree like a checkout."""
        own_etc = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc && exec "$@"', f"{self.folder}/etc"]
        return subprocess.run(
            [*own_etc, f"{self.folder}/tree/vagrant/provision/{script}.sh", *arguments],
            env={"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "MACHINE": str(self.folder), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def asked(self) -> list[str]:
        """What commands were run since this was asked last."""
        path = self.folder / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def answer(self, command: str, text: str) -> None:
        """Have *command* run this, after it was noted."""
        (self.folder / "answers" / command).write_text(text)

    def etc(self) -> dict[str, str]:
        """Every file of /etc by its path there."""
        root = self.folder / "etc"
        return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def machine(folder: Path) -> Machine:
    """A machine with Debian's folders, on which nothing has run yet."""
    for name in ("bin", "answers", "etc/apt/keyrings", "etc/apt/sources.list.d", "etc/containerd", "etc/default"):
        (folder / name).mkdir(parents=True)
    for name in ("etc/kubernetes", "etc/modules-load.d", "etc/sysctl.d", "tree/dist"):
        (folder / name).mkdir(parents=True)
    (folder / "etc/fstab").write_text("UUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\n")
    shutil.copytree(PROVISION, folder / "tree/vagrant/provision")
    shutil.copytree(CHECKOUT / "deploy/manifests", folder / "tree/deploy/manifests")
    for name in COMMANDS:
        path = folder / "bin" / name
        path.write_text(RECORDER)
        path.chmod(0o755)
    return Machine(folder)
