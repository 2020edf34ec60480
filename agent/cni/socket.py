"""The unix socket on which the CNI shim asks: frames in (``frame``), frames out, a thread per request.

Answer: u32 exit code; u32 length, standard output; big-endian. The socket is bound before the requests that found no
agent are read (``intents``) and served after: the shim, which looks for the socket again after writing its file, is
heard either way.

A caller sends all it has at once. One that is slow or silent must not keep others from starting pods: the request
has to be whole within seconds, however it trickles, and of those that are not whole yet only so many are waited for.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from agent.cni.error import CniError, Code
from agent.cni.frame import ENVIRONMENT_MAX, LENGTH, STDIN_MAX, environment_of
from agent.cni.intents import Answer, Intents
from agent.cni.request import DEFAULT_VERSION, Command
from agent.cni.result import failed
from agent.log import logger
from agent.threads import Threads

log = logger(__name__)

SOCKET = "cni.sock"
WHOLE_S = 5.0  # from accept to the request's last octet
UNREAD_MOST = 256  # connections whose request is not whole; of more, that which lasts longest is ended
SEND_WAIT = struct.pack("=qq", 10, 0)  # struct timeval
RETRY_S = 0.1  # after an accept that failed, as when descriptors ran out
INTENTS_S = 1.0  # between looks for requests that found this agent hanging
BACKLOG = 128
READ = 1 << 16  # octets of one read
_ANSWER = struct.Struct("!II")


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
        self._answer = answer
        self._count = count
        self._intents = Intents(run_dir, answer)
        self._socket: socket.socket | None = None
        owner = threads or Threads()
        self._thread = owner.make("cni", self._accept)
        self._intents_thread = owner.make("cni intents", self._follow_intents)
        self._stopping = threading.Event()
        self._waiting: SimpleQueue[socket.socket] = SimpleQueue()
        self._idle = threading.Semaphore(0)  # threads that wait for work, less what waits for them
        self._unread: dict[socket.socket, None] = {}  # oldest first
        self._lock = threading.Lock()  # guards it

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
        self._intents_thread.end()
        self._stopping.set()
        self.path.unlink(missing_ok=True)
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes the accept
        self._thread.join()
        self._intents_thread.join(INTENTS_S)
        self._socket.close()

    def _accept(self) -> None:
        self._intents.take_in(is_first=True)
        self._intents_thread.start()
        listener = self._socket
        while listener is not None and not self._stopping.is_set():
            try:
                connection, _ = listener.accept()
            except OSError as error:
                if not self._stopping.wait(RETRY_S):
                    log.warning("CNI socket: accept failed", error=error)
                continue
            self._hand_over(connection)

    def _follow_intents(self) -> None:
        while not self._stopping.wait(INTENTS_S):
            self._intents.take_in()

    def _hand_over(self, connection: socket.socket) -> None:
        """To a thread that waits for work, or to a new one when none does."""
        with self._lock:
            self._unread[connection] = None
            if len(self._unread) > UNREAD_MOST:
                oldest = next(iter(self._unread))
                del self._unread[oldest]
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # wakes its thread, which closes it
        self._waiting.put(connection)
        if not self._idle.acquire(blocking=False):
            threading.Thread(target=self._work, name="cni request", daemon=True).start()

    def _work(self) -> None:
        """Serve one request after the other; the thread stays, there are as many as were ever needed at once."""
        while True:
            self._serve(self._waiting.get())
            self._idle.release()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            began = time.monotonic()
            try:
                command, code, output = self._handle(connection, began + WHOLE_S)
                self._count(command, code, time.monotonic() - began)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, SEND_WAIT)
                connection.sendall(_ANSWER.pack(code, len(output)) + output)
            except OSError as error:  # the shim went away: its runtime will DEL
                log.warning("CNI socket: the caller went away", error=error)
            finally:
                self._is_read(connection)

    def _handle(self, connection: socket.socket, deadline: float) -> tuple[str, int, bytes]:
        """The command, as a label of few values, and the answer."""
        try:
            reader = _Reader(connection, deadline)
            environment = environment_of(reader.part(ENVIRONMENT_MAX, "environment"))
            stdin = reader.part(STDIN_MAX, "configuration on stdin")
        except CniError as error:
            return "unknown", error.status, failed(DEFAULT_VERSION, error)
        self._is_read(connection)
        command = environment.get("CNI_COMMAND", "")
        return (command if command in set(Command) else "unknown", *self._answer(environment, stdin))

    def _is_read(self, connection: socket.socket) -> None:
        """Its request is whole, or it is gone."""
        with self._lock:
            self._unread.pop(connection, None)


class _Reader:
    """A connection's octets, in few reads: a request that is there at once takes one."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._buffer = b""

    def part(self, most: int, what: str) -> bytes:
        """The next part of a request.

        Raises:
            CniError: it is too long.
            OSError: the caller went away, or is too slow.
        """
        length = LENGTH.unpack(self._take(LENGTH.size))[0]
        if length > most:
            raise CniError(Code.DECODE, f"the {what} has {length} bytes, at most {most} are read")
        return self._take(length)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._buffer += self._read()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _read(self) -> bytes:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"the request is not whole after {WHOLE_S:.0f} s")
        # by the kernel's clock: a timeout of Python's asks before each read
        wait = struct.pack("=qq", *divmod(int(left_s * 1e6) + 1, 1_000_000))
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        try:
            read = self._connection.recv(READ)
        except BlockingIOError:
            return b""  # the time is over
        if not read:
            raise ConnectionResetError("the request ends early")
        return read
