"""The steps of ADD, DEL and a start, in their order, after each of which an agent may die; tests let it die there."""

ADD = ("ADD begun", "ADD wired", "ADD wire noted", "ADD attached", "ADD noted", "ADD flushed")
DEL = ("DEL begun", "DEL detached", "DEL unwired", "DEL noted", "DEL flushed")
START = ("START read", "START compared", "START noted")


def on_step(_step: str, /) -> None:
    """Hears each step when it is done; tests put another in its place."""
