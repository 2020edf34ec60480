"""One thread that answers HTTP at any number of ports, which open and close while it runs.

A port that cannot be opened, as another process has it, is tried again until it can. Nothing waits for a client: reads
and writes do not block, and who is slow is ended (open_clients.py).
"""

import selectors
import time
from collections.abc import Callable, Mapping
from errno import EADDRNOTAVAIL, EAFNOSUPPORT
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_REUSEADDR,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)

from agent.log import logger
from agent.serve.open_clients import Client, OpenClients, Site
from agent.serve.plain_http import METHOD_GET, MOST_OCTETS, Answer, Request, request, written
from agent.threads import Threads, Worker

log = logger(__name__)

BACKLOG = 64
ACCEPTED = 16  # connections of one port before others have their turn
RETRY_S = 5.0  # between attempts at a port that is taken
BREATH_S = 0.1  # where no descriptor is left for who connects
ANY4, ANY6 = "0.0.0.0", "::"  # noqa: S104  load balancers reach the node by any address
NO_IPV6 = (EAFNOSUPPORT, EADDRNOTAVAIL)


Page = Callable[[str], Answer]  # of a path


class PortServer:
    """Answers where :meth:`serve` says, from :meth:`start` until :meth:`stop`."""

    def __init__(self, name: str, threads: Threads, clock: Callable[[], float] = time.monotonic) -> None:
        self._worker = Worker(threads, name, self._run)
        self._clock = clock
        self._wanted: Mapping[Site, Page] = {}
        self._refused: Mapping[Site, str] = {}
        self._listeners: dict[Site, socket] = {}
        self._clients = OpenClients(clock)
        self._selector = selectors.DefaultSelector()
        self._retry_at: float | None = None

    def start(self) -> None:
        """Begin, in the network namespace of the calling thread."""
        self._worker.start()

    def stop(self) -> None:
        """Close every port."""
        self._worker.stop()

    def serve(self, wanted: Mapping[Site, Page]) -> None:
        """Answer there and nowhere else, from any thread; returns at once."""
        self._wanted = wanted
        self._worker.rouse()

    def refused(self) -> Mapping[Site, str]:
        """Where it cannot listen, and why, from any thread."""
        return self._refused

    def _run(self) -> None:
        self._selector.register(self._worker.wake, selectors.EVENT_READ)
        try:
            while not self._worker.is_stopping:
                with self._worker.busy():
                    self._listen()
                    self._end_overdue()
                ready = self._selector.select(self._wait_s())
                with self._worker.busy():
                    for key, _ in ready:
                        self._turn(key.data)
        finally:
            self._close_all()

    def _turn(self, who: "Client | Site | None") -> None:
        if who is None:
            self._worker.look()
        elif isinstance(who, Site):
            self._accept(who)
        else:
            self._read(who)

    def _wait_s(self) -> float | None:
        retry_s = None if self._retry_at is None else max(0.0, self._retry_at - self._clock())
        waits = [wait_s for wait_s in (retry_s, self._clients.wait_s()) if wait_s is not None]
        return min(waits, default=None)

    def _listen(self) -> None:
        """Open and close ports; one that is refused is tried again in a while."""
        wanted = self._wanted
        for site in self._listeners.keys() - wanted.keys():
            self._close(site)
        is_due = self._retry_at is not None and self._clock() >= self._retry_at
        known = {} if is_due else {site: why for site, why in self._refused.items() if site in wanted}
        for site in sorted(wanted.keys() - self._listeners.keys() - known.keys()):
            if why := self._open(site):
                known[site] = why
        self._tell(known)
        if is_due or not known:
            self._retry_at = None
        if known and self._retry_at is None:
            self._retry_at = self._clock() + RETRY_S

    def _tell(self, refused: Mapping[Site, str]) -> None:
        for site in sorted(refused.keys() - self._refused.keys()):
            log.warning("cannot listen; tried again", address=site.address, port=site.port, why=refused[site])
        self._refused = refused

    def _open(self, site: Site) -> str:
        """Why it cannot; empty when it can, or nobody can ask as the kernel has no IPv6."""
        try:
            made = _listener(site)
        except OSError as error:
            return "" if site.address == ANY6 and error.errno in NO_IPV6 else str(error.strerror or error)
        self._listeners[site] = made
        self._selector.register(made, selectors.EVENT_READ, site)
        return ""

    def _close(self, site: Site) -> None:
        listener = self._listeners.pop(site)
        self._selector.unregister(listener)
        listener.close()
        for client in self._clients:
            if client.site == site:
                self._end(client)

    def _accept(self, site: Site) -> None:
        for _ in range(ACCEPTED):
            listener = self._listeners.get(site)
            if listener is None:
                return
            try:
                connection, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # it left already, or there is no descriptor
                log.debug("connection lost", port=site.port, why=str(error))
                self._worker.pause(BREATH_S)
                return
            self._admit(connection, site, address[0])

    def _admit(self, connection: socket, site: Site, address: str) -> None:
        connection.settimeout(0)
        client, victim = self._clients.admit(connection, site, address)
        self._selector.register(connection, selectors.EVENT_READ, client)
        if victim is not None:
            self._end(victim)
        self._read(client)  # most have asked already

    def _read(self, client: Client) -> None:
        if client.connection.fileno() < 0:  # it was ended in this very turn
            return
        try:
            octets = client.connection.recv(MOST_OCTETS)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        if not octets:
            self._end(client)
            return
        client.came += octets
        asked = request(bytes(client.came))
        if asked is not None:
            self._answer(client, asked)

    def _answer(self, client: Client, asked: Request | Answer) -> None:
        """Answer, and end the connection: a new one's send buffer has room for it, as the answers are short."""
        try:
            client.connection.send(self._said(client, asked))
        except OSError as error:
            log.debug("answer lost", port=client.site.port, why=str(error))
        self._end(client)

    def _said(self, client: Client, asked: Request | Answer) -> bytes:
        if isinstance(asked, Answer):
            return written(asked, with_body=True)
        page = self._wanted.get(client.site)
        return written(page(asked.path), with_body=asked.method == METHOD_GET) if page is not None else b""

    def _end(self, client: Client) -> None:
        self._clients.gone(client)
        if client.connection.fileno() >= 0:
            self._selector.unregister(client.connection)
            client.connection.close()

    def _end_overdue(self) -> None:
        for client in self._clients.overdue():
            self._end(client)

    def _close_all(self) -> None:
        for site in tuple(self._listeners):
            self._close(site)
        self._selector.close()


def _listener(site: Site) -> socket:
    made = socket(AF_INET6 if ":" in site.address else AF_INET, SOCK_STREAM | SOCK_NONBLOCK)
    try:
        made.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        if made.family == AF_INET6:
            made.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        made.bind((site.address, site.port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made
