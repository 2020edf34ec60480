"""A VF on vfio-pci, taken by an application that has no right but to the devices of its group: testpmd as it is.

It answers echo requests of a VF that the kernel has, by the card alone: VLANs hold, and the address that ADD fixed.
"""

import subprocess

from tests.fastpath import cards, dpdk, testpmd
from tests.fastpath.cards import run
from tests.fastpath.site import Guest

NOBODY = 65534
VLAN, OTHER_VLAN = 300, 301
ECHOES = 20
# the root of its image, and what is mounted there; of the node's devices those of the VF's group
CONTAINER = """
set -e
root=$1 group=$2 user=$3
shift 3
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount -t tmpfs dev "$root/dev"
mkdir "$root/dev/vfio"
for device in null zero urandom "vfio/vfio" "vfio/$group"; do
	touch "$root/dev/$device"
	mount --bind "/dev/$device" "$root/dev/$device"
done
ulimit -l unlimited
exec chroot "$root" setpriv "--reuid=$user" "--regid=$user" --clear-groups --bounding-set=-all --inh-caps=-all "$@"
"""
# without huge pages: addresses as the process has them, which the IOMMU translates
EAL = ("--no-huge", "--no-shconf", "--no-telemetry", "--iova-mode=va", "-m", "128", "--lcores", "(0-1)@(0-1)")


def user_space(guest: Guest) -> None:
    """A user who is not root receives and sends by a VF."""
    node, (own, asking, other) = guest.node, guest.second.vfs
    node.pod("dpdk")
    spec = guest.definition(own, kind="dpdk", vlan=VLAN, uid=NOBODY, gid=NOBODY)
    (told,) = node.ok("ADD", "dpdk", spec)["ips"]
    address, mac = told["address"].partition("/")[0], cards.vf(guest.second, own)["address"]
    for name, function, vlan in (("near", asking, VLAN), ("far", other, OTHER_VLAN)):
        node.pod(name)
        node.ok("ADD", name, guest.definition(function, vlan=vlan))
    command = (dpdk.TESTPMD, *EAL, "-a", own, "--", "-i", "--forward-mode=icmpecho", *testpmd.SMALL)
    container = (
        "unshare",
        "--mount",
        "bash",
        "-c",
        CONTAINER,
        "container",
        str(guest.dpdk),
        cards.group(own),
        str(NOBODY),
    )
    with testpmd.typed(("ip", "netns", "exec", "dpdk", *container, *command)) as running:
        running.type("start", until="nb forwarding ports")
        cards.wait_for("testpmd is reached", lambda: _answers("near", address, 1))
        assert mac in run("ip", "-n", "near", "neighbour", "show", address), "an address that ADD did not give"
        before = running.counted()
        assert _answers("near", address, ECHOES) == ECHOES
        received, sent = (now - was for now, was in zip(running.counted(), before, strict=True))
        assert received >= ECHOES, received
        assert sent >= ECHOES, sent
        assert not _answers("far", address, 2), "another VLAN reaches it"
    for name, function in (("dpdk", own), ("near", asking), ("far", other)):
        node.ok("DEL", name, guest.definition(function))
        node.end_pod(name)
    guest.restored("an application of user space")


def _answers(pod: str, address: str, count: int) -> int:
    """How many echo requests of a pod are answered."""
    command = ("ip", "netns", "exec", pod, "ping", "-q", "-n", "-i", "0.2", "-W", "2", "-c", str(count), address)
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return int(said.partition(" packets transmitted, ")[2].partition(" ")[0])
