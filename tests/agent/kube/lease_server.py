"""An API server for tests that keeps Leases, as it does: revisions, conflicts, lists by label; and may be away."""

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.agent.api_kinds import event_at, list_at
from tests.agent.served import Served

LEASES = "/apis/coordination.k8s.io/v1/namespaces/sluiceway/leases"


class LeaseServer(Served):
    """Leases, and any other objects under their paths."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((address, port), _Handler)
        self.objects: dict[str, dict[str, Any]] = {}  # by path
        self.asked: list[tuple[str, str]] = []
        self.away: set[str] = set()  # User-Agents' nodes are not told apart: addresses of clients that get no answer
        self.lock = threading.Lock()
        self.revision = 0
        self.forbids: Callable[[str, str], str] = lambda _method, _path: (
            ""
        )  # why it refuses a request; empty: it does not
        self.lists: dict[str, list[dict[str, Any]]] = {}  # of what is watched, by path; it does not change
        self.live: set[str] = set()  # paths of lists whose watches tell of what is stored and deleted
        self.changes: list[tuple[str, str, dict[str, Any]]] = []  # path, what happened, to which object
        self.proxy: object = None  # what a proxy answers in this server's place, as a success
        self.knows_streams = True  # else each list is asked for before its watch
        self.closing = threading.Event()
        self.start()

    def store(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        """Keep it under the next revision; under the lock."""
        self.revision += 1
        uid = self.objects.get(path, {}).get("metadata", {}).get("uid", f"uid-{self.revision}")
        about = {**content.get("metadata", {}), "resourceVersion": str(self.revision), "uid": uid}
        self.changes.append((path, "MODIFIED" if path in self.objects else "ADDED", {**content, "metadata": about}))
        self.objects[path] = {**content, "metadata": about}
        return self.objects[path]

    def take(self, path: str) -> None:
        """Delete it; under the lock."""
        self.revision += 1
        self.changes.append((path, "DELETED", self.objects.pop(path)))

    def below(self, path: str, label: str = "") -> list[dict[str, Any]]:
        """The objects of a list, by a label."""
        found = sorted(self.objects.items())
        return [one for at, one in found if at.rpartition("/")[0] == path and _is_labelled(one, label)]

    def stop(self) -> None:
        """Close everything."""
        self.closing.set()
        super().stop()

    def handle_error(self, *_: object) -> None:
        """A client that went away is none of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LeaseServer

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def parse_request(self) -> bool:
        """Also whether the request is forbidden, which is then its answer."""
        if not super().parse_request():
            return False
        why = self.server.forbids(self.command, self.path)
        if why:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._write(HTTPStatus.FORBIDDEN, {"kind": "Status", "code": HTTPStatus.FORBIDDEN, "message": why})
        return not why

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if "sendInitialEvents" in url.query and not self.server.knows_streams:
            self._answer(422, None)
            return
        if "watch=true" in url.query:
            self.server.asked.append((self.command, self.path))
            if url.path in self.server.live:
                self._followed(url.path)
                return
            self._watched(url.path, self.server.lists.get(url.path, []) if "sendInitialEvents" in url.query else [])
            return
        with self.server.lock:
            found: Any = self.server.objects.get(url.path)
            if url.path == LEASES:
                label = parse_qs(url.query).get("labelSelector", [""])[0]
                those = [one for path, one in sorted(self.server.objects.items()) if _has(path, one, label)]
                found = list_at(url.path, str(self.server.revision), those)
            elif url.path in self.server.live:
                label = parse_qs(url.query).get("labelSelector", [""])[0]
                found = list_at(url.path, str(self.server.revision), self.server.below(url.path, label))
            elif found is None and not self.server.knows_streams and "/namespaces/" not in url.path:
                found = list_at(url.path, "1", self.server.lists.get(url.path, []))
        self._answer(200 if found is not None else 404, found)

    def _watched(self, path: str, found: list[dict[str, Any]]) -> None:
        """A streaming list, and no change after it."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        about = {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}
        events = [
            *(event_at(path, "ADDED", one) for one in found),
            event_at(path, "BOOKMARK", {"metadata": about}),
        ]
        content = b"".join(json.dumps(one).encode() + b"\n" for one in events)
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.server.closing.wait()
        self.close_connection = True

    def _followed(self, path: str) -> None:
        """A streaming list, and what changes after it."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with self.server.lock:
            there, seen = self.server.below(path), len(self.server.changes)
            about = {"resourceVersion": str(self.server.revision), "annotations": {"k8s.io/initial-events-end": "true"}}
        self._events(path, [*(("ADDED", one) for one in there), ("BOOKMARK", {"metadata": about})])
        while not self.server.closing.wait(0.01):
            with self.server.lock:
                fresh, seen = self.server.changes[seen:], len(self.server.changes)
            if told := [(what, one) for at, what, one in fresh if at.rpartition("/")[0] == path]:
                self._events(path, told)
        self.close_connection = True

    def _events(self, path: str, those: list[tuple[str, dict[str, Any]]]) -> None:
        content = b"".join(json.dumps(event_at(path, what, one)).encode() + b"\n" for what, one in those)
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def do_DELETE(self) -> None:
        wanted, path = self._content().get("preconditions", {}), urlsplit(self.path).path
        with self.server.lock:
            old = self.server.objects.get(path)
            is_same = old and all(old["metadata"].get(key) == value for key, value in wanted.items())
            if is_same and not self._is_away():
                self.server.take(path)
        self._answer(200 if is_same else 409 if old else 404, {})

    def do_POST(self) -> None:
        content = self._content()
        path = f"{urlsplit(self.path).path}/{content['metadata']['name']}"
        with self.server.lock:
            is_there = path in self.server.objects
            made = None if is_there or self._is_away() else self.server.store(path, content)
        self._answer(409 if is_there else 201, made)

    def do_PUT(self) -> None:
        content, path = self._content(), urlsplit(self.path).path
        with self.server.lock:
            old = self.server.objects.get(path)
            is_same = old and old["metadata"]["resourceVersion"] == content["metadata"].get("resourceVersion")
            made = self.server.store(path, content) if is_same and not self._is_away() else None
        self._answer(200 if is_same else 409 if old else 404, made)

    def do_PATCH(self) -> None:
        content, path = self._content(), urlsplit(self.path).path.removesuffix("/status")
        with self.server.lock:
            old = self.server.objects.get(path)
            made = self.server.store(path, {**_merged(old, content), "metadata": old["metadata"]}) if old else None
        self._answer(200 if made else 404, made)

    def _content(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def _is_away(self) -> bool:
        return bool({"*", self.client_address[0]} & self.server.away)

    def _answer(self, code: int, content: object) -> None:
        self.server.asked.append((self.command, self.path))
        if self._is_away():
            self.close_connection = True
            return
        if self.server.proxy is not None:
            code, content = 200, self.server.proxy
        self._write(code, content if code < 300 else {"kind": "Status", "code": code})

    def _write(self, code: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _merged(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """As RFC 7396 has it."""
    made = {**old}
    for key, value in patch.items():
        if isinstance(value, dict):
            made[key] = _merged(made[key] if isinstance(made.get(key), dict) else {}, value)
        elif value is None:
            made.pop(key, None)
        else:
            made[key] = value
    return made


def _has(path: str, found: dict[str, Any], label: str) -> bool:
    name, _, value = label.partition("=")
    labels = found["metadata"].get("labels", {})
    return path.startswith(f"{LEASES}/") and (not label or (name in labels and value in {"", labels[name]}))


def _is_labelled(found: dict[str, Any], label: str) -> bool:
    name, _, value = label.partition("=")
    return not label or found["metadata"].get("labels", {}).get(name) == value


def kubeconfig(folder: Path, port: int, address: str = "127.0.0.1") -> Path:
    """The way to the server."""
    parts = {
        "contexts": {"cluster": "x", "user": "x"},
        "clusters": {"server": f"http://{address}:{port}"},
        "users": {"token": "secret"},
    }
    content = {key: [{"name": "x", key[:-1]: value}] for key, value in parts.items()}
    path = folder / f"kubeconfig-{address}-{port}"
    path.write_text(json.dumps({"kind": "Config", "current-context": "x", **content}))
    return path
