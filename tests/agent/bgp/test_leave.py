"""BIRD's routes go by their protocol and our metric, whatever they are, and so do its files; nobody else's do."""

import socket
import subprocess
from pathlib import Path

import pytest

from agent.bgp.keeper import CONFIG, FOLDER, SOCKET
from agent.bgp.leave import leave, remove_routes
from tests.agent.kernel.nets import in_new_netns

pytestmark = pytest.mark.netns

OURS = ("blackhole 203.0.113.0/24", "198.51.100.0/24 via 192.0.2.9", "198.51.101.0/24 via inet6 2001:db8::9")
OURS6 = ("blackhole 2001:db8:203::/64", "2001:db8:51::/48 via 2001:db8::9")


def _ip(words: str) -> str:
    return subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True).stdout


def test_an_aggregates_blackhole_goes_with_the_rest() -> None:
    def play() -> tuple[tuple[str, ...], str]:
        _ip("link set lo up")
        _ip("link add u0 type veth peer name u1")
        _ip("link set u1 up")
        _ip("link set u0 up")
        _ip("addr add 192.0.2.1/24 dev u0")
        _ip("addr add 2001:db8::1/64 dev u0 nodad")
        for words in OURS:
            _ip(f"route add {words} proto bird metric 90")
        for words in OURS6:
            _ip(f"-6 route add {words} proto bird metric 90")
        _ip("route add blackhole 203.0.113.0/25 proto bird metric 32")
        removed = remove_routes()
        return tuple(sorted(removed)), _ip("route show proto bird") + _ip("-6 route show proto bird")

    removed, left = in_new_netns(play)
    assert removed == ("198.51.100.0/24", "198.51.101.0/24", "2001:db8:203::/64", "2001:db8:51::/48", "203.0.113.0/24")
    assert [line.split()[:2] for line in left.splitlines()] == [["blackhole", "203.0.113.0/25"]]


@pytest.mark.parametrize("has_config", [True, False])
def test_of_a_bird_that_was_killed_no_socket_is_left(tmp_path: Path, *, has_config: bool) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    if has_config:
        (folder / CONFIG).write_text("")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
        killed.bind(str(folder / SOCKET))
    in_new_netns(lambda: leave(tmp_path))
    assert not folder.exists()
