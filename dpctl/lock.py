"""Who holds the pin root's lock: an agent at work.

It is looked up in the kernel's list: trying the lock, however briefly, could refuse an agent that starts just then.
"""

import os
from pathlib import Path

LOCKS = Path("/proc/locks")


def holder(path: Path, locks: str | None = None) -> int | None:
    """The process that has *path* locked; None when none of this PID namespace has.

    *locks* is the text of /proc/locks, read when not given.

    Source: proc_locks(5); ``1: FLOCK  ADVISORY  WRITE 8371 00:52:352604 0 EOF``, the device in hexadecimal.
    """
    stat = path.stat()
    inode = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    for line in (LOCKS.read_text() if locks is None else locks).splitlines():
        fields = line.split()
        if "->" not in fields and fields[1:2] == ["FLOCK"] and fields[5] == inode:
            return int(fields[4])
    return None
