"""An API server as the benches need one: a process that streams lists, goes on as watches, and says what it is told.

It forgets where watches are while a file says so, so that everything is listed anew. Lines on its input are events:
the resource, as its path ends, and JSON of a watch event.
"""

import json
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

Object = dict[str, object]
Objects = Mapping[str, Callable[[], Iterator[Object]]]  # by resource


class _Handler(BaseHTTPRequestHandler):
    """Streams a list, goes on as a watch, and forgets where the watch is when a file says so."""

    protocol_version = "HTTP/1.1"
    listed: ClassVar[Mapping[str, Sequence[bytes]]] = {}  # by resource; of others there are none
    forget = Path()
    asked = threading.Event()  # for the first list
    heard: ClassVar[dict[str, SimpleQueue[bytes]]] = defaultdict(SimpleQueue)

    def log_message(self, *_: object) -> None:
        """The output is the bench's."""

    def do_GET(self) -> None:
        """A list, or what follows it."""
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        kind = url.path.rpartition("/")[2]
        if any(one.startswith("spec.nodeName=") for one in query.get("fieldSelector", ())):
            kind = f"{kind} of a node"
        if not self.asked.is_set():
            self.asked.set()
            print(time.monotonic(), flush=True)
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if "sendInitialEvents" in query:
            for line in self.listed.get(kind, ()):
                self._line(line)
            end = {"k8s.io/initial-events-end": "true"}
            self._line(_event("BOOKMARK", {"metadata": {"resourceVersion": "9", "annotations": end}}))
        while not self.forget.exists():
            try:
                self._line(self.heard[kind].get(timeout=0.05))
            except Empty:
                continue
        self._line(_event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"}))
        time.sleep(1)
        self.forget.unlink(missing_ok=True)
        self.close_connection = True

    def _line(self, line: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))


def _event(kind: str, content: object) -> bytes:
    return json.dumps({"type": kind, "object": content}).encode() + b"\n"


def serve(objects: Objects, forget: Path) -> None:
    """Be the API server; the port is the first line of output, the second when it was first asked for something."""
    _Handler.listed = {kind: [_event("ADDED", one) for one in made()] for kind, made in objects.items()}
    _Handler.forget = forget
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for line in sys.stdin.buffer:
        kind, _, event = line.partition(b"\t")
        _Handler.heard[kind.decode()].put(event)


@dataclass(frozen=True, slots=True)
class ApiServer:
    """One that runs: its kubeconfig, and the file that makes it forget."""

    kubeconfig: Path
    forget: Path
    _process: "subprocess.Popen[bytes]"

    def say(self, kind: str, event: str, content: Object) -> None:
        """Send an event of a resource to who watches it."""
        if self._process.stdin is None:
            raise SystemExit("no server")
        self._process.stdin.write(kind.encode() + b"\t" + _event(event, content))
        self._process.stdin.flush()

    def asked_at(self) -> float:
        """When it was first asked for something, by the monotonic clock; waits for that."""
        if self._process.stdout is None:
            raise SystemExit("no server")
        return float(self._process.stdout.readline())


@contextmanager
def running(script: str, folder: Path, *more: str, inside: Sequence[str] = ()) -> Iterator[ApiServer]:
    """The server of a bench, which begins it when it is called with ``--serve FILE`` and *more*.

    *inside* is the command that runs another where the agent is, empty: here.
    """
    forget, kubeconfig = folder / "forget", folder / "kubeconfig"
    command = [*inside, sys.executable, script, "--serve", str(forget), *more]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            if process.stdout is None:
                raise SystemExit("no server")
            kubeconfig.write_text(_kubeconfig(int(process.stdout.readline())))
            yield ApiServer(kubeconfig, forget, process)
        finally:
            process.terminate()


def _kubeconfig(port: int) -> str:
    parts = {
        "contexts": {"cluster": "x", "user": "x"},
        "clusters": {"server": f"http://127.0.0.1:{port}"},
        "users": {},
    }
    content = {key: [{"name": "x", key[:-1]: value}] for key, value in parts.items()}
    return json.dumps({"kind": "Config", "current-context": "x", **content})


def resident_mib(process: int | str = "self") -> float:
    """What a process has in memory; this one, if none is named."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def until(holds: Callable[[], bool], timeout_s: float = 120, every_s: float = 0.05) -> None:
    """Wait for something.

    Raises:
        SystemExit: it does not come.
    """
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > end:
            raise SystemExit("it does not come to an end")
        time.sleep(every_s)
