"""``dpctl trace drops``: packets that the kernel dropped outside our programs, while somebody watches.

Our own programs' drops are counted in the map ``counters``; these are the others', found by bcc (dpctl/tracer.py).
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dpctl import tracer
from dpctl.errors import Absent, Forbidden
from dpctl.output import Column, Table
from maps import btf

DEBIAN_PYTHON = "/usr/bin/python3"  # python3-bpfcc is installed for this one
START_S = 600  # bcc compiles first: seconds, and a minute and more on a node that is busy
KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")


@dataclass(frozen=True, slots=True)
class KernelDrop:
    """Packets dropped for one of the kernel's reasons by one function."""

    reason: str  # enum skb_drop_reason without its prefix; a number where the kernel has no name for it
    function: str  # the kernel's
    packets: int


def drop_table(seconds: float) -> Table[KernelDrop]:
    """What the kernel drops in the next so many seconds, the most first.

    Raises:
        Absent: python3-bpfcc is not installed, this kernel does not let itself be traced, or the node is too busy.
        Forbidden: this process may not trace.
    """
    interpreter = sys.executable if find_spec("bcc") else DEBIAN_PYTHON
    command = [interpreter, str(Path(tracer.__file__)), str(seconds)]
    try:
        done = subprocess.run(  # noqa: S603 - our own file, and a number
            command, capture_output=True, text=True, timeout=seconds + START_S, check=False
        )
    except subprocess.TimeoutExpired as failed:
        raise Absent(
            f"tracing did not start within {START_S} s, for bcc compiles first; try again when the node is less busy"
        ) from failed
    except FileNotFoundError as failed:
        raise Absent(f"tracing did not start: {failed}; type: apt install python3-bpfcc") from failed
    if done.returncode:
        raise _refusal(done.stderr)
    names = reason_names(KERNEL_BTF)
    rows = [
        KernelDrop(names.get(reason, str(reason)), function, packets)
        for reason, function, packets in json.loads(done.stdout)
    ]
    return Table(
        (
            Column("REASON", lambda row: row.reason),
            Column("FUNCTION", lambda row: row.function),
            Column("PACKETS", lambda row: str(row.packets), right=True),
        ),
        rows,
    )


def reason_names(kernel_btf: Path) -> dict[int, str]:
    """The running kernel's names of its drop reasons, whose numbers differ from release to release."""
    try:
        types = btf.parse(kernel_btf.read_bytes()).types.values()
    except OSError:
        return {}
    found = next((t for t in types if isinstance(t, btf.Enum) and t.name == "skb_drop_reason"), None)
    return (
        {number: name.removeprefix("SKB_DROP_REASON_").removeprefix("SKB_") for name, number in found.values}
        if found
        else {}
    )


def _refusal(stderr: str) -> Absent | Forbidden:
    last = stderr.strip().splitlines()[-1] if stderr.strip() else "it printed nothing"
    if "No module named 'bcc'" in stderr:
        return Absent("bcc is not there; type: apt install python3-bpfcc")
    if "super-user" in stderr or "Operation not permitted" in stderr:
        return Forbidden(f"tracing is refused: {last}; type: sudo dpctl trace drops")
    return Absent(f"tracing failed: {last}")
