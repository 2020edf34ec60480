"""Agents that die at the n-th thing they do outside their own memory; run as a script in a node's network namespace.

It imports the agent once and forks for each command that it reads, so that many deaths take seconds: `run N`, to die
at N, `count`, to live until `end`, and `cleanup`. It answers each with the exit status, and `end` with the things done.
What counts is what goes through the C extension (BPF, batches of netlink messages and sysctls), and each file or folder
that Python makes, changes or takes away.
"""

import ctypes
import mmap
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tests.netns.agents import Node

_NEVER = 1 << 40
_PDEATHSIG = 1  # linux/prctl.h: no child outlives the script
_COUNT = struct.Struct("=q")
_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod", "shutil.")


class Dying:
    """The script, driven by a test."""

    def __init__(self, node: Node) -> None:
        self._words = node.agent("WORD")[len(node.inside) + 3 :]  # without the interpreter and the module
        self._process = subprocess.Popen(
            [*node.inside, sys.executable, "-m", "tests.netns.dying", *self._words[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        node.running.append(self._process)

    def ask(self, command: str) -> int:
        """What it answers to a command."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=60)


class _Counted:
    """The extension's functions, each of which counts before it does its work, and after."""

    def __init__(self, lib: Any, reached: Callable[[], None]) -> None:
        self._lib, self._reached = lib, reached

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._lib, name)
        if not callable(found):
            return found

        def called(*given: object) -> object:
            self._reached()
            try:
                return found(*given)
            finally:
                self._reached()

        setattr(self, name, called)
        return called


def _main(flags: list[str]) -> None:
    import maps._libbpf as extension  # noqa: PLC0415  its functions are replaced before anybody takes them

    counter, limit = mmap.mmap(-1, mmap.PAGESIZE), [_NEVER]

    def reached() -> None:
        (done,) = _COUNT.unpack_from(counter)
        _COUNT.pack_into(counter, 0, done + 1)
        if done + 1 >= limit[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    def audited(event: str, given: tuple[object, ...]) -> None:
        is_written = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if is_written or event.startswith(_CHANGES):
            reached()

    extension.lib = _Counted(extension.lib, reached)
    import agent.clean  # noqa: PLC0415
    import agent.main  # noqa: PLC0415
    import agent.run  # noqa: PLC0415

    child = 0
    for line in sys.stdin:
        command, _, number = line.strip().partition(" ")
        if command != "end":
            _COUNT.pack_into(counter, 0, 0)
            limit[0] = int(number or _NEVER)
            child = os.fork()
        if not child:
            ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
            sys.addaudithook(audited)
            sys.argv = ["sluiceway-agent", "cleanup" if command == "cleanup" else "run", *flags]
            os._exit(agent.main.main())
        answer = 0
        if command == "end":
            (answer,) = _COUNT.unpack_from(counter)
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
        elif command != "count":
            answer = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(answer, flush=True)


if __name__ == "__main__":
    _main(sys.argv[1:])
