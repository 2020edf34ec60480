"""A small API server with certificates, and the kubeconfigs of its clients."""

import base64
import json
import queue
import ssl
import subprocess
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Event, Thread

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
        if self.path.startswith("/stream"):
            self.server.stream(self)
            return
        code = (
            503
            if self.server.is_ill and self.path.startswith("/readyz")
            else 200
            if self.headers.get("Authorization", "") == self.server.allowed
            else 401
        )
        self.server.clients.put(str(dict(x[0] for x in (self.connection.getpeercert() or {}).get("subject", ()))))
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
        self.is_ill = False
        self.ended = Event()
        self.together = Barrier(TOGETHER)
        self.plain = self.socket
        self.serve_as(authority, clients)
        self.thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def serve_as(self, authority: Authority, clients: Authority | None) -> None:
        """Present a certificate of *authority*, and believe those of *clients*; None: ask for none, as of a pod."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*authority.certificate("server"))
        if clients is not None:
            self.context.load_verify_locations(clients.file)
            self.context.verify_mode = ssl.CERT_REQUIRED

    def get_request(self) -> tuple[ssl.SSLSocket, object]:
        """A connection, encrypted."""
        connection, address = super().get_request()
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, *_: object) -> None:
        """A handshake that fails is the tests' subject."""

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"https://127.0.0.1:{self.server_port}"

    def stream(self, handler: BaseHTTPRequestHandler) -> None:
        """Begin an answer that goes on until the server ends."""
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"line\n")
        self.ended.wait(60)
        handler.close_connection = True

    def stop(self) -> None:
        """Close everything."""
        self.ended.set()
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
