"""The administrator's kubectl, run from the host that is no node."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.machine import Machine


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl with a kubeconfig, in the network of one host."""

    program: str
    kubeconfig: Path
    host: Machine

    def argv(self, *arguments: str) -> list[str]:
        """The whole command, from the lab's own network."""
        enter = ["nsenter", f"--net={self.host.netns}"]
        return [*enter, self.program, f"--kubeconfig={self.kubeconfig}", *arguments]

    def run(self, *arguments: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it and return what it printed.

        Raises:
            KubectlError: it failed and *check* is set.
        """
        cache = {"KUBECACHEDIR": str(self.kubeconfig.parent / "kubectl-cache")}  # not in the user's home
        argv = self.argv(*arguments)
        done = subprocess.run(
            argv, input=stdin or "", capture_output=True, text=True, check=False, env={**os.environ, **cache}
        )
        if check and done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done

    def get(self, *arguments: str) -> Any:  # whatever the API has
        """``kubectl get``, as parsed JSON."""
        return json.loads(self.run("get", *arguments, "-o", "json").stdout)

    def apply(self, manifest: str) -> None:
        """Apply YAML or JSON."""
        self.run("apply", "-f", "-", stdin=manifest)


class KubectlError(LabError):
    """The API server, or kubectl itself, refused."""
