"""Which CPU runs packets: copies of flows are a CPU's own, so what looks at them stays on one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

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
