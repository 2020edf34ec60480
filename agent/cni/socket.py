"""The unix socket on which the CNI shim asks: frames in, frames out, a thread per request.

Request: u32 length, ``KEY=VALUE`` ended by NUL each; u32 length, standard input. Answer: u32 exit code; u32
length, standard output. All numbers big-endian; the other end is ``cni/sluiceway-cni.c``.

Requests that found no agent and need no answer (DEL, GC) are files in ``cni-intents`` beside the socket. The
socket is bound before they are read and served after: the shim, which looks for the socket again after writing
its file, is heard either way.
"""

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from io import BufferedReader
from pathlib import Path
from queue import SimpleQueue

from agent.cni.error import CniError, Code
from agent.cni.request import DEFAULT_VERSION, Command
from agent.cni.result import failed
from agent.log import logger
from agent.threads import Threads

log = logger(__name__)

SOCKET = "cni.sock"
INTENTS = "cni-intents"
STDIN_MAX = 1 << 20  # as the shim's
ENVIRONMENT_MAX = 1 << 16
READ_WAIT = struct.pack("=qq", 10, 0)  # struct timeval; the shim sends all it has at once
RETRY_S = 0.1  # after an accept that failed, as when descriptors ran out
BACKLOG = 128
_LENGTH = struct.Struct("!I")
_ANSWER = struct.Struct("!II")

Answer = Callable[[Mapping[str, str], bytes], tuple[int, bytes]]


class CniSocket:
    """The server; *answer* is ``cni.Cni.answer``, *count* hears each request's command, exit code and seconds."""

    def __init__(
        self,
        run_dir: Path,
        answer: Answer,
        count: Callable[[str, int, float], None] = lambda *_: None,
        threads: Threads | None = None,
    ) -> None:
        self.path = run_dir / SOCKET
        self._intents = run_dir / INTENTS
        self._answer = answer
        self._count = count
        self._socket: socket.socket | None = None
        self._thread = (threads or Threads()).make("cni", self._accept)
        self._stopping = threading.Event()
        self._waiting: SimpleQueue[socket.socket] = SimpleQueue()
        self._idle = threading.Semaphore(0)  # threads that wait for work, less what waits for them

    def start(self) -> None:
        """Bind; a thread of its own applies what was left while no agent ran, then serves.

        The loop must run: a DEL waits for it.

        Raises:
            OSError: the socket's directory cannot be written.
        """
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)  # of an agent that died; the lock on the pins keeps a living one out
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.path))
        self.path.chmod(0o600)
        listener.listen(BACKLOG)
        self._socket = listener
        self._thread.start()

    def stop(self) -> None:
        """Accept no more; requests in work finish by themselves."""
        if self._socket is None:
            return
        self._thread.end()
        self._stopping.set()
        self.path.unlink(missing_ok=True)
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes the accept
        self._thread.join()
        self._socket.close()

    def _accept(self) -> None:
        self._apply_intents()
        listener = self._socket
        while listener is not None and not self._stopping.is_set():
            try:
                connection, _ = listener.accept()
            except OSError as error:
                if not self._stopping.wait(RETRY_S):
                    log.warning("CNI socket: accept failed", error=error)
                continue
            self._hand_over(connection)

    def _hand_over(self, connection: socket.socket) -> None:
        """To a thread that waits for work, or to a new one when none does."""
        self._waiting.put(connection)
        if not self._idle.acquire(blocking=False):
            threading.Thread(target=self._work, name="cni request", daemon=True).start()

    def _work(self) -> None:
        """Serve one request after the other; the thread stays, there are as many as were ever needed at once."""
        while True:
            self._serve(self._waiting.get())
            self._idle.release()

    def _serve(self, connection: socket.socket) -> None:
        # by the kernel's clock: a timeout of Python's asks before each read
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, READ_WAIT)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, READ_WAIT)
        with connection, connection.makefile("rb") as reader:
            began = time.monotonic()
            try:
                command, code, output = self._handle(reader)
                self._count(command, code, time.monotonic() - began)
                connection.sendall(_ANSWER.pack(code, len(output)) + output)
            except OSError as error:  # the shim went away: its runtime will DEL
                log.warning("CNI socket: the caller went away", error=error)

    def _handle(self, reader: BufferedReader) -> tuple[str, int, bytes]:
        """The command, as a label of few values, and the answer."""
        try:
            environment = _environment(_part(reader, ENVIRONMENT_MAX, "environment"))
            stdin = _part(reader, STDIN_MAX, "configuration on stdin")
        except CniError as error:
            return "unknown", int(error.code), failed(DEFAULT_VERSION, error)
        command = environment.get("CNI_COMMAND", "")
        return (command if command in set(Command) else "unknown", *self._answer(environment, stdin))

    def _apply_intents(self) -> None:
        for path in _oldest_first(self._intents):
            try:
                self._apply_intent(path)
            except OSError as error:  # its shim found us after all, and took it back
                log.info("CNI request of an absent agent: file is gone", file=path.name, error=error)

    def _apply_intent(self, path: Path) -> None:
        """Do what the file asks; it stays for the next start when that is to be tried again."""
        # a draft has a dot: its writer died, or looks for us again now
        request = None if path.name.startswith(".") else _request(path.read_bytes())
        if request is not None:
            code, output = self._answer(*request)
            log.info("CNI request of an absent agent applied", file=path.name, code=code, answer=output.decode())
            if code == Code.TRY_LATER:
                return
        path.unlink()


def _oldest_first(directory: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return [Path(e.path) for e in sorted(os.scandir(directory), key=lambda e: e.stat().st_mtime_ns)]
    return []


def _part(reader: BufferedReader, most: int, what: str) -> bytes:
    length = _LENGTH.unpack(_receive(reader, _LENGTH.size))[0]
    if length > most:
        raise CniError(Code.DECODE, f"the {what} has {length} bytes, at most {most} are read")
    return _receive(reader, length)


def _receive(reader: BufferedReader, size: int) -> bytes:
    data = reader.read(size) or b""  # none after so long a silence
    if len(data) < size:
        raise ConnectionResetError("the request ends early")
    return data


def _environment(data: bytes) -> dict[str, str]:
    pairs = (item.decode(errors="replace").partition("=") for item in data.split(b"\0") if item)
    return {name: value for name, _, value in pairs}


def _request(frame: bytes) -> tuple[dict[str, str], bytes] | None:
    """The two parts of a whole frame; None when it is cut."""
    try:
        (size,) = _LENGTH.unpack_from(frame)
        (rest,) = _LENGTH.unpack_from(frame, 4 + size)
    except struct.error:
        return None
    if len(frame) != 8 + size + rest:
        return None
    return _environment(frame[4 : 4 + size]), frame[8 + size :]
