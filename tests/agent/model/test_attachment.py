"""When two host ports are in each other's way."""

import pytest

from agent.model.attachment import HostPort
from agent.model.service import Protocol


def port(host_ip: str = "", number: int = 80, protocol: Protocol = Protocol.TCP) -> HostPort:
    return HostPort(host_ip, number, protocol, 8080)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param(port(), port(), True, id="both at every address"),
        pytest.param(port(), port("192.0.2.1"), True, id="one at every address"),
        pytest.param(port("0.0.0.0"), port("192.0.2.1"), True, id="one at every address of the family"),
        pytest.param(port("0.0.0.0"), port("2001:db8::1"), False, id="the other family"),
        pytest.param(port("0.0.0.0"), port("::"), False, id="each its own family"),
        pytest.param(port("192.0.2.1"), port("192.0.2.1"), True, id="the same address"),
        pytest.param(port("192.0.2.1"), port("127.0.0.1"), False, id="different addresses"),
        pytest.param(port(), port(number=81), False, id="different ports"),
        pytest.param(port(), port(protocol=Protocol.UDP), False, id="different protocols"),
    ],
)
def test_host_ports_clash(one: HostPort, other: HostPort, expected: bool) -> None:  # noqa: FBT001
    assert one.clashes(other) == other.clashes(one) == expected


def test_a_host_port_is_written_as_people_do() -> None:
    assert [str(port()), str(port("192.0.2.1")), str(port("::1"))] == ["*:80/TCP", "192.0.2.1:80/TCP", "[::1]:80/TCP"]
