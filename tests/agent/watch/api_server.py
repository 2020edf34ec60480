"""An API server for tests: HTTP, and of the protocol what a test has it say: lists, streams, cuts, refusals."""

import json
import queue
import socket
import time
from collections import deque
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event, Lock
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.agent.api_kinds import kind_at, list_at
from tests.agent.served import Served

SERVICES = "/api/v1/services"
CUT = b"cut"  # the connection breaks
END = b"end"  # the answer ends in good order


def web(revision: str, address: str = "10.96.0.1") -> dict[str, Any]:
    return {
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "resourceVersion": revision},
        "spec": {"clusterIP": address, "ports": [{"port": 80}]},
    }


def other(revision: str) -> dict[str, Any]:
    return {**web(revision, "10.96.0.2"), "metadata": {"name": "other", "namespace": "default"}}


def event(kind: str, content: object) -> bytes:
    return json.dumps({"type": kind, "object": content}).encode() + b"\n"


def bookmark(revision: str, kind: str = "Service") -> bytes:
    annotations = {"k8s.io/initial-events-end": "true"}
    return event("BOOKMARK", {"kind": kind, "metadata": {"resourceVersion": revision, "annotations": annotations}})


class Api(Served):
    """Says what the test puts into `said`, on services or another path; every other resource is empty."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.said: dict[str, deque[bytes]] = {SERVICES: deque()}  # by path, or path and field selector
        self.answers: dict[str, int] = {}  # a code for each path that is refused
        self.paths: list[str] = []  # all that was asked for, in order
        self.lock = Lock()
        self.asked: queue.Queue[dict[str, str]] = queue.Queue()
        self.tokens: set[str] = set()
        self.selectors: set[str] = set()
        self.knows_streams = True
        self.refusals: queue.Queue[tuple[int, dict[str, str], object]] = queue.Queue()  # on services, each once
        self.lists: queue.Queue[list[bytes]] = queue.Queue()  # plain lists of services, in chunks; none: `web`
        self.allowed = "secret"
        self.closing = Event()
        self.start()

    def say(self, *lines: bytes, path: str = SERVICES) -> None:
        """Send these, one chunk each."""
        self.said.setdefault(path, deque()).extend(lines)

    def said_on(self, path: str, field_selector: str) -> deque[bytes] | None:
        """What is said to who asks so; None: nothing."""
        return self.said.get(f"{path} {field_selector}", self.said.get(path))

    def stop(self) -> None:
        """Close everything."""
        self.closing.set()
        super().stop()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Api

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.server.tokens.add(self.headers.get("Authorization", ""))
        self.server.selectors |= {f"{url.path} {query[key]}" for key in query if key.endswith("Selector")}
        self.server.paths.append(url.path)
        if url.path == SERVICES:
            self.server.asked.put(query)
        if self.headers.get("Authorization") != f"Bearer {self.server.allowed}":
            self._whole(401, {"kind": "Status", "message": "Unauthorized"})
        elif url.path in self.server.answers:
            code = self.server.answers[url.path]
            self._whole(code, {"kind": "Status", "message": f"{url.path} is none"})
        elif url.path == SERVICES and not self.server.refusals.empty():
            code, headers, content = self.server.refusals.get()
            self._whole(code, content, headers)
        elif "sendInitialEvents" in query and not self.server.knows_streams:
            self._whole(422, {"kind": "Status", "message": "sendInitialEvents is forbidden"})
        elif "watch" not in query and url.path == SERVICES and not self.server.lists.empty():
            self._begin()
            for chunk in self.server.lists.get():
                self._chunk(chunk)
            self._chunk(b"")
        elif "watch" not in query:
            self._whole(200, list_at(url.path, "3", [web("2")] if url.path == SERVICES else []))
        elif (said := self.server.said_on(url.path, query.get("fieldSelector", ""))) is not None:
            self._stream(said)
        else:
            self._idle(kind_at(url.path))

    def _whole(self, code: int, content: object, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))

    def _stream(self, lines: deque[bytes]) -> None:
        self._begin()
        while not self.server.closing.is_set():
            if (said := self._said(lines)) is None:
                time.sleep(0.005)
                continue
            if said == CUT:
                break
            if said != END:
                self._chunk(said)
            if said == END or b'"ERROR"' in said:  # after which the API server says no more
                self._chunk(b"")
                return
        self.close_connection = True

    def _said(self, lines: deque[bytes]) -> bytes | None:
        """The next line; none for a caller who went away, for the next will have it."""
        with self.server.lock:
            try:
                is_gone = self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
            except BlockingIOError:
                is_gone = False
            return lines.popleft() if lines and not is_gone else None

    def _idle(self, kind: str) -> None:
        self._begin()
        self._chunk(bookmark("1", kind))
        self.server.closing.wait()
        self.close_connection = True


def kubeconfig(folder: Path, port: int) -> Path:
    path = folder / "kubeconfig"
    if not (folder / "token").exists():
        (folder / "token").write_text("secret")
    path.write_text(
        json.dumps(
            {
                "kind": "Config",
                "current-context": "x",
                "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
                "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "x", "user": {"tokenFile": str(folder / "token")}}],
            }
        )
    )
    return path
