"""The one client for whatever talks to the API server: watches and Events, from any thread.

The official client gives configuration (kubeconfig, service account, tokens) and transport; bodies pass as bytes, its
models are not used. It renews a service account's token by itself, but reads a kubeconfig once: a server that does not
know us any more (401), that we do not know (TLS), or that is not there, has the configuration read again with the next
request.
"""

import contextlib
import socket
import ssl
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from threading import Lock, Thread
from urllib.parse import urlencode, urlsplit
from weakref import WeakSet

import kubernetes.client
import kubernetes.config
import urllib3
import yaml

from agent.errors import ConfigError
from agent.kube.retry import Refusal, refusal
from agent.log import logger

log = logger(__name__)

AGENT = "sluiceway-agent"
CONNECT_S = 10.0
CONNECTIONS = 8  # kept open at most; more are made when more are needed at once

# a server that is gone without a word is noticed after 15 + 3 * 5 s
KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
]

# what comes of the network, the server or a file of the configuration, and passes
TROUBLE = (
    urllib3.exceptions.HTTPError,
    kubernetes.client.ApiException,
    kubernetes.config.ConfigException,
    ConfigError,
    OSError,
)
# what the official client raises for a configuration that is not there, or has another form than it expects
_UNUSABLE = (
    kubernetes.config.ConfigException,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    yaml.YAMLError,
)
Query = tuple[tuple[str, str], ...]
Connect = Callable[[], kubernetes.client.ApiClient]


