"""DPDK's testpmd in a pod of the lab, as Debian ships it, with the rights to NET_RAW and IPC_LOCK and no others."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab.use import Client
from tests.fastpath import dpdk
from tests.fastpath.testpmd import SMALL, Testpmd, typed

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


@dataclass(frozen=True, slots=True)
class Mounted:
    """What a pod mounts for DPDK to find its map of sockets, and how DPDK is told."""

    source: str  # on the node
    target: str
    option: str  # of the driver


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
    with typed(pod.machine.command(argv, pod.context)) as found:
        yield found
