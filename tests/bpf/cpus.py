"""Which CPU runs packets, and before whom: copies of flows are a CPU's own, so what looks at them stays on one.

A copy holds for seconds of the programs' clock, which nobody can set.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CPUS = sorted(os.sched_getaffinity(0))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# of tests that run at once each process has another, as far as there are
OWN_CPU = CPUS[_WORKER % len(CPUS)]
OTHER_CPU = CPUS[(_WORKER + 1) % len(CPUS)]
FIRST_CPU = CPUS[0]  # for who looks at its lines in the maps


@contextmanager
def on_cpu(cpu: int) -> Iterator[None]:
    """Run packets on this CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def before_others() -> Iterator[None]:
    """Run packets one after the other also where others want the CPU: between two of them no copy gets old.

    What is started meanwhile is one of the others.
    """
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):  # who may not is as quick as others let it
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, param)
