"""The sockets of AF_XDP in folders that pods mount, and may have put something else into."""

import os
import socket
import stat
from pathlib import Path

import pytest

from agent.kernel.device.xsk_sockets import SOCKET, listening_in


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of the node's that is root's alone."""
    path = tmp_path / "shadow"
    path.write_text("secret")
    path.chmod(0o600)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_anybody_may_connect_to_a_socket(tmp_path: Path) -> None:
    with listening_in(tmp_path / "pods/shop/web/net1"):
        assert mode(tmp_path / "pods/shop/web/net1" / SOCKET) == 0o666


def test_a_link_in_a_sockets_place_goes(tmp_path: Path, file: Path) -> None:
    (tmp_path / SOCKET).symlink_to(file)
    with listening_in(tmp_path):
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
        listening_in(folder)
    assert mode(file) == 0o600
