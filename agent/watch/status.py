"""How a watch fares, for health, metrics and `dpctl status`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WatchStatus:
    """One kind of objects."""

    kind: str
    is_listed: bool  # a whole list has come since the start
    trouble: str = ""  # why it is being tried again; empty while all is well
    is_denied: bool = False  # nothing helps but that somebody gives the agent the right
    restarts: int = 0
    events: int = 0
    heard_at: float | None = None  # of the monotonic clock, when the source last sent something; None: never
