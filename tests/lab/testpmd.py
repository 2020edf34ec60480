"""DPDK's testpmd in a pod of the lab, as Debian ships it, with the rights to NET_RAW and IPC_LOCK and no others."""

import os
import pty
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from lab.use import Client
from tests.fastpath import dpdk

RIGHTS = "-all,+net_raw,+ipc_lock"
# what a container has: the root of its image, and what is mounted there
CONTAINER = """
set -e
root=$1 from=$2 to=$3 rights=$4
shift 4
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mkdir -p "$root$(dirname "$to")"
[ -d "$from" ] && mkdir "$root$to" || touch "$root$to"
mount --bind "$from" "$root$to"
exec chroot "$root" setpriv "--bounding-set=$rights" "--inh-caps=$rights" "$@"
"""
# without huge pages; both its threads wherever there is time
EAL = ("--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m", "128", "--lcores", "(0-1)@(0-1)")
SMALL = ("--total-num-mbufs=16384", "--no-mlockall", "--no-lsc-interrupt")
PACKETS = {way: re.compile(rf"\b{way}-packets: (\d+)") for way in ("RX", "TX")}


@dataclass(frozen=True, slots=True)
class Mounted:
    """What a pod mounts for DPDK to find its map of sockets, and how DPDK is told."""

    source: str  # on the node
    target: str
    option: str  # of the driver


@dataclass(slots=True)
class Testpmd:
    """One that runs, and is typed to."""

    keys: IO[str]
    screen: IO[str]
    printed: str = ""

    def type(self, command: str, *, until: str) -> str:
        """Give a command; what it prints, until a line has a text."""
        self.keys.write(f"{command}\n")
        self.keys.flush()
        return self.wait(until)

    def wait(self, until: str) -> str:
        """What is printed until a line has a text.

        Raises:
            EOFError: it has ended, with what it printed.
        """
        said = ""
        for line in self.screen:
            said += line
            if until in line:
                self.printed += said
                return said
        raise EOFError(self.printed + said)

    def counted(self) -> tuple[int, int]:
        """Packets received and sent by all ports since it was told to start."""
        self.type("show fwd stats all", until="Accumulated")
        said = self.wait("TX-packets")
        received, sent = (int(PACKETS[way].findall(said)[0]) for way in ("RX", "TX"))
        return received, sent


@contextmanager
def running(pod: Client, mounted: Mounted, queues: int, *arguments: str) -> Iterator[Testpmd]:
    """Run it in a pod, on eth0, and end it."""
    # a veth says nothing of combined queues, which the driver takes for one: it wants a port for each
    drivers = (
        f"--vdev=net_af_xdp{q},iface=eth0,start_queue={q},queue_count=1,{mounted.option}=1" for q in range(queues)
    )
    command = (dpdk.TESTPMD, *EAL, *drivers, "--", "-i", "--port-topology=loop", *SMALL)
    container = ("unshare", "--mount", "bash", "-c", CONTAINER, "container")
    argv = [*container, str(dpdk.root()), mounted.source, mounted.target, RIGHTS, *command, *arguments]
    entered = pod.machine.command(argv, pod.context)
    ours, theirs = pty.openpty()  # it does not keep back what it prints on a terminal
    with (
        os.fdopen(ours) as screen,
        subprocess.Popen(entered, stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, text=True) as process,
    ):
        os.close(theirs)
        if not process.stdin:
            raise TypeError(process)
        try:
            found = Testpmd(process.stdin, screen)
            found.wait("Checking link statuses")
            found.wait("Done")
            yield found
            found.type("quit", until="Bye")
        finally:
            process.kill()
