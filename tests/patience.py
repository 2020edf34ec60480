"""How long tests wait for what is to come: at rest a moment, and on a machine that is busy or slow as long as it takes.

A longer limit costs nothing where all is well. What must not come is waited for as long as what must, at rest.
"""

import time
from collections.abc import Callable

# processes start and compile, and sessions are tried again later and later; less than BIRD's own waits (120 s), and
# than the three minutes after which an agent looks at all again
PATIENCE_S = 100.0
LOOK_S = 0.05


def until(holds: Callable[[], object], what: str | Callable[[], str] = "it does not come") -> float:
    """Wait for it, and return how long it took; *what* is said where it does not come."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + PATIENCE_S, what if isinstance(what, str) else what()
        time.sleep(LOOK_S)
    return time.monotonic() - began
