"""Metrics and health over HTTP: ``/metrics`` for Prometheus, ``/livez`` and ``/readyz`` for the kubelet.

A server of its own, on loopback unless told otherwise; it reads values when asked and changes nothing.
"""

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from agent.errors import ConfigError
from agent.log import logger

log = logger(__name__)

IDLE_S = 30  # a caller that says nothing for that long is let go
_TEXT = "text/plain; charset=utf-8"

Probe = Callable[[], str]  # why not; empty: all is well
_Page = tuple[HTTPStatus, str, bytes]


class HttpServer:
    """Serves one registry and two probes, a thread per request, until :meth:`stop`."""

    def __init__(
        self, listen: tuple[str, int], registry: CollectorRegistry, *, ready: Probe, alive: Probe = lambda: ""
    ) -> None:
        """Bind *listen*, host and port; port 0 takes a free one.

        Raises:
            ConfigError: the address cannot be bound.
        """
        handler = _handler(registry, {"/livez": alive, "/readyz": ready})
        kind = _Server6 if ":" in listen[0] else _Server4
        try:
            self._server = kind(listen, handler)
        except OSError as error:
            where = f"{listen[0]} port {listen[1]}"
            raise ConfigError(f"--listen: {where}: {error.strerror}; name a free address of this node") from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Serve from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server4(ThreadingHTTPServer):
    address_family = AF_INET
    daemon_threads = True


class _Server6(_Server4):
    address_family = AF_INET6


def _handler(registry: CollectorRegistry, probes: dict[str, Probe]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = IDLE_S

        def do_GET(self) -> None:
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
