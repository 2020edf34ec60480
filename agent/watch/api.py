"""Watches an API server: one thread per resource performs what stream.py asks, decodes, tells mirror.

The official client gives configuration (kubeconfig, service account, tokens) and transport; bodies and lines pass as
bytes, its models are not used. It renews a service account's token by itself, but reads a kubeconfig's ``tokenFile``
once: a server that does not know us any more (401) has it read again.
"""

import contextlib
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from threading import Event, Thread
from types import MappingProxyType
from urllib.parse import urlencode

import kubernetes.client
import kubernetes.config
import urllib3

from agent.errors import ConfigError
from agent.log import logger
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.reader import Decoded, Kind
from agent.watch.mirror import Expected, Mirror
from agent.watch.stream import Changed, Listed, Request, Stream
from agent.watch.stream import Event as StreamEvent

log = logger(__name__)

SOURCE = "api"
CONNECT_S = 10.0
CHUNK = 1 << 16  # bytes read at once at most

PATHS: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.SERVICE: "/api/v1/services",
        Kind.ENDPOINT_SLICE: "/apis/discovery.k8s.io/v1/endpointslices",
        Kind.NODE: "/api/v1/nodes",
        Kind.POD: "/api/v1/pods",
        Kind.NAMESPACE: "/api/v1/namespaces",
    }
)
EXPECTED: tuple[Expected, ...] = tuple((SOURCE, kind) for kind in PATHS)

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
Connect = Callable[[], kubernetes.client.ApiClient]


@dataclass(frozen=True, slots=True)
class WatchStatus:
    """How one watch fares."""

    kind: Kind
    is_listed: bool  # a whole list has come since the start
    trouble: str  # why it is being tried again; empty while all is well
    restarts: int
    events: int
    last_event: float  # of the monotonic clock; 0 before the first


def client(kubeconfig: Path | None) -> kubernetes.client.ApiClient:
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
    except (kubernetes.config.ConfigException, OSError, ValueError) as error:
        where = f"--kubeconfig {kubeconfig}" if kubeconfig else "the pod's service account"
        raise ConfigError(f"cannot read {where}: {error}") from error
    configuration.socket_options = KEEPALIVE
    configuration.retries = urllib3.Retry(0, redirect=3)
    configuration.connection_pool_maxsize = len(PATHS)
    return kubernetes.client.ApiClient(configuration)


