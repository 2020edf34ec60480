"""One pretended machine: namespaces held by a small first process, and a home folder of the host's that it sees too.

Killing that process ends the machine with its pods, mounts, pins and networks. Nothing of a machine has a name on the
host but its cgroup and its home, so what a crash leaves is found by these two. Both the standalone lab and
the real Kubernetes (as its `Host`) run on this.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.addresses import Addresses
from lab.cgroups import SYSTEM, Cgroups
from lab.errors import CommandFailedError, LabError

SETUP = Path(__file__).with_name("machine.sh")
CHECKOUT = Path(__file__).resolve().parent.parent
HIDDEN = ("/etc", "/var", "/opt", "/run", "/tmp", "/sys", "/proc")  # noqa: S108, of these a machine has its own
# on a machine that is busy; at rest each is a moment
READY_WITHIN_S = 60.0
STARTED_WITHIN_S = 60.0
ENDED_WITHIN_S = 20.0

# The shell leaves its cgroups for the machine's before anything else: the sockets of what follows belong there.
JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1"; shift; done; shift; '


@dataclass(frozen=True, slots=True)
class Setup:
    """How a machine is made beyond what all have in common."""

    hosts: str = ""  # /etc/hosts
    resolver: str = ""  # address of a name server
    folders: tuple[str, ...] = ()  # below /var, on disk
    tunables: Mapping[str, int] | None = None  # below /proc/sys, shown with these values


@dataclass(frozen=True, slots=True)
class ExecContext:
    """The cgroup and the network namespace in which a process of a machine runs."""

    group: str = SYSTEM  # cgroup
    netns: Path | None = None  # another network namespace than the machine's own, as a path of the host


MACHINE_ITSELF = ExecContext()


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine by its name; whether it runs is read from its home."""

    name: str
    home: Path
    addresses: Addresses
    cgroups: Cgroups

    @property
    def process(self) -> int:
        """The first process, as the host numbers it.

        Raises:
            LabError: the machine does not run.
        """
        found = self.daemon_process("machine")
        if found is None:
            raise LabError(f"machine {self.name} does not run: python -m lab up")
        return found

    @property
    def netns(self) -> Path:
        """The machine's network namespace."""
        return Path(f"/proc/{self.process}/ns/net")

    @property
    def root(self) -> Path:
        """The machine's file system, as the host reaches it."""
        return Path(f"/proc/{self.process}/root")

    def start(self, setup: Setup) -> None:
        """Make the machine; returns when it is set up.

        Raises:
            LabError: a namespace or a mount was refused.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        self.cgroups.create(self.name)
        (self.home / "ready").unlink(missing_ok=True)
        flags = ["--cgroup", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child"]
        # not yet in `system`: the group of this moment becomes the root that the machine sees
        joins = self.cgroups.joins(self.name, ".")
        holder = self._spawn("machine", joins, ["unshare", *flags, str(SETUP)], self._environment(setup))
        deadline = time.monotonic() + READY_WITHIN_S
        while not (self.home / "ready").exists():
            if not _is_alive(holder) or time.monotonic() > deadline:
                raise LabError(f"machine {self.name} did not start: {self.log_tail('machine')}")
            time.sleep(0.005)
        first = _children(holder)[0]
        (self.home / "machine.pid").write_text(str(first))
        for process in (holder, *self.cgroups.processes(self.name)):
            self._move(process)
        self.cgroups.delegate(self.name)

    def command(self, argv: Sequence[str], context: ExecContext = MACHINE_ITSELF) -> list[str]:
        """*argv*, entering the machine's namespaces and cgroups, from a process of the host."""
        # entering the cgroup namespace is not entering the cgroups
        return _join(self.cgroups.joins(self.name, context.group), self._entered(argv, context))

    def run(
        self,
        *argv: str,
        check: bool = True,
        stdin: str | Path | None = None,
        environment: Mapping[str, str] | None = None,
        context: ExecContext = MACHINE_ITSELF,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine and return what it printed; a Path as *stdin* is read from.

        Raises:
            CommandFailedError: it returned non-zero, and *check* is set.
        """
        command, env = self.command(argv, context), self.environment(environment)
        with ExitStack() as files:
            given: dict[str, Any] = {"input": stdin}
            if not isinstance(stdin, str):
                given = {"stdin": files.enter_context((stdin or Path(os.devnull)).open())}
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, **given)
        if check and done.returncode:
            output = (done.stderr or done.stdout).strip()[-1500:]
            raise CommandFailedError(f"{shlex.join(argv)} on {self.name} returned {done.returncode}: {output}")
        return done

    def daemon(
        self,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str] | None = None,
        context: ExecContext = MACHINE_ITSELF,
    ) -> None:
        """Start a process that outlives this one; it logs to ``home/NAME.log``.

        Raises:
            LabError: it did not start.
        """
        saved = {"argv": list(argv), "environment": dict(environment or {})}
        (self.home / f"{name}.json").write_text(json.dumps(saved))
        joins = self.cgroups.joins(self.name, context.group)
        holder = self._spawn(name, joins, self._entered(argv, context), self.environment(environment))
        deadline = time.monotonic() + STARTED_WITHIN_S
        while not (started := _children(holder)):
            if not _is_alive(holder) or time.monotonic() > deadline:
                raise LabError(f"{name} did not start on {self.name}: {self.log_tail(name)}")
            time.sleep(0.002)
        (self.home / f"{name}.pid").write_text(str(started[0]))

    def daemon_process(self, name: str) -> int | None:
        """The process that `daemon` started, as the host numbers it; None when it has ended."""
        try:
            process = int((self.home / f"{name}.pid").read_text())
            groups = Path(f"/proc/{process}/cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        # the number may be another process's by now
        is_ours = f"/{self.cgroups.lab}/{self.name}" in groups
        return process if is_ours and _is_alive(process) else None

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM, within_s: float = ENDED_WITHIN_S) -> None:
        """End what `daemon` started; it is killed when it does not end by itself in so many seconds."""
        process = self.daemon_process(name)
        for number in (how, signal.SIGKILL):
            if process is None:
                return
            _signal(process, number)
            deadline = time.monotonic() + within_s
            while self.daemon_process(name) == process and time.monotonic() < deadline:
                time.sleep(0.005)
            process = self.daemon_process(name)

    def start_again(self, name: str, more: Mapping[str, str] | None = None, flags: Sequence[str] = ()) -> None:
        """Start a daemon as it was started before, with *more* in its environment and *flags* behind its own this once.

        Raises:
            LabError: it was never started, or does not start.
        """
        file = self.home / f"{name}.json"
        if not file.exists():
            raise LabError(f"{name} was never started on {self.name}")
        saved = json.loads(file.read_text())
        self.daemon(name, [*saved["argv"], *flags], saved["environment"] | dict(more or {}))
        file.write_text(json.dumps(saved))

    def log_tail(self, name: str) -> str:
        """The last lines that *name* logged."""
        try:
            return (self.home / f"{name}.log").read_text(errors="replace")[-1500:].strip()
        except FileNotFoundError:
            return "(no log)"

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a process of the machine finds in its environment."""
        path = f"{sys.prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        own = {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "NODE_NAME": self.name}
        term = {"TERM": os.environ["TERM"]} if "TERM" in os.environ else {}
        return own | term | dict(more or {})

    def _entered(self, argv: Sequence[str], context: ExecContext) -> list[str]:
        spaces = ["-m", "-u", "-i", "-p", "-C", f"--net={context.netns or self.netns}"]
        return ["nsenter", "-t", str(self.process), *spaces, "--", *argv]

    def _environment(self, setup: Setup) -> dict[str, str]:
        keep = {self.home.parent, CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)}
        tunables = (setup.tunables or {}).items()
        return self.environment(
            {
                "LAB_NAME": self.name,
                "LAB_HOME": str(self.home),
                "LAB_HOSTS": setup.hosts,
                "LAB_RESOLVER": setup.resolver,
                "LAB_FOLDERS": " ".join(setup.folders),
                "LAB_TUNABLES": " ".join(f"{name}={value}" for name, value in tunables),
                "LAB_KEEP": "\n".join(sorted(str(path) for path in keep if _is_hidden(path))),
                "LAB_CGROUPS": "\n".join(f"{h.kind} {h.options or 'rw'} {h.point}" for h in self.cgroups.hierarchies),
            }
        )

    def _spawn(self, name: str, joins: Sequence[Path], argv: Sequence[str], environment: Mapping[str, str]) -> int:
        """Start a process that is nobody's child; returns the number of the one that waits for it."""
        log = shlex.quote(str(self.home / f"{name}.log"))
        # in the background of a shell that ends at once, in a session of its own
        detached = ["bash", "-c", f'setsid "$@" >>{log} 2>&1 </dev/null & echo $!', "detached", *argv]
        done = subprocess.run(_join(joins, detached), env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"{name} did not start on {self.name}: {done.stderr.strip()}")
        return int(done.stdout)

    def _move(self, process: int) -> None:
        """Into `system`, from the root of the machine."""
        try:
            (self.cgroups.unified / self.name / SYSTEM / "cgroup.procs").write_text(str(process))
        except ProcessLookupError:
            return


def _join(joins: Sequence[Path], argv: Sequence[str]) -> list[str]:
    return ["bash", "-ec", f'{JOIN}exec "$@"', "join", *map(str, joins), "--", *argv]


def _is_hidden(path: Path) -> bool:
    return any(path.is_relative_to(top) for top in HIDDEN)


def _is_alive(process: int) -> bool:
    """Whether any thread runs: the others may hold files, and locks by these, when the first has ended."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
        threads = list(Path(f"/proc/{process}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z" or len(threads) > 1


def _children(process: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _signal(process: int, how: signal.Signals) -> None:
    try:
        os.kill(process, how)
    except ProcessLookupError:
        return
