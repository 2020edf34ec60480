# ruff: noqa: N818 - an error is named for what is wrong
"""What can go wrong between Python and the kernel's maps and programs.

::

    MapsError
    ├── NotPermitted       a capability is missing               → start as root
    ├── KernelTooOld       the feature, and the kernel with it    → another kernel, or another way to do it
    ├── MapFull            name, capacity, wanted, the flag       → raise the flag
    ├── LayoutMismatch     a pinned map comes from another build  → a new generation is made
    ├── PinRootBusy        another agent holds the pins           → stop it, or use another pin root
    ├── VerifierRejected   a program, and the end of its log      → a bug, or a kernel we do not know
    └── KernelRefused      everything else, with its errno
"""

import errno as errno_numbers
import os

ENOTSUPP = 524  # the kernel's own, unknown to libc


class MapsError(Exception):
    """The base of this package's errors."""


class NotPermitted(MapsError):
    """The kernel wants a capability that this process lacks."""

    def __init__(self, doing: str, capability: str = "CAP_BPF and CAP_NET_ADMIN") -> None:
        super().__init__(f"{doing}: not permitted; {capability} is needed (run as root)")
        self.capability = capability


class KernelTooOld(MapsError):
    """This kernel lacks something without which we cannot run."""

    def __init__(self, feature: str, since: str) -> None:
        super().__init__(f"this kernel ({os.uname().release}) has no {feature}; Linux {since} has it")
        self.feature = feature
        self.since = since


class MapFull(MapsError):
    """More entries are wanted than a map was made for."""

    def __init__(self, name: str, capacity: int, wanted: int, flag: str = "") -> None:
        way_out = f"; raise {flag}" if flag else ""
        super().__init__(f"{name} is full: {capacity} entries, {wanted} wanted{way_out}")
        self.name = name
        self.capacity = capacity
        self.wanted = wanted
        self.flag = flag


class LayoutMismatch(MapsError):
    """A pinned map is not what this build's layout says."""

    def __init__(self, name: str, difference: str) -> None:
        super().__init__(f"the pinned map {name} comes from another build: {difference}")
        self.name = name


class PinRootBusy(MapsError):
    """Another process holds the exclusive lock on the pins."""

    def __init__(self, root: str) -> None:
        super().__init__(f"another agent works on the pins in {root}; stop it, as a node has one")
        self.root = root


class VerifierRejected(MapsError):
    """The kernel's verifier refused a program; the message carries the end of its log."""

    def __init__(self, program: str, lines: tuple[str, ...]) -> None:
        shown = "\n    ".join(lines)
        super().__init__(f"the kernel's verifier refused {program}:\n    {shown}")
        self.program = program
        self.lines = lines


class KernelRefused(MapsError):
    """A call into the kernel or libbpf failed with an errno that nobody here expects."""

    def __init__(self, doing: str, errno: int, detail: str = "") -> None:
        name = "ENOTSUPP" if errno == ENOTSUPP else errno_numbers.errorcode.get(errno, str(errno))
        why = "not supported" if errno == ENOTSUPP else os.strerror(errno)
        super().__init__(f"{doing}: {why} ({name})" + (f"; {detail}" if detail else ""))
        self.errno = errno
