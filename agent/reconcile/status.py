"""What the loop reports of itself: one frozen value for health, metrics and `dpctl status`."""

from dataclasses import dataclass

from agent.model.name import Problem


@dataclass(frozen=True, slots=True)
class PartStatus:
    """How one part of the node fares."""

    name: str
    error: str = ""  # what is in the way now
    failures: int = 0  # since the agent's start


@dataclass(frozen=True, slots=True)
class Status:
    """The loop after its latest round. Times are of the loop's clock, CLOCK_MONOTONIC unless a test gives another."""

    synced: bool = False  # everything of a whole Cluster has been written once
    last_sync_ns: int = 0  # when the last round ended after which maps and vital parts were right
    duration_ns: int = 0  # of that round, from Cluster to written maps
    first_duration_ns: int = 0  # of the first
    syncs: int = 0  # rounds that ended well
    failures: int = 0  # rounds that left something to do, be it a route
    error: str = ""  # what is in the way now
    drift: int = 0  # records found changed by someone else, and put right
    revision: int = 0  # of the node's state
    services: int = 0
    problems: tuple[Problem, ...] = ()
    parts: tuple[PartStatus, ...] = ()
