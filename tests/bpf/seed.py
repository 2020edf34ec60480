"""The seed of a table of flows, the same in each run: under another one buckets fill otherwise, by chance."""

from random import Random

from maps import abi, mapio


def give_seed(fd: int, number: int) -> None:
    """Give an empty table, by its map of the seed, one of many."""
    mapio.update(fd, bytes(4), Random(number).randbytes(abi.FlowSeed.SIZE), 1)  # noqa: S311  no secret
