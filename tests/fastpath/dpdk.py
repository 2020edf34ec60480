"""Debian 13's DPDK in the user's cache: its net_af_xdp knows both ways to a map of sockets, Debian 12's knows neither.

Its driver of igb's functions is there too.

A root to chroot into, of packages unpacked and none configured: made in seconds, and nothing is installed on the host.
"""

import os
import shutil
import subprocess
from pathlib import Path
from zlib import crc32

from tests.kernels.images import cache_dir

SUITE = "trixie"
# testpmd, its drivers, setpriv, and the links of a merged /usr; apt adds what they depend on
PACKAGES = ("dpdk-dev", "librte-net-af-xdp25", "librte-net-e1000-25", "util-linux", "base-files")
TESTPMD = "/usr/bin/dpdk-testpmd"


def root() -> Path:
    """The folder to chroot into.

    Raises:
        subprocess.CalledProcessError: the mirror has none for us.
    """
    place = cache_dir() / "dpdk" / f"{SUITE}-{crc32(' '.join(PACKAGES).encode()):08x}"
    if place.is_dir():
        return place
    unfinished = place.with_name(f"{place.name}.{os.getpid()}")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    options = ("--quiet", "--variant=extract", f"--include={','.join(PACKAGES)}")
    try:
        subprocess.run(["mmdebstrap", *options, SUITE, unfinished], check=True, stdin=subprocess.DEVNULL)
        unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return place
