"""Programs of one node exchanged every second, on the maps that they have, by others of the same objects.

Run on a node's machine beside its agent, until SIGTERM; prints how often.
"""

import os
import signal
import sys
from itertools import cycle
from threading import Event

from agent.kernel.programs import build
from agent.kernel.programs.attach import Hooks
from agent.kernel.programs.load import Loaded
from agent.kernel.programs.sizes import memory_bytes, sizes
from agent.kernel.programs.start import MEMINFO
from agent.options.config import Options
from maps.pins import PinRoot

EVERY_S = 1.0


def main() -> int:
    """Exchange."""
    ends = Event()
    signal.signal(signal.SIGTERM, lambda *_: ends.set())
    options = Options()
    pins = PinRoot(options.pin_root)
    generation = pins.current()
    if generation is None:
        raise SystemExit("no agent runs here")
    objects = build.objects(options.objects, options.cache_dir, build.Sources.installed(), build.compiler())
    used = {name: path for name, path in objects.items() if name not in {build.FLOW_TABLE, build.XDP_POD}}
    entries = sizes(options, memory_bytes(MEMINFO.read_text()), os.cpu_count() or 1)
    loaded = [Loaded(used, generation, entries) for _ in range(2)]
    times = 0
    for one in cycle(loaded):
        Hooks(pins.links, one.programs, tcx=True).exchange()
        times += 1
        if ends.wait(EVERY_S):
            break
    print(times)
    return 0


if __name__ == "__main__":
    sys.exit(main())
