"""One thread serves many ports: they open and close live, and no client is in another's way."""

import contextlib
import http.client
import socket
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

import pytest

from agent.serve import port_server
from agent.serve.connections import WHOLE_S
from agent.serve.open_clients import MOST, MOST_OF_ONE, OpenClients, Site, who
from agent.serve.plain_http import Answer
from agent.serve.port_server import PortServer
from agent.threads import Threads

LOCAL, LOCAL6 = "127.0.0.1", "::1"
FreePort = Callable[[], int]


def says(text: str) -> Callable[[str], Answer]:
    return lambda path: Answer(HTTPStatus.OK, f"{text} {path}")


def get(site: Site, path: str = "/", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection(site.address, site.port, timeout=60)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def eventually(holds: Callable[[], bool], within_s: float = 60.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.01)
    return holds()


def is_closed(site: Site) -> bool:
    with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
        socket.create_connection((site.address, site.port), 5).close()
        return False
    return True


@pytest.fixture
def threads() -> Threads:
    return Threads()


@pytest.fixture
def server(threads: Threads) -> Iterator[PortServer]:
    made = PortServer("health ports", threads)
    made.start()
    yield made
    assert threads.trouble() == ""
    made.stop()


def open_at(server: PortServer, *sites: Site) -> None:
    server.serve({site: says(str(site.port)) for site in sites})
    assert eventually(lambda: not any(map(is_closed, sites)))


def test_ports_of_both_families_open_and_close_while_it_runs(server: PortServer, free_port: FreePort) -> None:
    port, other = free_port(), free_port()
    sites = (Site(LOCAL, port), Site(LOCAL6, port), Site(LOCAL, other))
    open_at(server, *sites)
    assert get(sites[0], "/a") == (200, f"{port} /a")
    assert get(sites[1], "/b?c") == (200, f"{port} /b")
    assert get(sites[2], method="HEAD") == (200, "")
    server.serve({sites[1]: says("still")})
    assert eventually(lambda: is_closed(sites[0]) and is_closed(sites[2]))
    assert get(sites[1]) == (200, "still /")


def test_its_end_closes_every_port(threads: Threads, free_port: FreePort) -> None:
    made, site = PortServer("health ports", threads), Site(LOCAL, free_port())
    made.start()
    open_at(made, site)
    made.stop()
    assert is_closed(site)
    assert threads.trouble() == ""


def test_a_port_in_use_is_told_and_opens_once_it_is_free(
    server: PortServer, monkeypatch: pytest.MonkeyPatch, free_port: FreePort
) -> None:
    monkeypatch.setattr(port_server, "RETRY_S", 0.1)
    with socket.socket() as holder:
        holder.bind((LOCAL, 0))
        holder.listen()
        site, free = Site(LOCAL, holder.getsockname()[1]), Site(LOCAL, free_port())
        server.serve({site: says("mine"), free: says("free")})
        assert eventually(lambda: server.refused() == {site: "Address already in use"})
        assert eventually(lambda: not is_closed(free)), "the others are served meanwhile"
    assert eventually(lambda: not server.refused())
    assert get(site) == (200, "mine /")


def test_a_port_that_is_not_wanted_any_more_is_no_trouble(server: PortServer) -> None:
    with socket.socket() as holder:
        holder.bind((LOCAL, 0))
        holder.listen()
        server.serve({Site(LOCAL, holder.getsockname()[1]): says("mine")})
        assert eventually(lambda: bool(server.refused()))
        server.serve({})
        assert eventually(lambda: not server.refused())


def test_clients_that_say_nothing_or_little_hold_nobody_up(
    server: PortServer, free_port: FreePort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.serve.connections.WHOLE_S", 1e6)  # none ends by itself
    site = Site(LOCAL, free_port())
    open_at(server, site)
    with contextlib.ExitStack() as stack:
        for number in range(3 * MOST_OF_ONE):
            slow = stack.enter_context(socket.create_connection((LOCAL, site.port), 5))
            if number % 2:
                slow.sendall(b"GET / HT")
        assert get(site) == (200, f"{site.port} /")


def test_a_request_may_come_octet_by_octet(server: PortServer, free_port: FreePort) -> None:
    site = Site(LOCAL, free_port())
    open_at(server, site)
    with socket.create_connection((LOCAL, site.port), 5) as slow:
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in b"GET / HTTP/1.1\r\n\r\n":
            slow.sendall(bytes([octet]))
        assert slow.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_request_without_an_end_is_refused(server: PortServer, free_port: FreePort) -> None:
    site = Site(LOCAL, free_port())
    open_at(server, site)
    with socket.create_connection((LOCAL, site.port), 5) as hostile:
        with contextlib.suppress(OSError):
            hostile.sendall(b"a" * 4096)
        assert hostile.recv(4096).startswith(b"HTTP/1.1 431 ")


def test_a_client_that_reads_nothing_and_leaves_is_no_trouble(server: PortServer, free_port: FreePort) -> None:
    site = Site(LOCAL, free_port())
    open_at(server, site)
    for _ in range(50):
        with socket.create_connection((LOCAL, site.port), 5) as rude:
            rude.sendall(b"GET / HTTP/1.1\r\n\r\n")
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert get(site)[0] == 200


class Clock:
    """A clock that stands until it is set."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def sockets() -> Iterator[Callable[[], socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(socket.socket())


def test_a_client_with_too_many_connections_loses_its_own(sockets: Callable[[], socket.socket]) -> None:
    clients, site = OpenClients(Clock()), Site(LOCAL, 80)
    honest, _ = clients.admit(sockets(), site, "192.0.2.1")
    first, none = clients.admit(sockets(), site, "198.51.100.1")
    assert none is None
    for _ in range(MOST_OF_ONE - 1):
        assert clients.admit(sockets(), site, "198.51.100.1")[1] is None
    _, victim = clients.admit(sockets(), site, "198.51.100.1")
    assert victim is first
    assert honest in tuple(clients)


def test_where_many_clients_are_connected_the_oldest_goes(sockets: Callable[[], socket.socket]) -> None:
    clients, site = OpenClients(Clock()), Site(LOCAL, 80)
    made = [clients.admit(sockets(), site, f"10.0.{number // 200}.{number % 200}") for number in range(MOST + 1)]
    assert [victim for _, victim in made] == [*([None] * MOST), made[0][0]]


def test_a_connection_that_lasts_too_long_is_overdue(sockets: Callable[[], socket.socket]) -> None:
    clock = Clock()
    clients = OpenClients(clock)
    assert clients.wait_s() is None
    client, _ = clients.admit(sockets(), Site(LOCAL, 80), LOCAL)
    clock.now = WHOLE_S - 1
    assert (clients.overdue(), clients.wait_s()) == ((), 1)
    clock.now = WHOLE_S
    assert clients.overdue() == (client,)
    clients.gone(client)
    assert (tuple(clients), clients.overdue()) == ((), ())


@pytest.mark.parametrize(
    ("address", "name"),
    [
        pytest.param("192.0.2.1", "192.0.2.1", id="an IPv4 client is its address"),
        pytest.param("2001:db8:1:2:3::4", "2001:db8:1:2::", id="an IPv6 client is its network"),
        pytest.param("fe80::1%eth0", "fe80::", id="a scope is no part of it"),
    ],
)
def test_who_a_client_is(address: str, name: str) -> None:
    assert who(address) == name
