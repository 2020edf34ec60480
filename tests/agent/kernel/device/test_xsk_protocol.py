"""The conversation with an application that wants the map of its AF_XDP sockets."""

import pytest

from agent.kernel.device.xsk_protocol import Answer, BusyPoll, Gives, answer, refused


@pytest.mark.parametrize(
    ("message", "said"),
    [
        pytest.param(b"/connect,web-0", Answer("/host_ok"), id="whatever name is said"),
        pytest.param(b"/connect,web-0\0", Answer("/host_ok"), id="with C's end of a string"),
        pytest.param(b"/version", Answer("0.1"), id="the protocol's version"),
        pytest.param(b"/xsk_map_fd,net1", Answer("/fd_ack", Gives.MAP), id="the map"),
        pytest.param(b"/xsk_map_fd,eth0", Answer("/fd_nak"), id="of another interface none"),
        pytest.param(b"/config_busy_poll,20,64", Answer("/config_busy_poll_ack"), id="busy polling"),
        pytest.param(b"/config_busy_poll,20,-1", Answer("/config_busy_poll_nak"), id="by a number that is none"),
        pytest.param(b"/config_busy_poll,20,99999", Answer("/config_busy_poll_nak"), id="by one that is too large"),
        pytest.param(b"/config_busy_poll,7,64", Answer("/config_busy_poll_nak"), id="that the kernel refuses"),
        pytest.param(b"/fin", Answer("/fin_ack", is_last=True), id="the end"),
        pytest.param(b"/xsk_map_fd", Answer("/nak"), id="without the interface"),
        pytest.param(b"\xff\xfe", Answer("/nak"), id="no text"),
    ],
)
def test_each_message_has_its_answer(message: bytes, said: Answer) -> None:
    assert answer(message, "net1", lambda wanted: wanted == BusyPoll(20, 64)) == said


def test_somebody_else_is_refused_and_hears_no_more() -> None:
    assert refused(b"/connect,web-0") == Answer("/host_nak", is_last=True)
    assert refused(b"/xsk_map_fd,net1") == Answer("/nak", is_last=True)
