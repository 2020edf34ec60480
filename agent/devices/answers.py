"""``devices.sock``: the device plugin's answers to the agent and to dpctl, in the form of agent/pods/pod_devices.py.

Root's alone. A caller that is silent is not waited for, and several are answered at once: the kubelet may be slow.
"""

import contextlib
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from agent.json_text import NOT_JSON
from agent.log import logger
from agent.pods.pod_devices import SOCKET, Answer, Question, line
from agent.threads import Threads

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

    def start(self) -> None:
        """Serve from now on.

        Raises:
            OSError: the folder cannot be written.
        """
        self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)  # of a process that died
        self._listener.bind(str(self._path))
        self._path.chmod(0o600)
        self._listener.listen(BACKLOG)
        self._thread.start()

    def stop(self) -> None:
        """Serve no more."""
        self._thread.end()
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
        self._thread.join()
        self._listener.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _accept(self) -> None:
        while not self._thread.is_ending:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if not self._thread.is_ending:
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
