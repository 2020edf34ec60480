"""The sockets of AF_XDP: what pods send there, and the folders that pods mount and may put something else into."""

import os
import socket
import stat
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event

import pytest

from agent.kernel.device.interface import AfXdpInterface
from agent.kernel.device.pod_folders import PodFolders
from agent.kernel.device.xsk_sockets import AF_XDP, SO_BUSY_POLL, SOCKET, XskSockets, listening_in
from agent.model.attachment import AfXdp
from agent.netlink.cookie import netns_cookie
from agent.threads import Threads

PATIENCE_S = 60.0
HOURS_S = 4 * 3600


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of the node's that is root's alone."""
    path = tmp_path / "shadow"
    path.write_text("secret")
    path.chmod(0o600)
    return path


@pytest.fixture
def gate() -> Event:
    """Open while the agent may give a map."""
    made = Event()
    made.set()
    return made


@pytest.fixture
def sockets(tmp_path: Path, gate: Event) -> Iterator[XskSockets]:
    """Those of a node, where every map is the same."""

    @contextmanager
    def map_of(_device: str) -> Iterator[int]:
        assert gate.wait(PATIENCE_S)
        with Path("/dev/null").open("rb") as given:
            yield given.fileno()

    made = XskSockets(tmp_path, map_of, Threads())
    yield made
    made.stop()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def interface(name: str) -> AfXdpInterface:
    """One of a pod of that name, which is in this test's own namespace."""
    return AfXdpInterface(f"sw-{name}", "eth0", "/proc/self/ns/net", netns_cookie(), AfXdp(f"pods/shop/{name}/eth0"))


@contextmanager
def asking(root: Path, one: AfXdpInterface) -> Iterator[socket.socket]:
    """A pod's connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection, ExitStack() as stack:
        connection.settimeout(PATIENCE_S)
        folder = os.open(root / one.afxdp.place, os.O_PATH)
        stack.callback(os.close, folder)
        connection.connect(f"/proc/self/fd/{folder}/{SOCKET}")
        yield connection


def said(connection: socket.socket, message: bytes, *beside: int) -> bytes:
    """What a message is answered, with descriptors beside it."""
    socket.send_fds(connection, [message], beside)
    return connection.recv(256)


@contextmanager
def lingering() -> Iterator[socket.socket]:
    """A TCP connection that nobody reads, full, which whoever closes it waits for; it is broken at the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as stack:
        mine = stack.enter_context(socket.create_connection(listening.getsockname()))
        other, _ = listening.accept()
        stack.callback(other.close)  # before mine
        mine.settimeout(0)
        with suppress(BlockingIOError):
            while mine.send(bytes(1 << 16)):
                pass
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, HOURS_S))
        yield mine


def send_the_last(connection: socket.socket, message: bytes, sent: socket.socket, gate: Event) -> None:
    """Send what is nobody's any more when the agent takes it, which is busy with another message until then."""
    gate.clear()
    connection.send(b"/xsk_map_fd,eth0")
    socket.send_fds(connection, [message], [sent.fileno()])
    sent.close()
    gate.set()
    assert connection.recv(256) == b"/fd_ack"


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_connection_that_lingers_holds_up_nobody_but_its_sender(
    sockets: XskSockets, tmp_path: Path, gate: Event
) -> None:
    hostile, other = interface("hostile"), interface("web")
    sockets.open(hostile)
    sockets.open(other)
    with ThreadPoolExecutor(1) as pool, lingering() as sent, asking(tmp_path, hostile) as bad:
        send_the_last(bad, b"/version", sent, gate)
        with asking(tmp_path, other) as good:
            assert said(good, b"/version") == b"0.1"
        assert pool.submit(sockets.is_open, other).result(PATIENCE_S)
        pool.submit(sockets.close, hostile.host_device, hostile.afxdp.place, {other.afxdp.place}).result(PATIENCE_S)
        assert not (tmp_path / hostile.afxdp.place).exists()


def test_a_connection_in_place_of_an_af_xdp_socket_is_closed_without_a_wait(
    sockets: XskSockets, tmp_path: Path, gate: Event
) -> None:
    one = interface("web")
    sockets.open(one)
    with lingering() as sent, asking(tmp_path, one) as connection:
        send_the_last(connection, b"/config_busy_poll,1,1", sent, gate)
        assert connection.recv(256) == b"/config_busy_poll_nak"
        assert said(connection, b"/version") == b"0.1"


def test_what_comes_beside_messages_takes_none_of_the_agents_descriptors(sockets: XskSockets, tmp_path: Path) -> None:
    one = interface("web")
    sockets.open(one)
    with asking(tmp_path, one) as connection, Path("/dev/null").open("rb") as null:
        said(connection, b"/version")
        before = descriptors()
        for _ in range(100):
            assert said(connection, b"/config_busy_poll,1,1", *[null.fileno()] * 4) == b"/config_busy_poll_nak"
            assert said(connection, b"/connect,web", *[null.fileno()] * 4) == b"/host_ok"
        assert descriptors() == before


@pytest.mark.kernel
def test_an_af_xdp_socket_is_polled_as_its_owner_asks(sockets: XskSockets, tmp_path: Path) -> None:
    one = interface("web")
    sockets.open(one)
    with asking(tmp_path, one) as connection, socket.socket(AF_XDP, socket.SOCK_RAW, 0) as polled:
        assert said(connection, b"/config_busy_poll,20,64", polled.fileno()) == b"/config_busy_poll_ack"
        assert polled.getsockopt(socket.SOL_SOCKET, SO_BUSY_POLL) == 20


@pytest.mark.parametrize("is_replaced", [False, True], ids=["removed", "another's in its place"])
def test_a_socket_that_its_pod_took_away_is_put_back(sockets: XskSockets, tmp_path: Path, *, is_replaced: bool) -> None:
    one = interface("web")
    sockets.open(one)
    path = tmp_path / one.afxdp.place / SOCKET
    path.unlink()
    if is_replaced:
        path.write_text("")
    assert not sockets.is_open(one)
    sockets.open(one)
    assert sockets.is_open(one)
    with asking(tmp_path, one) as connection:
        assert said(connection, b"/connect,web") == b"/host_ok"


def test_anybody_may_connect_to_a_socket(tmp_path: Path) -> None:
    listening, _ = listening_in(PodFolders(tmp_path), "pods/shop/web/net1")
    with listening:
        assert mode(tmp_path / "pods/shop/web/net1" / SOCKET) == 0o666


def test_a_link_in_a_sockets_place_goes(tmp_path: Path, file: Path) -> None:
    (tmp_path / SOCKET).symlink_to(file)
    listening, _ = listening_in(PodFolders(tmp_path.parent), tmp_path.name)
    with listening:
        assert (tmp_path / SOCKET).is_socket()
    assert mode(file) == 0o600


def test_a_link_that_comes_in_a_sockets_place_opens_no_file(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "net1"

    class Pod(socket.socket):
        """A pod that is quick: what it wants lies there as soon as the socket does."""

        def bind(self, address: object, /) -> None:
            super().bind(address)  # type: ignore[arg-type]
            (folder / SOCKET).unlink()
            (folder / SOCKET).symlink_to(file)

    monkeypatch.setattr(socket, "socket", Pod)
    with pytest.raises(OSError, match=os.strerror(88)):
        listening_in(PodFolders(tmp_path), folder.name)
    assert mode(file) == 0o600
