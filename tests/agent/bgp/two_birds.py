"""A node's BIRD with the configuration that it is given, and a router's, at the two ends of one link."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.bgp.control import BirdError, Control
from agent.compile.bgp.bird import bird_config
from agent.compile.bgp.router import Router

WITHIN_S = 30.0
ROUTER = """
log stderr all;
router id 192.0.2.1;
protocol device {{ }}
protocol static far4 {{ ipv4; route 198.51.100.0/24 blackhole; }}
protocol bgp node {{
  local {own} as 64600; neighbor {node} as 64512; strict bind on;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 {{ import all; export all; next hop self; }};
}}
"""
_BOTH = """
set -e
ip link set lo up
unshare --net sh -c 'ip link set lo up
until [ -e $0/joined ]; do sleep 0.02; done
eval "$1"
exec bird -f -c $0/tor.conf -s $0/tor.ctl -P $0/tor.pid' "$0" "$2" &
until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
ip link add eth0 type veth peer name eth0 netns $!
touch $0/joined
eval "$1"
exec bird -f -c $0/bird.conf -s $0/bird.ctl -P $0/bird.pid
"""


@contextmanager
def two_birds(folder: Path, router: Router, tor: str, node: str, beside: str) -> Iterator[None]:
    """While both run; *tor* is the router's configuration, *node* and *beside* commands for each one's eth0."""
    (folder / "bird.conf").write_text(bird_config(router))
    (folder / "tor.conf").write_text(tor)
    argv = ["unshare", "--net", "sh", "-c", _BOTH, str(folder), node, beside]
    birds = subprocess.Popen(argv, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(birds.pid, signal.SIGKILL)
        birds.wait()


def said(folder: Path, who: str, command: str) -> list[str]:
    """What one of them answers; nothing before it does."""
    try:
        with Control(folder / f"{who}.ctl") as bird:
            return [text for _, text in bird.ask(command).lines]
    except BirdError:
        return []


def prefixes(folder: Path, who: str, protocol: str) -> set[str]:
    """Of which one of them has routes by a protocol."""
    rows = (text.split() for text in said(folder, who, f"show route protocol {protocol}"))
    return {row[0] for row in rows if len(row) > 1 and "/" in row[0]}


def kernel_route(folder: Path, who: str, network: str) -> str:
    """The kernel's where one of them is; empty for none."""
    pid = (folder / f"{who}.pid").read_text().strip()
    argv = ["nsenter", "-t", pid, "-n", "ip", "route", "show", network]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for it."""
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
