"""`make kernels`: every kernel of the table boots in QEMU and runs tests/kernels/guest.py.

Software emulation always: it is alike on every machine, and a kernel is ready in seconds.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.kernels.images import Kernel, kernel
from tests.kernels.initrd import initrd

# Debian's meta packages; the first is the oldest kernel we stand for
KERNELS = ("linux-image-amd64", "linux-image-6.12-amd64")
TIMEOUT_S = 600

CHECKOUT = Path(__file__).resolve().parents[2]
GUEST = ".venv/bin/python -m tests.kernels.guest"


@dataclass(frozen=True, slots=True)
class Machine:
    """What a guest runs on."""

    program: tuple[str, ...] = ("qemu-system-x86_64",)
    environment: Mapping[str, str] = field(default_factory=dict)
    memory: str = "1G"
    devices: tuple[str, ...] = ()  # more of QEMU's words
    boot_options: str = ""  # of the kernel
    timeout_s: float = TIMEOUT_S


def boot(under: Kernel, command: str, machine: Machine = Machine()) -> int:
    """Run *command* in *under*, its output on ours; returns its status, or 125 when the guest ended without one."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "initrd").write_bytes(initrd(under, CHECKOUT, command))
        status = work / "status"
        qemu = [
            *(*machine.program, "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"),
            *("-smp", "2", "-m", machine.memory, "-nodefaults", "-display", "none", "-no-reboot"),
            *("-kernel", str(under.image), "-initrd", str(work / "initrd")),
            *("-append", f"console=ttyS0 panic=-1 loglevel=3 net.ifnames=0 {machine.boot_options}"),
            *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
            *("-chardev", f"file,id=status,path={status}", "-serial", "chardev:status"),
            *machine.devices,
            *_shared("root", Path("/")),
            *_shared("checkout", CHECKOUT),
        ]
        try:
            environment = {**os.environ, **machine.environment}
            subprocess.run(qemu, stdin=subprocess.DEVNULL, timeout=machine.timeout_s, check=True, env=environment)
        except subprocess.TimeoutExpired:
            print(f"{under.release}: no end after {machine.timeout_s} s")
        answer = status.read_text().strip() if status.exists() else ""
    return int(answer) if answer.isdigit() else 125


def _shared(tag: str, folder: Path) -> tuple[str, ...]:
    """QEMU's words for a folder that the guest reads by 9p."""
    return (
        *("-fsdev", f"local,id={tag},path={folder},security_model=none,readonly=on,multidevs=remap"),
        *("-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
    )


def main(metas: Sequence[str]) -> int:
    """Try every kernel, or those that are named; the status is the number of kernels that failed.

    They are tried at once, for a guest computes on one processor; what each has printed comes when it has ended.
    """
    if len(metas) == 1:
        return _try(metas[0])
    for meta in metas or KERNELS:
        kernel(meta)  # apt is for one at a time
    with ThreadPoolExecutor(len(KERNELS)) as pool:
        return sum(pool.map(_try_in_a_process, metas or KERNELS))


def _try(meta: str) -> int:
    under = kernel(meta)
    print(f"== {under.release} ({meta})", flush=True)
    begin = time.monotonic()
    status = boot(under, GUEST)
    verdict = f"failed ({status})" if status else "passed"
    print(f"== {under.release}: {verdict} in {time.monotonic() - begin:.0f} s", flush=True)
    return int(status != 0)


def _try_in_a_process(meta: str) -> int:
    argv = [sys.executable, "-m", "tests.kernels.run", meta]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(done.stdout, end="", flush=True)
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