class ApiSource:
    """All watches of one API server."""

    def __init__(self, connect: Connect, node_name: str, mirror: Mirror) -> None:
        """*connect* is :func:`client` with its argument.

        Raises:
            ConfigError: as *connect* does.
        """
        self._stopping = Event()
        api = connect()
        self._watches = [_Watch(api, connect, kind, node_name, mirror, self._stopping) for kind in PATHS]

    def start(self) -> None:
        """Begin to watch; an API server that does not answer is tried again and again."""
        for watch in self._watches:
            watch.thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the threads; they are daemons, so that a silent connection does not keep us."""
        self._stopping.set()
        for watch in self._watches:
            watch.cut()
        until = time.monotonic() + timeout_s
        for watch in self._watches:
            watch.thread.join(max(0.0, until - time.monotonic()))

    def status(self) -> tuple[WatchStatus, ...]:
        """How each watch fares."""
        return tuple(watch.status() for watch in self._watches)


class _Watch:
    """One resource's thread."""

    def __init__(  # noqa: PLR0913, PLR0917  one caller
        self,
        api: kubernetes.client.ApiClient,
        connect: Connect,
        kind: Kind,
        node_name: str,
        mirror: Mirror,
        stopping: Event,
    ) -> None:
        self._api = api
        self._connect = connect
        self._kind = kind
        self._mirror = mirror
        self._stopping = stopping
        self._decoder = Decoder(node_name)
        self._selector = f"spec.nodeName={node_name}" if kind is Kind.POD else ""
        # jitter between nodes, nothing that anyone must not guess
        self._stream = Stream(random.random, time.monotonic)
        self._response: urllib3.BaseHTTPResponse | None = None
        self._events = 0
        self._last_event = 0.0
        self._told = ""
        self.thread = Thread(target=self._run, name=f"watch-{PATHS[kind].rpartition('/')[2]}", daemon=True)

    def status(self) -> WatchStatus:
        stream = self._stream
        return WatchStatus(
            kind=self._kind,
            is_listed=stream.is_listed,
            trouble=stream.trouble,
            restarts=stream.restarts,
            events=self._events,
            last_event=self._last_event,
        )

    def cut(self) -> None:
        """Wake the thread out of a read."""
        response = self._response
        if response is not None:
            with contextlib.suppress(ValueError, RuntimeError, OSError):  # it is closed, or read to its end
                response.shutdown()

    def _run(self) -> None:
        while not self._stopping.is_set():
            request = self._stream.request()
            if self._stopping.wait(request.delay_s):
                return
            try:
                self._perform(request)
            except TROUBLE as error:
                self._stream.failed(_one_line(error), was_answered=self._response is not None)
            # a watch that dies in silence is worse than any error; what it was told may not have reached the mirror
            except Exception as error:
                log.exception("watch failed", kind=self._kind)
                self._stream.lost(_one_line(error))
            finally:
                self._release()
            if not self._stopping.is_set():
                self._tell()

    def _perform(self, request: Request) -> None:
        response = self._get(request)
        if response.status != HTTPStatus.OK:
            retry_after = response.headers.get("Retry-After", "")
            self._stream.refused(response.status, response.data, float(retry_after) if retry_after.isdecimal() else 0.0)
            if response.status == HTTPStatus.UNAUTHORIZED:
                self._api = self._connect()
            return
        self._response = response
        if not request.is_stream:
            self._take(self._stream.body(response.data))
            return
        for lines in _lines(response):
            self._take(event for line in lines for event in self._stream.line(line))
            if self._stream.is_cut:
                return
        self._stream.ended()

    def _get(self, request: Request) -> urllib3.BaseHTTPResponse:
        query = request.query + ((("fieldSelector", self._selector),) if self._selector else ())
        headers = {"Accept": "application/json", "User-Agent": "sluiceway-agent"}
        self._api.update_params_for_auth(headers, [], ["BearerToken"], PATHS[self._kind], "GET", None)
        url = f"{self._api.configuration.host}{PATHS[self._kind]}?{urlencode(query)}"
        answer = self._api.call_api("GET", url, headers, _request_timeout=(CONNECT_S, request.read_timeout_s))
        response: urllib3.BaseHTTPResponse = answer.response
        return response

    def _take(self, events: Iterator[StreamEvent]) -> None:
        """Tell the mirror; what came in one read makes one Cluster."""
        changes: list[Decoded] = []
        for event in events:
            self._events += 1
            self._last_event = time.monotonic()
            match event:
                case Listed(objects):
                    listed = [self._decoder.decode(self._kind, content) for content in objects]
                    self._mirror.replace(SOURCE, self._kind, listed)
                    changes = []  # those before a list are in it
                    self._tell()
                    log.info("listed", kind=self._kind, objects=len(listed))
                case Changed(content, is_deleted):
                    decode = self._decoder.deleted if is_deleted else self._decoder.decode
                    changes.append(decode(self._kind, content))
        if changes:
            self._mirror.change(SOURCE, changes)

    def _tell(self) -> None:
        """Log trouble once, and its end."""
        trouble = self._stream.trouble
        if trouble and trouble != self._told:
            log.warning("watch is tried again; the last state is kept", kind=self._kind, why=trouble)
        elif self._told and not trouble:
            log.info("watch works again", kind=self._kind)
        self._told = trouble

    def _release(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[list[bytes]]:
    """The lines of a watch, as many at once as have arrived; a line cut off at the end is dropped."""
    rest = b""
    while chunk := response.read1(CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield lines


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
