"""kubectl, as the plugin's only way to the cluster: what it may do is what who calls it may do."""

import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

AT_ONCE = 8  # processes
MOST_S = 120.0  # one command; a node that is gone is told by the API server after its own 30 s

A = TypeVar("A")
B = TypeVar("B")


class PluginError(Exception):
    """What keeps a command from going on, and what to do."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl with the flags that choose a cluster."""

    flags: tuple[str, ...] = ()
    program: str = "kubectl"

    def command(self, *words: str) -> list[str]:
        """The whole command line.

        Raises:
            PluginError: there is no kubectl.
        """
        found = shutil.which(self.program)
        if found is None:
            raise PluginError("kubectl is not on the PATH; install it, or add its folder to PATH")
        return [found, *self.flags, *words]

    def run(self, *words: str, stdin: str | None = None, timeout_s: float = MOST_S) -> str:
        """What a command prints.

        A signal waits until it has ended: an `apply` that was left behind would make what has just been deleted.

        Raises:
            PluginError: it failed, or took too long.
        """
        argv = self.command(*words)
        try:
            with _uninterrupted():
                done = subprocess.run(
                    argv,
                    input=stdin,
                    capture_output=True,
                    encoding="utf-8",
                    errors="replace",  # a pod's log may have anything
                    timeout=timeout_s,
                    check=False,
                )
        except subprocess.TimeoutExpired as late:
            raise PluginError(f"kubectl {_shown(words)} has not ended in {timeout_s:.0f} s") from late
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            raise PluginError(f"kubectl {_shown(words)}: {said}")
        return done.stdout

    def get(self, *words: str) -> dict[str, Any]:
        """The object or list that ``kubectl get`` prints.

        Raises:
            PluginError: it failed, or printed something else.
        """
        text = self.run("get", *words, "-o", "json")
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise PluginError(f"kubectl get {_shown(words)} printed no JSON: {text[:200]!r}") from error
        if not isinstance(found, dict):
            raise PluginError(f"kubectl get {_shown(words)} printed no object: {text[:200]!r}")
        return found


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A signal that would interrupt does so afterwards; in another thread than the first none does.

    Raises:
        KeyboardInterrupt: one has come.
    """
    is_first = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if is_first else ()
    held = [number for number in numbers if signal.getsignal(number) is signal.default_int_handler]
    came: list[int] = []
    for number in held:
        signal.signal(number, lambda which, _: came.append(which))
    try:
        yield
    finally:
        for number in held:
            signal.signal(number, signal.default_int_handler)
        if came:
            raise KeyboardInterrupt


def at_once(ask: Callable[[A], B], of: Iterable[A]) -> list[B]:
    """What *ask* says of each, in their order; a few are asked at a time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(ask, of))


def _shown(words: Sequence[str]) -> str:
    """A command as it is told: a script among its words would fill the screen."""
    return " ".join(word if "\n" not in word else "..." for word in words)
