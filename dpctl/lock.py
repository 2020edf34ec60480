"""Who holds the pin root's lock: an agent at work.

It is looked up in the kernel's list: a try of our own, however short, could turn an agent away that starts just then.
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
    place = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    for line in (LOCKS.read_text() if locks is None else locks).splitlines():
        words = line.split()
        if "->" not in words and words[1:2] == ["FLOCK"] and words[5] == place:
            return int(words[4])
    return None
