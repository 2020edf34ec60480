"""``python -m bench``: measures, prints what it found beside what it must be, and fails where that is missed."""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping

from bench import (
    adds,
    connections,
    datapath,
    earlier,
    fastpath,
    forward,
    leaving,
    memory,
    pods,
    policy,
    policy_compile,
    propagation,
    routes,
    sync,
    xdp,
)
from bench.sets import Result


def _sync(_: int) -> list[Result]:
    found = sync.measured(services=10_000, endpoints=10, changes=100)
    return [
        Result("10,000 services of 10 endpoints to maps", found["full_sync_s"] * 1e3, "ms", at_most=3000),
        Result("one endpoint's change to maps, median", found["change_median_ms"], "ms", at_most=20),
        Result("its processor time among 5,000 services", sync.change_cpu_ms(5000, 10), "ms", at_most=2),
        Result("a second start adopts all that", found["adopt_s"] * 1e3, "ms"),
    ]


def _memory(_: int) -> list[Result]:
    found = memory.measured()
    return [
        Result("the agent before it knows anything", found["idle_mib"], "MiB"),
        Result("10,000 services of 10 endpoints", found["synced_mib"], "MiB", at_most=memory.LIMIT_MIB),
        Result("the same listed anew three times", found["relisted_mib"], "MiB", at_most=memory.LIMIT_MIB),
    ]


BENCHES: Mapping[str, Callable[[int], list[Result]]] = {
    "datapath": datapath.measured,
    "forward": forward.measured,
    "connections": connections.measured,
    "pods": pods.measured,
    "sync": _sync,
    "memory": _memory,
    "adds": adds.measured,
    "propagation": propagation.results,
    "leaving": leaving.results,
    "routes": routes.results,
    "xdp": xdp.measured,
    "fastpath": fastpath.measured,
    "policy": lambda sets: [*policy.measured(sets), *policy_compile.measured(sets)],
}


def main() -> int:
    """Run the benches that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("bench", nargs="*", choices=[*BENCHES, "all"], default="all")
    parser.add_argument("--sets", type=int, default=5, help="alternated sets of each (default 5)")
    parser.add_argument("--no-limits", action="store_true", help="print only, do not fail")
    options = parser.parse_args()
    names = list(BENCHES) if "all" in options.bench else list(dict.fromkeys(options.bench))
    print(f"Linux {platform.release()}, {_processor()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    if not earlier.is_known():
        print(f"{earlier.COMMIT} is not in this checkout's history: nothing is compared with its programs")
    met = True
    cpus = os.sched_getaffinity(0)
    for name in names:
        started = time.perf_counter()
        results = BENCHES[name](options.sets)
        os.sched_setaffinity(0, cpus)  # a bench may have kept to one
        print(f"\n{name}, {options.sets} sets, {time.perf_counter() - started:.0f} s")
        for result in results:
            print(f"  {result}", flush=True)
        met = met and all(result.is_met() for result in results)
    return 0 if met or options.no_limits else 1


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - read line by line
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")


if __name__ == "__main__":
    sys.exit(main())
