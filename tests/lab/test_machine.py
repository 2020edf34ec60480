"""A machine's processes and addresses are what they are said to be."""

import sys
import time
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from lab import underlay
from lab.addresses import ROUTER
from tests.lab.conftest import Echo

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

RUNS_S = 1.0
# a file, and a lock on it, is held by whatever thread is left
FIRST_THREAD_ENDS = f"""
import ctypes, threading, time
threading.Thread(target=time.sleep, args=({RUNS_S},)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_daemon_runs_until_its_last_thread_has_ended(echo: Echo) -> None:
    machine = echo.outside.machine
    began = time.monotonic()
    machine.daemon("threads", [sys.executable, "-c", FIRST_THREAD_ENDS])
    while machine.daemon_process("threads") is not None:
        assert time.monotonic() - began < RUNS_S + 60
        time.sleep(0.01)
    assert time.monotonic() - began > RUNS_S


FAR = IPv4Address("198.18.0.1"), IPv6Address("2001:db8:198::1")
ASKED = IPv4Network("198.19.0.0/24"), IPv6Network("2001:db8:199::/120")
TIMES = 20  # of addresses that are tentative for a moment, as they are by default, every second one was refused


def test_a_machine_asks_from_far_addresses_as_soon_as_it_has_them(echo: Echo) -> None:
    outside, router = echo.outside.machine, echo.cluster.site.machine(ROUTER)
    for number in range(TIMES):
        far = FAR[0] + number, FAR[1] + number
        underlay.move_far(outside, router, far, ASKED)
        for asked, address in zip((ASKED[0][1], ASKED[1][1]), far, strict=True):
            assert f" src {address} " in outside.run("ip", "route", "get", str(asked)).stdout
            outside.run("ip", "address", "del", str(address), "dev", underlay.UPLINK)
            router.run("ip", "route", "del", str(address))
