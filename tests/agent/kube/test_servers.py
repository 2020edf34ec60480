"""Which of several API servers is asked."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from agent.kube.client import TROUBLE, Client, connect
from agent.kube.servers import FAILURES, Servers
from agent.threads import Threads
from tests.agent.kube.tls_server import Api, Authority, kubeconfig

NOWHERE_PORT = 9  # nobody listens there
NOWHERE = f"https://127.0.0.1:{NOWHERE_PORT}"


@pytest.fixture
def other(authorities: tuple[Authority, Authority]) -> Iterator[Api]:
    other = Api(authorities[0], authorities[0])
    yield other
    other.stop()


@pytest.fixture
def configured(authorities: tuple[Authority, Authority], tmp_path: Path) -> Callable[[int], Client]:
    """A client whose configuration names a port."""

    def client(port: int) -> Client:
        path = tmp_path / "kubeconfig"
        kubeconfig(path, port, authorities[0], authorities[0].certificate("client"))
        return Client(lambda: connect(path))

    return client


def made(client: Client, *named: str, serves: bool = False) -> Servers:
    return Servers(client, named, Threads(), serves=lambda: serves, period_s=0.02)


def test_the_first_named_is_asked_before_the_service_is_served(api: Api, configured: Callable[[int], Client]) -> None:
    client = configured(NOWHERE_PORT)
    made(client, api.url).look()
    assert client.server == api.url
    assert client.get("/version", (), 5.0).status == 200


def test_the_service_is_asked_once_it_is_served(api: Api, other: Api, configured: Callable[[int], Client]) -> None:
    client = configured(api.server_port)
    made(client, other.url, serves=True).look()
    assert client.server == api.url


def test_a_service_that_does_not_answer_is_not_asked(api: Api, configured: Callable[[int], Client]) -> None:
    client = configured(NOWHERE_PORT)
    made(client, api.url, serves=True).look()
    assert client.server == api.url


def test_one_that_takes_no_connection_is_left_at_once(api: Api, configured: Callable[[int], Client]) -> None:
    client = configured(NOWHERE_PORT)
    servers = made(client, NOWHERE, api.url)
    servers.start()
    try:
        with pytest.raises(TROUBLE):
            client.get("/version", (), 5.0)
        until(lambda: client.server == api.url)
    finally:
        servers.stop()
    assert client.get("/version", (), 5.0).status == 200


def test_one_that_is_ill_is_left_after_a_while(api: Api, other: Api, configured: Callable[[int], Client]) -> None:
    client = configured(NOWHERE_PORT)
    servers = made(client, api.url, other.url)
    api.is_ill = True
    for _ in range(FAILURES - 1):
        servers.look()
        assert client.server == api.url
    servers.look()
    assert client.server == other.url


def test_one_that_is_well_again_is_kept(api: Api, other: Api, configured: Callable[[int], Client]) -> None:
    client = configured(NOWHERE_PORT)
    servers = made(client, api.url, other.url)
    for is_ill in (True, True, False) * 2:
        api.is_ill = is_ill
        servers.look()
    assert client.server == api.url


def test_when_none_is_well_the_one_in_use_stays(api: Api, configured: Callable[[int], Client]) -> None:
    client = configured(NOWHERE_PORT)
    servers = made(client, api.url, NOWHERE)
    api.is_ill = True
    for _ in range(FAILURES + 1):
        servers.look()
    assert client.server == api.url


def test_a_service_that_fails_is_left_for_those_named(
    api: Api, other: Api, configured: Callable[[int], Client]
) -> None:
    client = configured(api.server_port)
    servers = made(client, NOWHERE, other.url, serves=True)
    servers.look()
    assert client.server == api.url
    api.is_ill = True
    servers.look(is_unreachable=True)
    assert client.server == other.url


def test_what_the_one_before_is_still_answering_ends(api: Api, other: Api, configured: Callable[[int], Client]) -> None:
    client = configured(NOWHERE_PORT)
    client.ask(api.url)
    response = client.get("/stream", (), 60.0)
    assert response.read1(5) == b"line\n"
    ended: list[float] = []

    def read() -> None:
        response.read1(1)
        ended.append(time.monotonic())

    reader = Thread(target=read)
    reader.start()
    client.ask(other.url)
    reader.join(60)
    assert ended


def until(holds: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
