"""One guest with two SR-IOV cards and an IOMMU, in which tests/fastpath/guest.py runs.

Software emulation always, as `make kernels`. Both cards are on one wire. More memory than 2 GiB would have the firmware
put the functions' registers where QEMU 10 does not find them.
"""

import sys
import time

from tests.fastpath import dpdk
from tests.fastpath.qemu import qemu
from tests.kernels.images import MODULES, kernel
from tests.kernels.run import Machine, boot

META = "linux-image-6.12-amd64"
GUEST = ".venv/bin/python -m tests.fastpath.guest"  # and the folder that has DPDK
CARDS = ("52:54:00:00:00:01", "52:54:00:00:00:02")
TIMEOUT_S = 900.0  # two minutes where nobody else computes
MORE = ("igb", "igbvf", "vfio_iommu_type1", "vfio_pci", "macvlan", "ipvlan")


def main() -> int:
    """Boot it; the guest's status. ``python -m tests.fastpath.run`` does that alone."""
    under = kernel(META, (*MODULES, *MORE))
    program = qemu()
    devices = ["-device", "intel-iommu,intremap=on"]
    for number, mac in enumerate(CARDS):
        devices += ["-netdev", f"hubport,id=wire{number},hubid=0"]
        devices += ["-device", f"pcie-root-port,id=slot{number},slot={number + 1},chassis={number + 1}"]
        devices += ["-device", f"igb,bus=slot{number},netdev=wire{number},mac={mac},romfile="]
    begin = time.monotonic()
    # a busy host is late with a timer's interrupt, which the kernel would take for a broken board
    options = "intel_iommu=on iommu=pt no_timer_check"
    machine = Machine(program.argv, program.environment, "2G", tuple(devices), options, TIMEOUT_S)
    status = boot(under, f"{GUEST} {dpdk.root()}", machine)
    print(f"== {under.release}: {'failed' if status else 'passed'} in {time.monotonic() - begin:.0f} s", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
