"""Which CPU runs packets: copies of flows are a CPU's own, so what looks at them stays on one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

CPUS = sorted(os.sched_getaffinity(0))
# always the first: some tests look at its lines in the maps
OWN_CPU = CPUS[0]
OTHER_CPU = CPUS[1 % len(CPUS)]


@contextmanager
def on_cpu(cpu: int) -> Iterator[None]:
    """Run packets on this CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
