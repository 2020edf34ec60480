"""Whether the agent is ready, and if not, what is missing, for /readyz and `dpctl status`."""

from collections.abc import Iterable

from agent.reconcile.status import Status
from agent.watch.status import WatchStatus

UNWRITTEN_S = 60.0  # longer than any wait before another attempt
MOVING = "programs are moving onto new maps"


def not_ready(status: Status, awaited: tuple[str, ...], *, is_moved: bool, now_ns: int) -> str:
    """Why traffic should not be trusted to this node; empty when it may. *awaited* is of :func:`waits_for`."""
    if awaited or not status.synced:
        return unsynced(status, awaited)
    if not is_moved:
        return MOVING
    unwritten_s = (now_ns - status.last_sync_ns) / 1e9
    if status.error and unwritten_s >= UNWRITTEN_S:
        return f"nothing could be written for {unwritten_s:.0f} s: {status.error}"
    return ""


def unsynced(status: Status, awaited: tuple[str, ...]) -> str:
    """What is missing, as long as the first sync is not done."""
    return "; ".join(awaited) or status.error or "the first sync is not done"


def waits_for(missing: Iterable[str], watches: Iterable[WatchStatus]) -> tuple[str, ...]:
    """What has not come yet, each with what is in its way; and what is not given any more, for want of rights."""
    by_kind = {watch.kind: watch for watch in watches}
    found = []
    for name in missing:
        watch = by_kind.pop(name, None)
        found.append(f"{name}: not listed yet{': ' + watch.trouble if watch and watch.trouble else ''}")
    found += [f"{watch.kind}: {watch.trouble}" for watch in by_kind.values() if watch.is_denied]
    return tuple(found)
