"""The one client, against a server with certificates: what was exchanged of credentials is read again."""

import base64
import json
import queue
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Thread

import pytest
from kubernetes.client import ApiClient

from agent.kube.client import TROUBLE, Client, Refused, connect

VERSION = "/version"
TOGETHER = 6  # requests, all of which are answered when the last has come


@dataclass
class Authority:
    """A certificate authority in files of its own."""

    folder: Path
    name: str
    file: Path = field(init=False)

    def __post_init__(self) -> None:
        """Make its key and certificate."""
        self.file = self.folder / f"{self.name}.crt"
        key = self.folder / f"{self.name}.key"
        openssl("req", "-x509", *NEW_KEY, "-keyout", key, "-out", self.file, "-subj", f"/CN={self.name}", "-days", "1")

    def certificate(self, name: str) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1, and its key."""
        key, request, certificate = (self.folder / f"{self.name}-{name}.{kind}" for kind in ("key", "csr", "crt"))
        extension = ("-addext", "subjectAltName=IP:127.0.0.1")
        openssl("req", *NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}", *extension)
        by = ("-CA", self.file, "-CAkey", self.file.with_suffix(".key"), "-CAcreateserial", "-copy_extensions", "copy")
        openssl("x509", "-req", "-in", request, "-out", certificate, *by, "-days", "1")
        return certificate, key


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Api"

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def do_GET(self) -> None:
        if self.path.startswith("/together"):
            self.server.together.wait(60)
        code = 200 if self.headers.get("Authorization", "") == self.server.allowed else 401
        self.server.clients.put(str(dict(x[0] for x in self.connection.getpeercert().get("subject", ()))))
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"kind": "Status", "code": 429, "message": "busy"}).encode()
        self.send_response(429)
        self.send_header("Retry-After", "7")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Api(ThreadingHTTPServer):
    """An API server that asks who is there."""

    daemon_threads = True

    def __init__(self, authority: Authority, clients: Authority) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.clients: queue.Queue[str] = queue.Queue()
        self.allowed = ""
        self.together = Barrier(TOGETHER)
        self.plain = self.socket
        self.serve_as(authority, clients)
        self.thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def serve_as(self, authority: Authority, clients: Authority) -> None:
        """Present a certificate of *authority*, and believe those of *clients*."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*authority.certificate("server"))
        self.context.load_verify_locations(clients.file)
        self.context.verify_mode = ssl.CERT_REQUIRED

    def get_request(self) -> tuple[ssl.SSLSocket, object]:
        """A connection, encrypted."""
        connection, address = super().get_request()
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, *_: object) -> None:
        """A handshake that fails is the tests' subject."""

    def stop(self) -> None:
        """Close everything."""
        self.shutdown()
        self.server_close()
        self.thread.join()


def kubeconfig(path: Path, port: int, authority: Authority, client: tuple[Path, Path]) -> None:
    """With all data within, as kubeadm writes it: nothing is exchanged but by writing the whole file anew."""
    user = {"client-certificate-data": encoded(client[0]), "client-key-data": encoded(client[1])}
    server = {"server": f"https://127.0.0.1:{port}", "certificate-authority-data": encoded(authority.file)}
    content = {
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": server}],
        "users": [{"name": "x", "user": user}],
    }
    path.write_text(json.dumps({"kind": "Config", "current-context": "x", **content}))


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    folder = tmp_path_factory.mktemp("authorities")
    return Authority(folder, "old"), Authority(folder, "new")


@pytest.fixture
def api(authorities: tuple[Authority, Authority]) -> Iterator[Api]:
    api = Api(authorities[0], authorities[0])
    yield api
    api.stop()


def code(client: Client, path: str = VERSION) -> int:
    response = client.get(path, (), 5.0)
    response.read()
    return response.status


def until_it_works(client: Client, attempts: int = 4) -> int:
    """The first attempt that works."""
    for attempt in range(1, attempts + 1):
        try:
            if code(client) == 200:
                return attempt
        except TROUBLE:
            continue
    raise AssertionError("it never works")


def test_an_authority_that_was_exchanged_is_believed_as_soon_as_the_configuration_says_so(
    api: Api, authorities: tuple[Authority, Authority], tmp_path: Path
) -> None:
    old, new = authorities
    path = tmp_path / "kubeconfig"
    mine = old.certificate("client")
    kubeconfig(path, api.server_port, old, mine)
    client = Client(lambda: connect(path))
    assert code(client) == 200
    api.serve_as(new, old)
    with pytest.raises(TROUBLE):
        code(client)
    kubeconfig(path, api.server_port, new, mine)
    assert until_it_works(client) <= 2


def test_a_client_certificate_that_was_exchanged_is_shown_as_soon_as_the_old_one_is_refused(
    api: Api, authorities: tuple[Authority, Authority], tmp_path: Path
) -> None:
    old, new = authorities
    path = tmp_path / "kubeconfig"
    kubeconfig(path, api.server_port, old, old.certificate("one"))
    client = Client(lambda: connect(path))
    assert code(client) == 200
    assert "one" in api.clients.get()
    api.serve_as(old, new)
    kubeconfig(path, api.server_port, old, new.certificate("two"))
    assert until_it_works(client) <= 2
    assert "two" in api.clients.get()


def test_the_configuration_is_read_once_for_all_who_were_refused_at_a_time(
    api: Api, authorities: tuple[Authority, Authority], tmp_path: Path
) -> None:
    old, _ = authorities
    path = tmp_path / "kubeconfig"
    kubeconfig(path, api.server_port, old, old.certificate("client"))
    read = []

    def counted() -> ApiClient:
        read.append(1)
        return connect(path)

    client = Client(counted)
    api.allowed = "nobody"
    for reads in (1, 2):
        threads = [Thread(target=code, args=(client, "/together")) for _ in range(TOGETHER)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(read) == reads


def test_a_refusal_says_what_was_asked_and_when_to_ask_again(
    api: Api, authorities: tuple[Authority, Authority], tmp_path: Path
) -> None:
    old, _ = authorities
    path = tmp_path / "kubeconfig"
    kubeconfig(path, api.server_port, old, old.certificate("client"))
    client = Client(lambda: connect(path))
    with pytest.raises(Refused, match="POST /events: HTTP 429: busy") as found:
        client.send("POST", "/events", {}, "application/json", 5.0)
    assert found.value.refusal.retry_after_s == 7
