"""The points of ADD, DEL and a start, in their order, at each of which an agent may die; tests let it die there."""

ADD = ("ADD begun", "ADD veth made", "ADD veth noted", "ADD attached", "ADD noted", "ADD flushed")
DEL = ("DEL begun", "DEL detached", "DEL veth removed", "DEL noted", "DEL flushed")
START = ("START read", "START compared", "START noted")


def reached(_point: str, /) -> None:
    """Hears of each point when it is reached; tests put another in its place."""
