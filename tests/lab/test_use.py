"""Who asks over UDP does so each time from a port that nobody's flow had of late."""

import socket
import subprocess
from threading import Thread

import pytest

from lab.client import ask_often
from lab.use import Turns
from tests.agent.kernel.nets import in_new_netns


def test_a_port_comes_again_when_all_others_were_taken() -> None:
    turns = Turns(range(100, 110))
    assert [turns.take(count) for count in (1, 3, 4, 3, 1)] == [100, 101, 104, 100, 103]


@pytest.mark.netns
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_each_datagram_is_from_the_next_port_and_from_another_where_that_is_taken(address: str) -> None:
    def ports() -> dict[str, int]:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as server, socket.socket(family, socket.SOCK_DGRAM) as other:
            server.bind((address, 0))
            other.bind((address, 20002))
            Thread(target=says_the_port, args=(server, 3), daemon=True).start()
            answers = ask_often("udp", address, server.getsockname()[1], range(20000, 20003), 5.0)["answers"]
        assert isinstance(answers, dict)
        return answers

    found = in_new_netns(ports)
    assert found.keys() > {"20000", "20001"}
    assert "20002" not in found


def says_the_port(server: socket.socket, count: int) -> None:
    """Tell so many who ask from which port they do."""
    for _ in range(count):
        _, asking = server.recvfrom(2000)
        server.sendto(str(asking[1]).encode(), asking)
