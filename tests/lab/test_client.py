"""What a client of the lab tells of answers that come late: by the kernel's time, however busy the machine is."""

import json
import subprocess
from typing import Any

import pytest

from lab.client import SYNS
from lab.use import CLIENT, SERVER, Asked

ASK = [*CLIENT, "ask", "tcp", "127.0.0.1", "8080", "1", "60", "0"]
pytestmark = pytest.mark.netns

# a machine whose first packets are lost, so many, and what runs there
LOSES = """
ip link set lo up
nft "table inet lost { chain in { type filter hook input priority 0; numgen inc mod 1000000 < $1 drop; }; }"
shift
"$@"
"""
SERVES = """
POD_NAME=web "${@:1:5}" & server=$!
shift 5
until ss -ltn | grep -q :8080; do sleep 0.02; done
"$@"
kill $server
"""


def asked(lost: int, *serving: str) -> dict[str, Any]:
    """What the client prints that asks once by TCP, where so many packets are lost first."""
    argv = ["bash", "-c", SERVES, "serves", *serving, *ASK] if serving else ASK
    command = ["unshare", "--net", "bash", "-c", LOSES, "loses", str(lost), *argv]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def test_a_refusal_at_once_is_one() -> None:
    assert Asked(**asked(0)).is_refused


def test_a_refusal_of_what_was_sent_again_is_not_at_once() -> None:
    seen = asked(1)
    assert not Asked(**seen).is_refused
    assert seen["errors"] == {"ConnectionRefusedError: [Errno 111] Connection refused, when asked again": 1}


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        pytest.param(SYNS - 1, {"answers": {"web": 1}, "errors": {}}, id="less late"),
        pytest.param(
            SYNS,
            {"answers": {}, "errors": {f"TimeoutError: answered when {SYNS} segments had been sent again": 1}},
            id="three seconds late",
        ),
    ],
)
def test_an_answer_after_three_seconds_of_the_kernels_is_none(lost: int, said: dict[str, Any]) -> None:
    found = asked(lost, *SERVER, "8080")
    assert {name: found[name] for name in said} == said
