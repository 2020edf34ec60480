"""Many random histories against the oracle: ``python -m tests.policy.fuzz --flows 200000 --seed N``.

What is wrong is printed with its seed and step; then the exit code is 1. Flows are counted by their first packets.
"""

import argparse
import os
import sys
import time
from itertools import count

from tests.bpf.datapath import Datapath
from tests.policy.trial import Trial

SHOWN = 20


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="policy-fuzz", description=__doc__)
    parser.add_argument("--flows", type=int, default=200_000, help="stop after so many")
    parser.add_argument("--seed", type=int, default=None, help="of the first history; those that follow count from it")
    parser.add_argument("--each", type=int, default=60, help="flows that are drawn at each stage of a history")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # copies of flows are a CPU's own
    datapath = Datapath.load()
    began, flows, again, wrong = time.monotonic(), 0, 0, 0
    print(f"seed {seed}", flush=True)
    for at in count(seed):
        trial = Trial(datapath, at, count=options.each)
        try:
            for one in trial.wrong():
                wrong += 1
                if wrong <= SHOWN:
                    print(one, flush=True)
        except Exception as error:  # noqa: BLE001  it is a finding as well, and the next history another one
            wrong += 1
            print(f"seed {at}, step {trial.step}: {type(error).__name__}: {error}", flush=True)
        flows, again = flows + trial.flows, again + trial.again
        if flows >= options.flows:
            break
    took = time.monotonic() - began
    print(
        f"seeds {seed} to {at}: {flows} flows, {again} packets of flows that had begun, {wrong} wrong,"
        f" {flows / took:.0f} flows/s"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
