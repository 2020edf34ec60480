"""Which notices of rtnetlink tell that something of the agent's went."""

import subprocess
import time
from collections.abc import Collection
from queue import Queue

import pytest

from agent.kernel.net.drift import DriftWatch
from agent.kernel.net.routes import METRIC, PROTOCOL
from agent.threads import Threads
from tests.agent.kernel.nets import in_new_netns

SURE = "u9"  # a device that is kept, for a loss at any time
QUIET_S = 0.3  # longer than the watch gathers
pytestmark = pytest.mark.netns

POD = bytes((10, 0, 0, 5))


@pytest.mark.parametrize(
    ("words", "is_loss"),
    [
        pytest.param(f"ip route del 10.9.0.0/24 proto {PROTOCOL}", True, id="a route to other pods"),
        pytest.param(f"ip route replace 10.9.0.0/24 dev u1 metric {METRIC}", True, id="another route in its place"),
        pytest.param("ip route del 10.0.0.5", True, id="a pod's route"),
        pytest.param("ip neigh del 10.0.0.5 dev u0", True, id="a pod's neighbour"),
        pytest.param("ip link set u0 down", True, id="a pod's link"),
        pytest.param("ip route del 10.8.0.0/24", False, id="not somebody else's route"),
        pytest.param("ip route del 10.0.0.6", False, id="not a route of a pod that has left"),
        pytest.param("ip neigh del 10.0.0.7 dev u0", False, id="not another neighbour"),
        pytest.param("ip link set u1 down", False, id="not another link"),
        pytest.param("ip link add u2 type bridge", False, id="not a link that is new"),
        pytest.param(
            "sysctl -qw net.ipv4.conf.u0.rp_filter=1", True, id="a device's packets are filtered by their way back"
        ),
        pytest.param("sysctl -qw net.ipv4.conf.all.rp_filter=1", True, id="all devices' are"),
        pytest.param("sysctl -qw net.ipv4.ip_forward=0", True, id="nothing is forwarded"),
        pytest.param("sysctl -qw net.ipv6.conf.all.forwarding=0", True, id="nothing of IPv6 is forwarded"),
        pytest.param("sysctl -qw net.ipv4.conf.u1.rp_filter=1", False, id="not another device's filter"),
        pytest.param("sysctl -qw net.ipv4.conf.default.rp_filter=1", True, id="those are of which nobody set it"),
        pytest.param(
            "sysctl -qw net.ipv4.conf.u0.rp_filter=1 net.ipv4.conf.u0.rp_filter=0",
            False,
            id="not a filter that is off again",
        ),
    ],
)
def test_a_loss_is_heard(words: str, is_loss: bool) -> None:  # noqa: FBT001  as pytest gives it
    def play() -> None:
        _run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        _ip(f"link add {SURE} up type bridge")
        for line in (
            "link add u0 up type bridge",
            "link add u1 up type bridge",
            f"route add 10.9.0.0/24 dev u0 proto {PROTOCOL} metric {METRIC}",
            "route add 10.8.0.0/24 dev u0",
            f"route add 10.0.0.5 dev u0 proto {PROTOCOL}",
            f"route add 10.0.0.6 dev u0 proto {PROTOCOL}",
            "neigh add 10.0.0.5 lladdr 02:00:00:00:00:05 dev u0 nud permanent",
            "neigh add 10.0.0.7 lladdr 02:00:00:00:00:07 dev u0 nud permanent",
        ):
            _ip(line)
        heard: Queue[float] = Queue()
        watch = DriftWatch(_kept, lambda: heard.put(time.monotonic()), Threads())
        watch.start()
        while heard.empty():  # it begins to listen some time after its start
            _lose(SURE)
            time.sleep(0.01)
        while not heard.empty():  # those that came in several wakes
            heard.get()
            time.sleep(QUIET_S)
        _run(words)
        if is_loss:
            heard.get()  # the test's limit ends the wait
        else:
            time.sleep(QUIET_S)
            assert heard.empty()
        watch.stop()

    in_new_netns(play)


def _kept() -> Collection[str | bytes]:
    return {"u0", "u2", POD, SURE}


def _lose(device: str) -> None:
    _ip(f"link set {device} down")
    _ip(f"link set {device} up")


def _ip(words: str) -> None:
    _run(f"ip {words}")


def _run(words: str) -> None:
    subprocess.run(words.split(), check=True)
