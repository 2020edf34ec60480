"""The programs' clock: what a test does within one of its units, no end of a unit comes between."""

import time

UNIT_NS = 1 << 30  # of tick_s()


def early_in_a_unit() -> int:
    """The number of a unit of the programs' clock, a tick late, that has just begun."""
    while not UNIT_NS // 50 < time.monotonic_ns() % UNIT_NS < UNIT_NS // 2:
        time.sleep(0.005)
    return time.monotonic_ns() // UNIT_NS