def connect(kubeconfig: Path | None) -> kubernetes.client.ApiClient:
    """The official client, for the API server of *kubeconfig*, or of the pod we run in.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    configuration = kubernetes.client.Configuration()
    try:
        if kubeconfig is not None:
            kubernetes.config.load_kube_config(  # type: ignore[no-untyped-call]
                str(kubeconfig), client_configuration=configuration, persist_config=False
            )
        else:
            kubernetes.config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        _check(configuration)
    except _UNUSABLE as error:
        where = f"--kubeconfig {kubeconfig}" if kubeconfig else "the pod's service account"
        raise ConfigError(f"cannot use {where}: {' '.join(str(error).split()) or type(error).__name__}") from error
    configuration.socket_options = KEEPALIVE
    configuration.retries = urllib3.Retry(0, redirect=3)  # those who ask try again, each in its own way
    configuration.connection_pool_maxsize = CONNECTIONS
    return kubernetes.client.ApiClient(configuration)


def _check(configuration: kubernetes.client.Configuration) -> None:
    """Look now at what the first request would find wrong."""
    server = urlsplit(configuration.host)
    if server.scheme not in {"http", "https"} or not server.hostname:
        raise ValueError(f"server {configuration.host!r} is no https://HOST:PORT")
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)


class Refused(Exception):  # noqa: N818  the name says what is wrong
    """The API server answered, and did not do it."""

    def __init__(self, asked: str, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(f"{asked}: {refusal}")


class Client:
    """Requests to one API server: the configuration's, or the one that :meth:`ask` names."""

    def __init__(self, connect: Connect) -> None:
        """*connect* is :func:`connect` with its argument; called when it is needed, and when credentials failed."""
        self._connect = connect
        self._lock = Lock()
        self._api: kubernetes.client.ApiClient | None = None
        self._open: WeakSet[urllib3.BaseHTTPResponse] = WeakSet()
        self.server = ""  # a URL without a path; empty: the configuration's
        self.on_unreachable: Callable[[], None] = lambda: None  # the server took no connection

    def ask(self, server: str) -> None:
        """Ask this server from now on, as a URL without a path; what another is still answering ends."""
        self.server = server
        for response in tuple(self._open):
            with contextlib.suppress(ValueError, RuntimeError, OSError):  # it is closed, or read to its end
                response.shutdown()

    def own_server(self) -> str:
        """The server that the configuration names.

        Raises:
            TROUBLE: it cannot be read; another time it may be.
        """
        return str(self._connected().configuration.host)

    def check(self) -> None:
        """Read the configuration, so that what is wrong with it is known; a plugin that hangs is not waited for.

        Raises:
            ConfigError: the configuration cannot be read.
        """
        failed: list[ConfigError] = []

        def read() -> None:
            try:
                self._connected()
            except ConfigError as error:
                failed.append(error)

        reader = Thread(target=read, name="credentials", daemon=True)
        reader.start()
        reader.join(CONNECT_S)
        if failed:
            raise failed[0]
        if reader.is_alive():
            log.warning("credentials are not there yet; they are waited for", waited_s=CONNECT_S)

    def get(self, path: str, query: Query, read_timeout_s: float) -> urllib3.BaseHTTPResponse:
        """The answer to a GET, its body still to be read and closed by the caller.

        Raises:
            TROUBLE: there is none; another time there may be.
        """
        response = self._ask("GET", f"{path}?{urlencode(query)}", None, "", (CONNECT_S, read_timeout_s))
        self._open.add(response)
        return response

    def get_from(self, server: str, path: str, timeout_s: float) -> urllib3.BaseHTTPResponse:
        """The same of another server, whatever is asked otherwise; *timeout_s* is for all that it waits for.

        Raises:
            TROUBLE: there is none; another time there may be.
        """
        return self._request(self._connected(), server, "GET", path, timeout=timeout_s)

    def send(self, method: str, path: str, content: object, content_type: str, timeout_s: float) -> bytes:
        """The body of the answer to a POST, PATCH or PUT that the server carried out.

        Raises:
            Refused: it did not.
            TROUBLE: there is no answer; another time there may be.
        """
        response = self._ask(method, path, content, content_type, timeout_s)
        body: bytes = response.read()  # with which the connection is free for the next
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise Refused(f"{method} {path}", refusal(response.status, body, response.headers.get("Retry-After", "")))
        return body

    def _ask(
        self, method: str, path: str, content: object, content_type: str, timeout: float | tuple[float, float]
    ) -> urllib3.BaseHTTPResponse:
        api = self._connected()
        try:
            response = self._request(
                api, self.server, method, path, content=content, content_type=content_type, timeout=timeout
            )
        except TROUBLE as error:
            is_unreachable = _is(error, urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
            if is_unreachable or _is(error, ssl.SSLError, urllib3.exceptions.SSLError):
                self._distrust(api)
                self.on_unreachable()
            raise
        if response.status == HTTPStatus.UNAUTHORIZED:
            self._distrust(api)
        return response

    def _request(  # noqa: PLR0913  what a request has
        self,
        api: kubernetes.client.ApiClient,
        server: str,
        method: str,
        path: str,
        *,
        timeout: float | tuple[float, float],
        content: object = None,
        content_type: str = "",
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": AGENT}
        if content_type:
            headers["Content-Type"] = content_type
        api.update_params_for_auth(headers, [], ["BearerToken"], path, method, content)
        url = f"{server or api.configuration.host}{path}"
        response: urllib3.BaseHTTPResponse
        response = api.call_api(method, url, headers, body=content, _request_timeout=timeout).response
        return response

    def _connected(self) -> kubernetes.client.ApiClient:
        if not self._lock.acquire(timeout=CONNECT_S):
            raise ConfigError(f"credentials are waited for longer than {CONNECT_S:.0f} s: does an exec plugin hang?")
        try:
            if self._api is None:
                self._api = self._connect()
            return self._api
        finally:
            self._lock.release()

    def _distrust(self, api: kubernetes.client.ApiClient) -> None:
        """Read the configuration anew with the next request, unless another thread has done so since."""
        with self._lock:
            if self._api is api:
                self._api = None


def _is(error: BaseException | None, *kinds: type[BaseException]) -> bool:
    """Whether an error, or what is behind it, is of one of these."""
    while error is not None:
        if isinstance(error, kinds):
            return True
        reason = getattr(error, "reason", None)
        error = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
    return False
