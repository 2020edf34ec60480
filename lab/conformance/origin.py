"""What a run's results are of: the commit, the day, Kubernetes, the kernel and the machine."""

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lab.kubernetes.golang import KUBERNETES_VERSION


@dataclass(frozen=True, slots=True)
class Origin:
    """Where results come from; *commit* ends in ``with changes`` when the files were not what it has."""

    commit: str
    date: str
    kubernetes: str
    kernel: str
    machine: str

    def line(self) -> str:
        """All of it, in one line."""
        return f"commit {self.commit}, {self.date}, Kubernetes {self.kubernetes}, Linux {self.kernel}, {self.machine}"


def origin(checkout: Path, now: datetime) -> Origin:
    """What results that are made *now*, on this machine and of the files in *checkout*, are of."""
    commit = _git(checkout, "rev-parse", "--short=12", "HEAD") or "unknown"
    changes = " with changes" if _git(checkout, "status", "--porcelain") else ""
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}"
    date = f"{now:%Y-%m-%d %H:%M} UTC"
    return Origin(f"{commit}{changes}", date, f"v{KUBERNETES_VERSION}", platform.release(), machine)


def _git(checkout: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", checkout, *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
