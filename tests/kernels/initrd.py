"""The guest's initrd: busybox, the modules, and two scripts that lead to the command.

The guest's root is the host's, read-only over 9p under an overlay in memory, so it has the host's Python and the
checkout with its environment; nothing it writes reaches the host.
"""

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.kernels.images import Kernel

BUSYBOX = Path("/bin/busybox")

INIT = r"""#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t devtmpfs dev /dev
for m in /modules/*; do insmod $m || echo "insmod $m failed"; done
mkdir -p /host /memory /new
options=trans=virtio,version=9p2000.L,msize=512000,cache=loose
mount -t 9p -o ro,$options root /host || poweroff -f
mount -t tmpfs memory /memory; mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root /new
mount -t tmpfs tmp /new/tmp; mount -t tmpfs run /new/run
mkdir -p "/new@CHECKOUT@"; mount -t 9p -o ro,$options checkout "/new@CHECKOUT@" || poweroff -f
cp /second /command /new/run/
umount /proc; mount --move /dev /new/dev
exec switch_root /new /bin/sh /run/second
"""

SECOND = r"""#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc; mount -t sysfs sys /sys
mkdir -p /dev/pts; mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup /sys/fs/cgroup; mount -t bpf bpf /sys/fs/bpf
ip link set lo up; hostname guest
cd "@CHECKOUT@"
sh /run/command </dev/null; echo $? > /dev/ttyS1
sync; sleep 0.1; echo o > /proc/sysrq-trigger; while :; do :; done
"""


def initrd(kernel: Kernel, checkout: Path, command: str) -> bytes:
    """A cpio archive that boots into *command*, run by a shell in *checkout*; its status goes to /dev/ttyS1."""
    folders = [(name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "modules", "proc", "dev")]
    scripts = [
        (name, stat.S_IFREG | 0o755, text.replace("@CHECKOUT@", str(checkout)).encode())
        for name, text in (("init", INIT), ("second", SECOND), ("command", command + "\n"))
    ]
    busybox = [
        ("bin/busybox", stat.S_IFREG | 0o755, BUSYBOX.read_bytes()),
        ("bin/sh", stat.S_IFLNK | 0o777, b"busybox"),
    ]
    modules = [(f"modules/{path.name}", stat.S_IFREG | 0o644, path.read_bytes()) for path in kernel.modules]
    return b"".join(_cpio([*folders, *busybox, *modules, *scripts]))


def _cpio(files: Iterable[tuple[str, int, bytes]]) -> Iterator[bytes]:
    """An archive in "newc" format, as the kernel's initramfs buffer format has it.

    Source: Documentation/driver-api/early-userspace/buffer-format.rst
    """
    for number, (name, mode, content) in enumerate([*files, ("TRAILER!!!", 0, b"")], start=1):
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + path
        yield header + b"\0" * (-len(header) % 4)
        yield content + b"\0" * (-len(content) % 4)
