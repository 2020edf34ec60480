"""libcni's own driver of plugins, on a node of a test's: chains of ours with Debian's plugins and libcni's noop."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.netns.agents import READY_S
from tests.netns.pods import Runtime

DEBIAN = Path("/usr/lib/cni")  # containernetworking-plugins, of the lab's packages
OURS = "sluiceway-cni"
NAME = "sluiceway"
# libcni keeps results below /var/lib, of which each call sees a folder of the test's
HIDING = 'mount --bind "$0" /var/lib; exec "$@"'


@dataclass
class Tool:
    """cnitool on a node of a test's."""

    runtime: Runtime
    programs: Mapping[str, Path]

    @property
    def root(self) -> Path:
        """The test's folder."""
        return self.runtime.node.root

    def chain(self, version: str, *plugins: Mapping[str, Any]) -> None:
        """Have these plugins, ours as the agent's own conflist has it."""
        listed = [{**(self.installed() if plugin["type"] == OURS else {}), **plugin} for plugin in plugins]
        self.write({"cniVersion": version, "name": NAME, "plugins": listed})

    def installed(self) -> dict[str, Any]:
        """Our entry in the conflist that the agent installed."""
        (plugin,) = json.loads((self.root / "conf/10-sluiceway.conflist").read_text())["plugins"]
        return dict(plugin)

    def write(self, conflist: Mapping[str, Any]) -> None:
        """Have this list."""
        (self.root / "net").mkdir(exist_ok=True)
        (self.root / "net/test.conflist").write_text(json.dumps(conflist))

    def run(self, verb: str, pod: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command of cnitool's; its words on standard error are libcni's."""
        (self.root / "results").mkdir(exist_ok=True)
        path = os.pathsep.join(map(str, (self.root / "bin", self.programs["noop"].parent, DEBIAN)))
        known = {"CNI_PATH": path, "NETCONFPATH": str(self.root / "net"), "PATH": os.environ["PATH"]}
        inside = ["nsenter", f"--net=/run/netns/{self.runtime.node.name}", "unshare", "--mount", "sh", "-ec", HIDING]
        argv = [*inside, str(self.root / "results"), str(self.programs["cnitool"]), verb, NAME, f"/run/netns/{pod}"]
        return subprocess.run(
            argv, env={**known, **environment}, capture_output=True, text=True, check=False, timeout=READY_S
        )

    def does(self, verb: str, pod: str, **environment: str) -> Any:
        """A command that succeeds; what it printed."""
        done = self.run(verb, pod, **environment)
        assert done.returncode == 0, (verb, done.stderr)
        return json.loads(done.stdout or "{}")

    def refused(self, verb: str, pod: str, **environment: str) -> str:
        """A command that fails; why."""
        done = self.run(verb, pod, **environment)
        assert done.returncode == 1, (verb, done.stdout)
        return done.stderr
