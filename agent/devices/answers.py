"""``devices.sock``: the device plugin's answers to the agent and to dpctl, in the form of agent/pods/pod_devices.py.

Root's alone. A caller that is silent is not waited for, and several are answered at once: the kubelet may be slow.

The socket says which of two plugins has the node: one that starts takes it, and one that finds another's there stands
aside until that one has ended (``looker``).
"""

import contextlib
import secrets
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from agent.json_text import NOT_JSON
from agent.log import logger
from agent.pods.pod_devices import SOCKET, Answer, Question, line
from agent.threads import Threads
from agent.unix_socket import answers, is_left

log = logger(__name__)

WHOLE_S = 2.0
MOST_OCTETS = 1 << 12  # of a question
WORKERS = 8
BACKLOG = 64


class Answers:
    """The server; *answer* is asked in threads of its own."""

    def __init__(self, run_dir: Path, answer: Callable[[Question], Answer], threads: Threads) -> None:
        self._path = run_dir / SOCKET
        self._answer = answer
        self._thread = threads.make("answers", self._accept)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="answers")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._own: tuple[int, int] | None = None  # device and inode of our file

    def start(self) -> None:
        """Serve from now on, in the place of whoever did.

        Raises:
            OSError: the folder cannot be written.
        """
        self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        for path in drafts(self._path):
            path.unlink(missing_ok=True)
        self._listen()
        self._thread.start()

    def keep(self) -> bool:
        """Whether the socket is ours, which it is where nobody else answers there; for one thread.

        Raises:
            OSError: the folder cannot be written.
        """
        if _file(self._path) == self._own:
            return True
        if answers(self._path):
            return False
        self._listen()
        return True

    def stop(self) -> None:
        """Serve no more."""
        self._thread.end()
        if _file(self._path) == self._own:
            self._path.unlink(missing_ok=True)
        _end(self._listener)
        self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _listen(self) -> None:
        """A new socket, complete before anybody finds it, and in one step in the place of what is there."""
        draft = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}")
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.bind(str(draft))
        draft.chmod(0o600)
        made.listen(BACKLOG)
        own = _file(draft)
        draft.rename(self._path)
        before, self._listener, self._own = self._listener, made, own
        _end(before)

    def _accept(self) -> None:
        while not self._thread.is_ending:
            listener = self._listener
            try:
                connection, _ = listener.accept()
            except OSError as error:
                if listener is self._listener and not self._thread.is_ending:
                    log.warning("answers: accept failed", error=error)
                continue
            self._pool.submit(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(WHOLE_S)
                question = msgspec.json.decode(line(connection, MOST_OCTETS), type=Question)
                connection.sendall(msgspec.json.encode(self._answer(question)) + b"\n")
            except (OSError, *NOT_JSON) as error:
                log.debug("answers: the caller went away, or asked for nothing", error=error)


def drafts(path: Path) -> Iterator[Path]:
    """What processes left that died before their socket was at its place."""
    return (draft for draft in path.parent.glob(f"{path.name}.*") if is_left(draft))


def _end(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may not have listened
        listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
    listener.close()


def _file(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
