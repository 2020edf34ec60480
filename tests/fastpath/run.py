"""A guest with two SR-IOV cards and an IOMMU, in which tests/fastpath/guest.py runs.

Software emulation always, as `make kernels`. Both cards are on one wire. More memory than 2 GiB would have the firmware
put the functions' registers where QEMU 10 does not find them.
"""

import sys
import time
from pathlib import Path

from tests.fastpath import dpdk
from tests.fastpath.qemu import Qemu, qemu
from tests.kernels.images import MODULES, Kernel, kernel
from tests.kernels.run import Machine, boot

META = "linux-image-6.12-amd64"
GUEST = ".venv/bin/python -m tests.fastpath.guest"  # and the folder that has DPDK
CARDS = ("52:54:00:00:00:01", "52:54:00:00:00:02")
TIMEOUT_S = 1500.0  # three to four minutes where nobody else computes
MORE = ("igb", "igbvf", "vfio_iommu_type1", "vfio_pci", "macvlan", "ipvlan")


def fetch() -> tuple[Kernel, Qemu, Path]:
    """What the guest is made of, DPDK's folder too; downloaded where it is not there, for one at a time."""
    return kernel(META, (*MODULES, *MORE)), qemu(), dpdk.root()


def main(*wanted: str) -> int:
    """Boot it for those of the guest's tests that *wanted* says, as ``guest.main`` has them; the guest's status."""
    under, program, folder = fetch()
    devices = ["-device", "intel-iommu,intremap=on"]
    for number, mac in enumerate(CARDS):
        devices += ["-netdev", f"hubport,id=wire{number},hubid=0"]
        devices += ["-device", f"pcie-root-port,id=slot{number},slot={number + 1},chassis={number + 1}"]
        devices += ["-device", f"igb,bus=slot{number},netdev=wire{number},mac={mac},romfile="]
    begin = time.monotonic()
    # a busy host is late with a timer's interrupt, which the kernel would take for a broken board
    options = "intel_iommu=on iommu=pt no_timer_check"
    machine = Machine(program.argv, program.environment, "2G", tuple(devices), options, TIMEOUT_S)
    status = boot(under, " ".join((GUEST, str(folder), *wanted)), machine)
    print(f"== {under.release}: {'failed' if status else 'passed'} in {time.monotonic() - begin:.0f} s", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
