"""One execution of another CNI plugin of this node: its answer, or why there is none, within a time.

Whoever calls waits, so it is a thread of a request's own. The plugin has a process group of its own, all of which is
killed when its time is over. Where the node's root is a volume of the agent's pod (``/host/root``), the plugin runs
there: it finds the node's files, programs and sysctls as the node has them.

Source: CNI specification 1.1.0, sections 2 and 5.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agent.json_text import NOT_JSON
from agent.model.network import OUR_KINDS, OUR_PLUGIN

OUR_SOCKET = "SLUICEWAY_CNI_SOCKET"  # which our shim reads
LAST_S = 1.0  # for what a killed plugin has said
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CONFIG = 7  # CNI's codes: a configuration that cannot be used,
NOT_TAKEN = frozenset({1, 2, 6, CONFIG})  # be it its version, a field of it, its text, or all of it
_SAID_MOST = 1024  # characters of a plugin's own text


class PluginFailed(Exception):  # noqa: N818  the name says what happened
    """A plugin did not do what it was asked for."""

    def __init__(self, kind: str, why: str, code: int = 0) -> None:
        super().__init__(f"plugin {kind}: {why}")
        self.code = code  # of the plugin's own error; 0: it gave none

    @property
    def is_of_configuration(self) -> bool:
        """Whether the plugin says that the configuration is at fault: no later try with the same one does it."""
        return self.code in NOT_TAKEN


@dataclass(frozen=True, slots=True)
class Plugins:
    """The executables of one folder; *folder* as the node has it."""

    folder: Path
    root: Path | None = None  # of the node, where that is not ours
    socket: Path | None = None  # ours, for a plugin that has addresses of us

    def run(self, kind: str, environment: Mapping[str, str], config: Mapping[str, Any], deadline: float) -> Any:
        """Execute it; what it answered, None for nothing. *deadline* is of the monotonic clock.

        Raises:
            PluginFailed: it is not there, refuses, or is not done in time.
        """
        process = self._start(kind, environment)
        try:
            given = max(0.0, deadline - time.monotonic())
            out, err = process.communicate(msgspec.json.encode(config), given)
        except subprocess.TimeoutExpired:
            _kill(process)
            command = environment.get("CNI_COMMAND")
            raise PluginFailed(kind, f"{command} is not done in time, and was killed") from None
        if process.returncode:
            raise _failure(kind, process.returncode, out, err)
        if environment.get("CNI_COMMAND") != "ADD" or not out.strip():
            return None  # the others answer nothing
        try:
            found = msgspec.json.decode(out)
        except NOT_JSON as error:
            raise PluginFailed(kind, f"its answer is no JSON: {error}") from None
        if not isinstance(found, dict):
            raise PluginFailed(kind, "its answer is no JSON object")
        return found

    def lack(self, kind: str) -> str:
        """Why this one cannot be executed; empty where it can."""
        path = self.folder / kind
        seen = (self.root / path.relative_to("/")) if self.root else path
        if os.access(seen, os.X_OK):
            return ""
        ours = f', or give "type": "{OUR_PLUGIN}", "kind": "{kind}"' if kind in OUR_KINDS else ""
        return f"there is no executable {path}{ours}"

    def _start(self, kind: str, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        if lack := self.lack(kind):
            raise PluginFailed(kind, lack)
        path = self.folder / kind
        argv = ["chroot", str(self.root), str(path)] if self.root else [str(path)]
        given = {"PATH": os.environ.get("PATH", _SYSTEM_PATH), "CNI_PATH": str(self.folder), **environment}
        if self.socket is not None:
            given[OUR_SOCKET] = str(self.socket)
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(  # noqa: S603  a file of the node's folder of plugins, by a name without a path
                argv, env=given, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
            )
        except OSError as error:
            raise PluginFailed(kind, f"cannot be executed: {error.strerror}") from error
        except ValueError as error:  # what it is to be told has a NUL
            raise PluginFailed(kind, f"cannot be executed: {error}") from error


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """The plugin and whatever it began; who has left its process group may hold its pipes, and is not waited for.

    Nor is one that does not hear, as in a system call that cannot be interrupted.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=LAST_S)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):  # it has ended, and its pipes have not
        process.wait(0)


def _failure(kind: str, status: int, out: bytes, err: bytes) -> PluginFailed:
    """From the error that a plugin prints as JSON, else from its other words."""
    with contextlib.suppress(*NOT_JSON):
        found = msgspec.json.decode(out)
        if isinstance(found, dict) and ("msg" in found or "code" in found):
            texts = [str(found[key]) for key in ("msg", "details") if found.get(key)]
            code = found.get("code")
            return PluginFailed(kind, "; ".join(texts) or "no reason", code if isinstance(code, int) else 0)
    said = " ".join((err or out).decode(errors="replace").split())[-_SAID_MOST:]
    ended = f"it was killed by signal {-status}" if status < 0 else f"it ended with status {status}"
    return PluginFailed(kind, f"{ended}{': ' if said else ''}{said}")
