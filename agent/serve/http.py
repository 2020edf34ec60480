"""Metrics and health over HTTP: ``/metrics`` for Prometheus, ``/livez`` and ``/readyz`` for the kubelet.

A server of its own, on loopback unless --listen names another address; it reads values when asked and changes nothing.
Whoever is on the node may connect, so connections are few and short (connections.py).
"""

import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from agent.errors import ConfigError
from agent.log import logger
from agent.serve.connections import WHOLE_S, Connections
from agent.serve.port_server import ANY4, ANY6, NO_IPV6
from agent.threads import Threads

log = logger(__name__)

BACKLOG = 64
POLL_S = 0.5  # between looks for connections that last too long
_TEXT = "text/plain; charset=utf-8"

Probe = Callable[[], str]  # why not; empty: all is well
_Page = tuple[HTTPStatus, str, bytes]


class HttpServer:
    """Serves one registry and two probes, a thread per request, until :meth:`stop`."""

    def __init__(
        self, listener: socket, registry: CollectorRegistry, threads: Threads, *, ready: Probe, alive: Probe
    ) -> None:
        """Serve on *listener*, of :func:`bound`, which is closed at the end; until :meth:`start` nobody can connect."""
        self._server = _Server(listener, _handler(registry, {"/livez": alive, "/readyz": ready}))
        self._thread = threads.make("http", lambda: self._server.serve_forever(POLL_S))

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Serve from now on.

        Raises:
            OSError: another listens there since.
        """
        self._server.socket.listen(BACKLOG)
        self._thread.start()

    def stop(self) -> None:
        """Serve no more."""
        self._thread.end()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def bound(listen: tuple[str, int]) -> socket:
    """A socket at *listen*, host and port; port 0 takes a free one, ``::`` is every address of both families.

    Raises:
        ConfigError: the address cannot be bound.
    """
    try:
        return _bound(listen)
    except OSError as error:
        if listen[0] == ANY6 and error.errno in NO_IPV6:
            return bound((ANY4, listen[1]))
        where = f"{listen[0]} port {listen[1]}"
        raise ConfigError(f"--listen: {where}: {error.strerror}; name a free address of this node") from error


def _bound(listen: tuple[str, int]) -> socket:
    made = socket(AF_INET6 if ":" in listen[0] else AF_INET, SOCK_STREAM)
    try:
        made.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        if listen[0] == ANY6:
            made.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0)
        made.bind(listen)
    except OSError:
        made.close()
        raise
    return made


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket, handler: type[BaseHTTPRequestHandler]) -> None:
        self.connections = Connections()
        super().__init__(listener.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()  # the base's own
        self.socket = listener

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002  the base's signature
        """Take the connection in, in the place of another where there are too many."""
        self.connections.admit(request)
        return True

    def close_request(self, request: Any) -> None:
        """Give its place away."""
        self.connections.gone(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  the base's signature
        """Log that an answer was lost, as when its connection was ended meanwhile; the base would print a traceback."""
        log.debug("HTTP request failed", error=repr(sys.exception()))

    def service_actions(self) -> None:
        """Between two connections, and twice a second."""
        self.connections.end_overdue()


def _handler(registry: CollectorRegistry, probes: dict[str, Probe]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = WHOLE_S
        server: _Server
        connection: socket

        def do_GET(self) -> None:
            self.server.connections.answering(self.connection)
            status, kind, body = self._page()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815  as above

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
            log.debug("HTTP request", line=format % args)

        def _page(self) -> _Page:
            path = urlsplit(self.path).path
            if path == "/metrics":
                encode, kind = choose_encoder(self.headers.get("Accept", ""))
                return HTTPStatus.OK, kind, encode(registry)
            if path in probes:
                return _health(probes[path]())
            return HTTPStatus.NOT_FOUND, _TEXT, b"/metrics, /livez, /readyz\n"

    return Handler


def _health(trouble: str) -> _Page:
    if trouble:
        return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"{trouble}\n".encode()
    return HTTPStatus.OK, _TEXT, b"ok\n"
